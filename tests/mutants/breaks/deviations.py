"""A peer that deviates: the checks of correlations, and what a failed one costs."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

CONSISTENCY, SOFTSPOKEN = "protocols/ot/consistency.py", "protocols/ot/softspoken.py"
TALLY, MIXED, SETTLEMENT = (
    "protocols/ot/tally.py",
    "protocols/ot/mixed.py",
    "protocols/settlement.py",
)
GUESSING, TREES = "tests/attacks/test_guessing_delta.py", "tests/attacks/test_trees.py"
SILENT, ABORTS = "tests/attacks/test_silent_deviations.py", "tests/attacks/test_selective_aborts.py"
EQUAL = "tests/attacks/test_equal_rows.py"
LYING = "tests/attacks/test_lying_in_settling.py"
ONE_OF_SIXTEEN = f"{GUESSING}::test_one_guess_of_sixteen_survives"
EVERY_ROW = f"{GUESSING}::test_every_row_is_checked"
KNOWN_CHALLENGE = f"{GUESSING}::test_errors_that_cancel_at_a_known_challenge_are_caught"
NOT_TWICE = f"{GUESSING}::test_no_challenge_comes_twice"
WRONG_SUM = f"{SILENT}::test_a_wrong_sum_is_caught"
NO_MORE = f"{ABORTS}::test_a_key_whose_checks_fail_is_served_no_more"
UNCOUNTED = f"{ABORTS}::test_a_key_that_could_not_be_counted_is_not_admitted"
FOR_GOOD = f"{ABORTS}::test_failures_are_counted_for_good"

MUTANTS = (
    Mutant(
        name="a_check_is_not_compared",
        breaks="every bet on delta passes",
        file=CONSISTENCY,
        old="    if not hmac.compare_digest(expected, received):",
        new="    if len(expected) != len(received):",
        tests=(ONE_OF_SIXTEEN,),
    ),
    Mutant(
        name="a_check_compares_one_byte",
        breaks="one bet in 256 passes whatever it says",
        file=CONSISTENCY,
        old="    if not hmac.compare_digest(expected, received):",
        new="    if expected[:1] != received[:1]:",
        tests=(f"{TREES}::test_a_wrong_sum_or_digest_of_the_check_is_seen",),
    ),
    Mutant(
        name="the_challenge_is_constant",
        breaks="errors are chosen that cancel at it",
        file=CONSISTENCY,
        old="        return hashlib.sha256(label + self._state).digest()",
        new="        return hashlib.sha256(label).digest()",
        tests=(KNOWN_CHALLENGE, NOT_TWICE),
    ),
    Mutant(
        name="the_challenge_ignores_the_messages",
        breaks="it is known before the corrections are sent",
        file=CONSISTENCY,
        old='b"moiety chain" + self._state + b"".join(messages)',
        new='b"moiety chain" + self._state',
        tests=(KNOWN_CHALLENGE,),
    ),
    Mutant(
        name="the_challenge_of_all_parts_is_one",
        breaks="an error in one part is undone in another",
        file=CONSISTENCY,
        old='self._derived(b"point", index)[:16]',
        new='self._derived(b"point", 0)[:16]',
        tests=(NOT_TWICE,),
    ),
    Mutant(
        name="the_chain_does_not_go_on",
        breaks="equal corrections have equal challenges",
        file=CONSISTENCY,
        old='hashlib.sha256(b"moiety chain" + self._state + b',
        new='hashlib.sha256(b"moiety chain" + b',
        tests=(NOT_TWICE,),
    ),
    Mutant(
        name="corrections_are_hashed_in_part",
        breaks="the rest is chosen after the challenge",
        file=CONSISTENCY,
        old="    return hashlib.sha256(message.data).digest()",
        new="    return hashlib.sha256(message[:16].data).digest()",
        tests=(f"{GUESSING}::test_the_challenge_follows_from_every_byte",),
    ),
    Mutant(
        name="the_mask_is_not_added",
        breaks="a hash of u is shown bare: 128 equations in the choices' masks",
        file=CONSISTENCY,
        old="    return np.bitwise_xor.reduce(np.stack([*hashes, planes_of(mask)]))",
        new="    return np.bitwise_xor.reduce(np.stack(hashes))",
        tests=(f"{GUESSING}::test_the_hash_of_u_is_masked", EVERY_ROW),
    ),
    Mutant(
        name="the_mask_is_a_row_that_is_used",
        breaks="the hash of u is masked by what the choices are masked by",
        file=SOFTSPOKEN,
        old="            self._counter += k * blocks(size)",
        new="            self._counter += k * blocks(size) if size != ROWS else 0",
        tests=(f"{GUESSING}::test_the_hash_of_u_is_masked",),
    ),
    Mutant(
        name="only_the_first_rows_are_hashed",
        breaks="a bet in any other passes",
        file=SOFTSPOKEN,
        old="lambda pair: kernels.column_hash(*pair)",
        new="lambda pair: kernels.column_hash(pair[0][:128].copy(), pair[1])",
        tests=(EVERY_ROW,),
    ),
    Mutant(
        name="the_last_part_is_not_hashed",
        breaks="a bet in it passes",
        file=SOFTSPOKEN,
        old="        pairs = list(zip(parts[:-1], points, strict=True))",
        new="        pairs = list(zip(parts[:-1], points, strict=True))[:1]",
        tests=(EVERY_ROW,),
    ),
    Mutant(
        name="delta_has_one_multiple",
        breaks="u of several bits is not checked, or honest peers fail",
        file=CONSISTENCY,
        old="np.uint8(1) << np.arange(len(planes), dtype=np.uint8)",
        new="np.ones(len(planes), np.uint8)",
        tests=(f"{GUESSING}::test_a_right_guess_leaves_no_trace",),
    ),
    Mutant(
        name="rows_are_as_the_receiver_made_them",
        breaks="equal rows, which a receiver finds with sixteen tries a tree, have equal pads",
        file=CONSISTENCY,
        old="        return kernels.aes_ctr(key, start, 16 * n).reshape(n, 16)",
        new="        return np.zeros((n, 16), np.uint8)",
        tests=(f"{EQUAL}::test_rows_that_a_receiver_made_equal_are_not",),
    ),
    Mutant(
        name="the_trees_are_not_compared",
        breaks="a bit of delta for each wrong sum",
        file=SOFTSPOKEN,
        old='    compare(_digest(checks), message[-DIGEST_BYTES:], "trees of the set-up")\n',
        new="",
        tests=(f"{TREES}::test_a_wrong_sum_of_a_level_is_a_bet_on_a_bit",),
    ),
    Mutant(
        name="the_trees_digest_covers_one",
        breaks="wrong sums in the other 31 pass",
        file=SOFTSPOKEN,
        old='b"moiety trees" + checks.tobytes()',
        new='b"moiety trees" + checks[0].tobytes()',
        tests=(f"{TREES}::test_a_wrong_sum_of_a_level_is_a_bet_on_a_bit",),
    ),
    Mutant(
        name="a_leafs_key_is_its_check",
        breaks="the sender learns half the check value of its missing leaf, and with it the key",
        file=SOFTSPOKEN,
        old="    keys = both[:, :, CHECK_BYTES : CHECK_BYTES + 16]",
        new="    keys = both[:, :, :16]",
        tests=(f"{TREES}::test_what_is_checked_does_not_say_the_missing_leaf",),
    ),
    Mutant(
        name="silent_rows_are_not_added",
        breaks="a sender's wrong trees pass",
        file=TALLY,
        old="            self.rows ^= of_rows\n",
        new="",
        tests=(f"{SILENT}::test_a_bet_on_the_noise_is_caught_where_it_is_lost",),
    ),
    Mutant(
        name="silent_rows_are_added_in_part",
        breaks="wrong trees behind the first piece pass",
        file=TALLY,
        old="        jobs = list(zip(parts, self.chain.points(len(parts)), strict=True))",
        new="        jobs = list(zip(parts, self.chain.points(len(parts)), strict=True))[:1]",
        tests=(f"{SILENT}::test_a_wrong_sum_is_caught_in_every_piece",),
    ),
    Mutant(
        name="the_silent_hash_of_u_is_not_masked",
        breaks="128 equations in the masks of choices each query",
        file=TALLY,
        old="    return bare ^ planes_of(mask[:, None])[:WIDTH]",
        new="    return bare",
        tests=(f"{SILENT}::test_the_hash_of_u_is_masked",),
    ),
    Mutant(
        name="a_lie_about_u_is_digested_in_part",
        breaks="the digest of a sender that settles is found by trying: 64 bits of its delta",
        file=CONSISTENCY,
        old="    return np.bitwise_xor.reduce(present[:, :, None] & planes[:, None, :])",
        new="    return np.bitwise_xor.reduce((present[:, :, None] & planes[:, None, :])[:2])",
        tests=(f"{LYING}::test_the_digest_has_all_bits_of_delta",),
    ),
    Mutant(
        name="silent_correlations_are_not_compared",
        breaks="a sender's wrong trees pass",
        file=MIXED,
        old='        compare(expected, received, "silent correlations")\n',
        new="",
        tests=(WRONG_SUM,),
    ),
    Mutant(
        name="the_server_does_not_confirm",
        breaks="a client's wrong trees pass",
        file=SETTLEMENT,
        old="        theirs.tell()\n        mine.confirm()\n",
        new="        theirs.tell()\n",
        tests=(WRONG_SUM, f"{SILENT}::test_nothing_is_opened_before_it_is_settled"),
    ),
    Mutant(
        name="a_tally_forgets_that_it_owes",
        breaks="nothing is ever settled",
        file=TALLY,
        old="        self.owes = True\n",
        new="",
        tests=(WRONG_SUM, f"{SILENT}::test_what_is_settled_is_not_settled_again"),
    ),
    Mutant(
        name="the_silent_challenge_ignores_the_answer",
        breaks="a sender knows it before it answers",
        file=TALLY,
        old="        self.chain.add(code.tobytes(), answer)",
        new="        self.chain.add(code.tobytes())",
        tests=(f"{SILENT}::test_the_challenge_follows_from_the_answer",),
    ),
    Mutant(
        name="a_result_is_opened_unsettled",
        breaks="a client that deviates reads results that depend on its guess",
        file="protocols/compare/reveal.py",
        old="    settle(session)\n",
        new="",
        tests=(f"{SILENT}::test_nothing_is_opened_before_it_is_settled",),
    ),
    Mutant(
        name="a_kept_share_is_not_settled",
        breaks="an aggregate-only server keeps shares that depend on a client's guess",
        file="runtime/party/handlers.py",
        old="        settle(turn.session)\n",
        new="",
        tests=(f"{SILENT}::test_a_kept_share_is_settled_too",),
    ),
    Mutant(
        name="a_failure_is_not_counted",
        breaks="a client tries again and again",
        file="runtime/party/server/operation.py",
        old="            failures = self.access.deviated(caller.fingerprint)",
        new="            failures = 1",
        tests=(NO_MORE,),
    ),
    Mutant(
        name="the_server_counts_no_failure",
        breaks="a client tries again and again, and the audit log does not say so",
        file="runtime/party/server/visit.py",
        old="            count_failure(self._house.admission, self._caller, error)\n",
        new="",
        tests=(NO_MORE,),
    ),
    Mutant(
        name="a_key_is_admitted_uncounted",
        breaks="on a full disk a client tries again and again",
        file="runtime/operation/access.py",
        old="        self.counters.check_writable()\n",
        new="",
        tests=(UNCOUNTED,),
    ),
    Mutant(
        name="that_counts_can_be_written_is_assumed",
        breaks="on a full disk a client tries again and again",
        file="runtime/operation/counters.py",
        old="        with self._held() as (descriptor, state):\n"
        "            self._write(descriptor, state)\n",
        new="        with self._held():\n            pass\n",
        tests=(UNCOUNTED,),
    ),
    Mutant(
        name="failures_are_not_looked_at",
        breaks="a client tries again and again",
        file="runtime/operation/access.py",
        old="        if failed < entry.failed_checks_in_total:",
        new="        if failed >= 0:",
        tests=(FOR_GOOD, NO_MORE),
    ),
    Mutant(
        name="failures_are_looked_at_when_it_enters_alone",
        breaks="connections that are open go on",
        file="runtime/operation/access.py",
        old="        if (distrusted := self._trusted(fingerprint, name, entry)) is not None:",
        new="        if (distrusted := None) is not None:",
        tests=(FOR_GOOD,),
    ),
    Mutant(
        name="thirty_failures_are_allowed",
        breaks="ten times the bets for each key",
        file="runtime/operation/access.py",
        old="FAILED_CHECKS = 3\n",
        new="FAILED_CHECKS = 30\n",
        tests=(FOR_GOOD,),
    ),
    Mutant(
        name="a_run_forgets_the_failures",
        breaks="an honest image wipes them out",
        file="runtime/operation/counters.py",
        old="            state.clients, state.day = state.clients | {client: count}, count.day",
        new="            state = _State(serial=state.serial, day=count.day)\n"
        "            state.clients = {client: count}",
        tests=(f"{ABORTS}::test_a_quota_and_a_clock_leave_failures_alone",),
    ),
    Mutant(
        name="a_failure_is_not_written",
        breaks="the next process knows nothing of it",
        file="runtime/operation/counters.py",
        old="            state.failures = failures | {client: count}\n"
        "            self._write(descriptor, state)\n",
        new="            state.failures = failures | {client: count}\n",
        tests=(FOR_GOOD,),
    ),
    Mutant(
        name="a_failed_check_may_be_retried",
        breaks="a client's program tries again by itself, against a server that bets on its delta",
        file="runtime/party/handshake.py",
        old='    if refusal.reason == "deviating":',
        new='    if refusal.reason == "":',
        tests=(NO_MORE,),
    ),
)
