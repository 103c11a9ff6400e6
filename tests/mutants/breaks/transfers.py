"""Transfers: base transfers, key confirmation, keys of the hash, batches."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

MUTANTS = (
    Mutant(
        name="one_scalar_for_all_base_transfers",
        breaks="the keys of one base transfer give those of all others",
        file="protocols/ot/base_ot.py",
        old=(
            "        scalars, parts = [], []\n"
            "        for index, bit in enumerate(choices.tolist()):\n"
            "            a = _scalar(prg)\n"
        ),
        new=(
            "        scalars, parts = [], []\n"
            "        a = _scalar(prg)\n"
            "        for index, bit in enumerate(choices.tolist()):\n"
        ),
        tests=("tests/protocols/test_base_ot.py::test_every_transfer_has_randomness_of_its_own",),
    ),
    Mutant(
        name="base_scalars_of_64_bits",
        breaks="a search of 2^32 steps finds a base transfer's choice",
        file="protocols/ot/base_ot.py",
        old="scalar_reduce(prg.bytes(64).tobytes())",
        new="scalar_reduce(prg.bytes(8).tobytes() + bytes(56))",
        tests=("tests/protocols/test_base_ot.py::test_every_transfer_has_randomness_of_its_own",),
    ),
    Mutant(
        name="one_point_for_all_pairs",
        breaks="the point that pairs have in common tells every choice",
        file="protocols/ot/base_ot.py",
        old=(
            "        scalars, parts = [], []\n"
            "        for index, bit in enumerate(choices.tolist()):\n"
            "            a = _scalar(prg)\n"
            "            other = _map_pair(prg.bytes(64).tobytes())\n"
        ),
        new=(
            "        scalars, parts = [], []\n"
            "        other = _map_pair(prg.bytes(64).tobytes())\n"
            "        for index, bit in enumerate(choices.tolist()):\n"
            "            a = _scalar(prg)\n"
        ),
        tests=("tests/protocols/test_base_ot.py::test_every_transfer_has_randomness_of_its_own",),
    ),
    Mutant(
        name="a_point_of_known_logarithm",
        breaks="the receiver opens both keys of every base transfer",
        file="protocols/ot/base_ot.py",
        old="            other = _map_pair(prg.bytes(64).tobytes())",
        new="            other = sodium.crypto_scalarmult_ed25519_base_noclamp(a)",
        tests=("tests/protocols/test_base_ot.py::test_every_transfer_has_randomness_of_its_own",),
    ),
    Mutant(
        name="half_of_the_points",
        breaks="points that one Elligator map misses are never drawn, so not uniform",
        file="protocols/ot/base_ot.py",
        old=(
            "return sodium.crypto_core_ed25519_add(first, "
            "sodium.crypto_core_ed25519_from_uniform(seed[32:]))"
        ),
        new="return first",
        tests=("tests/protocols/test_base_ot.py::test_keys_are_those_of_the_paper",),
    ),
    Mutant(
        name="a_point_of_every_direction",
        breaks="the base transfers of one direction answer the other's",
        file="protocols/ot/base_ot.py",
        old='b"moiety base-ot point" + tag + index',
        new='b"moiety base-ot point" + index',
        tests=("tests/protocols/test_base_ot.py::test_keys_are_those_of_the_paper",),
    ),
    Mutant(
        name="base_keys_without_a_tag",
        breaks="one direction's base keys, and another session's, are the same",
        file="protocols/ot/base_ot.py",
        old='b"moiety base-ot key" + tag + index',
        new='b"moiety base-ot key" + index',
        tests=("tests/protocols/test_base_ot.py::test_keys_are_those_of_the_paper",),
    ),
    Mutant(
        name="base_keys_without_a_transcript",
        breaks="keys are not bound to the messages they come from",
        file="protocols/ot/base_ot.py",
        old='index.to_bytes(4, "little") + transcript + shared',
        new='index.to_bytes(4, "little") + shared',
        tests=("tests/protocols/test_base_ot.py::test_keys_are_those_of_the_paper",),
    ),
    Mutant(
        name="base_keys_without_an_index",
        breaks="equal pairs get equal keys",
        file="protocols/ot/base_ot.py",
        old='tag + index.to_bytes(4, "little") + transcript + shared',
        new="tag + transcript + shared",
        tests=("tests/protocols/test_base_ot.py::test_keys_are_those_of_the_paper",),
    ),
    Mutant(
        name="the_answers_point_unchecked",
        breaks="an answer of small order gives keys that anybody knows",
        file="protocols/ot/base_ot.py",
        old="point = _checked(answer)",
        new="point = answer",
        tests=(
            "tests/protocols/test_base_ot.py::test_points_outside_the_prime_order_group_are_refused",
        ),
    ),
    Mutant(
        name="half_of_the_points_unchecked",
        breaks="a point of small order in the second place passes",
        file="protocols/ot/base_ot.py",
        old="points = (_checked(pair[:POINT]), _checked(pair[POINT:]))",
        new="points = (_checked(pair[:POINT]), pair[POINT:])",
        tests=(
            "tests/protocols/test_base_ot.py::test_points_outside_the_prime_order_group_are_refused",
        ),
    ),
    Mutant(
        name="a_part_of_small_order_passes",
        breaks="the cofactor's part of a key tells bits of a scalar",
        file="protocols/ot/base_ot.py",
        old="    if not sodium.crypto_core_ed25519_is_valid_point(point):",
        new=(
            "    if point in (bytes(32), _NEUTRAL, bytes([0xEC]) + bytes([255])*30 + "
            "bytes([127]), bytes([255])*32):"
        ),
        tests=(
            "tests/protocols/test_base_ot.py::test_points_outside_the_prime_order_group_are_refused",
        ),
    ),
    Mutant(
        name="base_transfers_without_a_key",
        breaks="a receiver that chose the pair knows the sender's key",
        file="protocols/ot/base_ot.py",
        old="if base == _NEUTRAL:",
        new="if base == b'':",
        tests=("tests/protocols/test_base_ot.py::test_base_transfers_without_a_key_are_refused",),
    ),
    Mutant(
        name="base_keys_of_64_bits",
        breaks="base keys can be searched",
        file="protocols/ot/base_ot.py",
        old=").digest()[:KEY]",
        new=").digest()[:8] * 2",
        tests=("tests/protocols/test_base_ot.py::test_receiver_gets_the_chosen_key_only",),
    ),
    Mutant(
        name="a_tag_compared_in_half",
        breaks="every other byte of a tag is not looked at",
        file="protocols/ot/confirmation.py",
        old="if not hmac.compare_digest(expected, received):",
        new="if not hmac.compare_digest(expected[::2], received[::2]):",
        tests=(
            "tests/protocols/test_confirmation.py::test_a_tag_that_differs_in_one_bit_is_refused",
        ),
    ),
    Mutant(
        name="a_tag_never_compared",
        breaks="a changed set-up passes",
        file="protocols/ot/confirmation.py",
        old="if not hmac.compare_digest(expected, received):",
        new="if len(received) != len(expected):",
        tests=(
            "tests/protocols/test_confirmation.py::test_a_tag_that_differs_in_one_bit_is_refused",
        ),
    ),
    Mutant(
        name="a_tag_compared_byte_by_byte",
        breaks="the time tells how many bytes of a tag were right",
        file="protocols/ot/confirmation.py",
        old="if not hmac.compare_digest(expected, received):",
        new="if expected != received:",
        tests=("tests/protocols/test_confirmation.py::test_tags_are_compared_in_constant_time",),
    ),
    Mutant(
        name="a_tag_without_the_secret",
        breaks="whoever sits between makes both tags",
        file="protocols/ot/confirmation.py",
        old='b"moiety confirmation key" + shared + transcript',
        new='b"moiety confirmation key" + transcript',
        tests=(
            "tests/protocols/test_confirmation.py::test_each_role_each_secret_and_each_transcript_has_its_own_tag",
        ),
    ),
    Mutant(
        name="a_secret_of_32_bits",
        breaks="the set-up's secret can be searched",
        file="protocols/ot/confirmation.py",
        old="scalar = prg.bytes(SHARE_BYTES).tobytes()",
        new="scalar = prg.bytes(4).tobytes() * 8",
        tests=(
            "tests/protocols/test_confirmation.py::test_the_secret_of_a_set_up_has_all_its_entropy",
        ),
    ),
    Mutant(
        name="a_transcript_without_openings",
        breaks="pairs of points replaced on the way are not noticed",
        file="protocols/ot/keys.py",
        old="        self._hash.update(message)",
        new=("        if len(message) != 8192:\n            self._hash.update(message)"),
        tests=(
            "tests/protocols/test_confirmation.py::test_a_valid_message_of_another_set_up_is_refused",
        ),
    ),
    Mutant(
        name="a_transcript_without_trees",
        breaks="trees replaced on the way are not noticed",
        file="protocols/ot/keys.py",
        old="        self._hash.update(message)",
        new=("        if len(message) != 5152:\n            self._hash.update(message)"),
        tests=(
            "tests/protocols/test_confirmation.py::test_a_valid_message_of_another_set_up_is_refused",
        ),
    ),
    Mutant(
        name="a_transcript_of_beginnings",
        breaks="what follows the first 32 bytes of a message is not confirmed",
        file="protocols/ot/keys.py",
        old="        self._hash.update(message)",
        new="        self._hash.update(message[:32])",
        tests=(
            "tests/protocols/test_keys.py::test_keys_are_bound_to_what_was_agreed_and_to_every_byte",
        ),
    ),
    Mutant(
        name="a_transcript_without_what_was_agreed",
        breaks="parties of different Programs or certificates have the same keys",
        file="protocols/ot/keys.py",
        old='hashlib.sha256(b"moiety set-up" + context)',
        new='hashlib.sha256(b"moiety set-up")',
        tests=(
            "tests/protocols/test_keys.py::test_keys_are_bound_to_what_was_agreed_and_to_every_byte",
        ),
    ),
    Mutant(
        name="a_key_of_two_batches",
        breaks="a batch that does not fill its last key shares it with the next",
        file="protocols/ot/keys.py",
        old="        self.used += -(-n // per_key(k))",
        new="        self.used += n // per_key(k)",
        tests=("tests/protocols/test_keys.py::test_no_key_hashes_two_batches",),
    ),
    Mutant(
        name="a_key_of_all_pieces",
        breaks="more than 2^10 blocks under one key",
        file="protocols/ot/keys.py",
        old="return count_key(key, index) if index else key",
        new="return key",
        tests=("tests/protocols/test_keys.py::test_no_key_hashes_two_batches",),
    ),
    Mutant(
        name="keys_do_not_count",
        breaks="every 2^10 blocks are hashed under the key of the first",
        file="protocols/kernels/reference/blocks.py",
        old='low = int.from_bytes(first[:8].tobytes(), "little") + index & (1 << 64) - 1',
        new='low = int.from_bytes(first[:8].tobytes(), "little") & (1 << 64) - 1',
        tests=("tests/protocols/test_keys.py::test_no_key_hashes_two_batches",),
    ),
    Mutant(
        name="choices_in_clear",
        breaks="the sender reads every choice",
        file="protocols/ot/transfers.py",
        old="            shifts = mine ^ u",
        new="            shifts = mine.copy()",
        tests=("tests/protocols/test_views.py::test_shifts_do_not_tell_constant_choices",),
    ),
    Mutant(
        name="a_choice_masked_but_for_its_top_bit",
        breaks="the sender reads the top bit of every choice",
        file="protocols/ot/transfers.py",
        old="            shifts = mine ^ u",
        new="            shifts = mine ^ (u & np.uint8((1 << k - 1) - 1 or 1))",
        tests=("tests/protocols/test_views.py::test_shifts_do_not_tell_constant_choices",),
    ),
    Mutant(
        name="rows_share_their_correlations",
        breaks="the pads of two rows are the same",
        file="protocols/ot/on_demand.py",
        old="            of_row = slice(row * n, (row + 1) * n)",
        new="            of_row = slice(0, n)",
        tests=(
            "tests/protocols/test_correlations_serve_once.py::test_every_row_takes_correlations_of_its_own",
        ),
    ),
    Mutant(
        name="a_batch_answered_twice",
        breaks="the difference of two tables' entries",
        file="protocols/ot/transfers.py",
        old="        batch.spend()\n        batch.pads.begin(bits)\n        kept",
        new="        batch.pads.begin(bits)\n        kept",
        tests=("tests/protocols/test_correlations_serve_once.py::test_a_batch_is_answered_once",),
    ),
    Mutant(
        name="a_batch_is_never_spent",
        breaks="the difference of two tables' entries",
        file="protocols/ot/batches.py",
        old="        self.spent = True",
        new="        self.spent = False",
        tests=(
            "tests/protocols/test_correlations_serve_once.py::test_an_interrupted_answer_is_not_given_again",
        ),
    ),
    Mutant(
        name="a_batch_opened_twice",
        breaks="a receiver that waits for a second answer",
        file="protocols/ot/transfers.py",
        old=("        batch.spend()\n        if batch.elements"),
        new="        if batch.elements",
        tests=("tests/protocols/test_correlations_serve_once.py::test_a_batch_is_opened_once",),
    ),
    Mutant(
        name="elements_of_a_group_share_a_pad",
        breaks="the difference of two elements",
        file="protocols/ot/batches.py",
        old="spread[:, :, 0] = halves[:, :1] ^ places",
        new="spread[:, :, 0] = halves[:, :1]",
        tests=("tests/protocols/test_single_use.py::test_no_block_is_hashed_twice_for_products",),
    ),
    Mutant(
        name="prepared_pads_in_any_order",
        breaks="two answers under the same stored pads",
        file="protocols/ot/prepared.py",
        old="        if due != (answer,):",
        new="        if False:",
        tests=("tests/protocols/test_prepared_order.py::test_pads_are_taken_once_and_in_order",),
    ),
    Mutant(
        name="prepared_batches_of_any_size",
        breaks="pads of another batch, or more than were made",
        file="protocols/ot/prepared.py",
        old="        if due != (opening,):",
        new="        if False:",
        tests=("tests/protocols/test_prepared_order.py::test_pads_are_taken_once_and_in_order",),
    ),
    Mutant(
        name="a_prepared_run_may_end_early",
        breaks="pads that are left, and may meet another run",
        file="protocols/ot/prepared.py",
        old="        if left != (0, 0):",
        new="        if left[0]:",
        tests=("tests/protocols/test_prepared_order.py::test_pads_are_taken_once_and_in_order",),
    ),
    Mutant(
        name="a_preparation_without_its_check",
        breaks="an item of correlations that a peer has tampered with",
        file="protocols/preparation.py",
        old="    settle(session)\n",
        new="",
        tests=(
            "tests/protocols/test_preparation.py::test_a_peer_that_deviates_is_caught_before_the_item_counts",
        ),
    ),
    Mutant(
        name="stored_choices_of_zeros",
        breaks="the sender reads every choice of a prepared run",
        file="protocols/ot/making.py",
        old="kernels.pack(np.concatenate(",
        new="kernels.pack(0 * np.concatenate(",
        tests=(
            "tests/protocols/test_prepared_order.py::test_choices_of_a_prepared_run_are_hidden_by_its_u",
        ),
    ),
    Mutant(
        name="a_demand_without_its_answers",
        breaks="parties with pads of different widths",
        file="protocols/ot/demand.py",
        old="for numbers in (way.openings, way.answers):",
        new="for numbers in (way.openings,):",
        tests=("tests/protocols/test_preparation.py::test_digests_tell_demands_apart",),
    ),
    Mutant(
        name="correlations_of_a_piece_taken_twice",
        breaks="two answers under pads of the same correlations",
        file="protocols/ot/making.py",
        old="                self.parts.insert(0, part[n:])",
        new="                self.parts.insert(0, part[: len(part) - n])",
        tests=(
            "tests/protocols/test_preparation.py::test_a_prepared_run_draws_every_correlation_once",
        ),
    ),
    Mutant(
        name="a_lane_recorded_too_soon",
        breaks="an order of the answers that no run has",
        file="protocols/ot/recording.py",
        old="        self._channel.await_flight()\n        batch.pads.begin(bits)",
        new="        batch.pads.begin(bits)\n        self._channel.await_flight()",
        tests=("tests/protocols/test_preparation.py::test_what_is_recorded_is_what_a_run_asks",),
    ),
)
