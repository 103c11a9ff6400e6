"""Two parties: handshake, keys, TLS, tickets."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

MUTANTS = (
    Mutant(
        name="a_client_compares_nothing",
        breaks="a client goes on with a server of another release or Program",
        file="runtime/party/handshake.py",
        old=("    compare(ours, theirs)\n    return theirs"),
        new=('    if ours.role != "client":\n        compare(ours, theirs)\n    return theirs'),
        tests=(
            "tests/runtime/test_each_side_compares.py::test_a_client_goes_no_further_than_the_difference",
        ),
    ),
    Mutant(
        name="a_server_compares_nothing",
        breaks="a server goes on with a client of another release or Program",
        file="runtime/party/handshake.py",
        old=("    compare(ours, theirs)\n    return theirs"),
        new=('    if ours.role != "server":\n        compare(ours, theirs)\n    return theirs'),
        tests=(
            "tests/runtime/test_each_side_compares.py::test_a_difference_ends_it_at_either_side",
        ),
    ),
    Mutant(
        name="programs_by_their_beginnings",
        breaks="two Programs that differ behind the 16th digit pass for one",
        file="runtime/party/handshake.py",
        old="    if theirs.program != ours.program:",
        new="    if theirs.program[:16] != ours.program[:16]:",
        tests=(
            "tests/runtime/test_each_side_compares.py::test_a_difference_ends_it_at_either_side",
        ),
    ),
    Mutant(
        name="generators_not_compared",
        breaks="each side makes its correlations by another generator",
        file="runtime/party/handshake.py",
        old='    if theirs.ot != ours.ot and "auto" not in (theirs.ot, ours.ot):',
        new="    if False:",
        tests=(
            "tests/runtime/test_each_side_compares.py::test_a_difference_ends_it_at_either_side",
        ),
    ),
    Mutant(
        name="only_what_we_know_is_compared",
        breaks="a parameter that the peer alone has passes",
        file="runtime/party/handshake.py",
        old="sorted(ours.cryptography.keys() | theirs.cryptography.keys())",
        new="sorted(ours.cryptography.keys())",
        tests=(
            "tests/runtime/test_each_side_compares.py::test_a_difference_ends_it_at_either_side",
        ),
    ),
    Mutant(
        name="no_time_limit_of_the_handshake",
        breaks="a peer that says nothing is waited for without end",
        file="runtime/party/handshake.py",
        old=("    with channel.deadline(seconds):\n        theirs = receive(channel, Hello)"),
        new="    theirs = receive(channel, Hello)",
        tests=(
            "tests/runtime/test_each_side_compares.py::test_a_difference_ends_it_at_either_side",
        ),
    ),
    Mutant(
        name="a_nonce_for_all",
        breaks="every connection has the same nonce",
        file="runtime/party/handshake.py",
        old="nonce=secrets.token_hex(16)",
        new='nonce="00" * 16',
        tests=(
            "tests/runtime/test_each_side_compares.py::test_every_hello_has_a_nonce_of_its_own",
        ),
    ),
    Mutant(
        name="binding_without_exporter",
        breaks="a session may go on over another TLS connection",
        file="runtime/party/handshake.py",
        old='hashlib.sha256(b"moiety binding" + line.exporter)',
        new='hashlib.sha256(b"moiety binding")',
        tests=(
            "tests/runtime/test_each_side_compares.py::test_the_binding_has_whole_keys_and_the_whole_exporter",
        ),
    ),
    Mutant(
        name="binding_without_keys",
        breaks="a session may go on with another peer",
        file="runtime/party/handshake.py",
        old="        hashed.update(key.digest if key else bytes(32))\n",
        new="",
        tests=(
            "tests/runtime/test_each_side_compares.py::test_the_binding_has_whole_keys_and_the_whole_exporter",
        ),
    ),
    Mutant(
        name="binding_without_nonces",
        breaks="the binding of two connections is one",
        file="runtime/party/handshake.py",
        old="hashlib.sha256(msgspec.json.encode(hello)).digest()",
        new="hashlib.sha256(hello.program.encode()).digest()",
        tests=("tests/runtime/test_each_side_compares.py::test_the_binding_is_of_every_word",),
    ),
    Mutant(
        name="recorded_ready_is_believed",
        breaks="a recorded Ready is taken for the server's",
        file="runtime/party/client.py",
        old="        handshake.check_fresh(message, ours)\n",
        new="",
        tests=(
            "tests/runtime/test_each_side_compares.py::test_a_word_for_another_connection_ends_it",
        ),
    ),
    Mutant(
        name="layouts_not_compared",
        breaks="runs of several images are packed differently at the two sides",
        file="runtime/party/handshake.py",
        old="        if layout(size) != offer[size]:",
        new="        if not layout(size):",
        tests=(
            "tests/runtime/test_each_side_compares.py::test_a_client_takes_the_sizes_that_both_know_alike",
        ),
    ),
    Mutant(
        name="any_peer_is_believed",
        breaks="whoever has any key is served",
        file="runtime/party/endpoints.py",
        old="        name = credentials.judge(shown, peer)",
        new='        name = ""',
        tests=(
            "tests/runtime/test_tls.py::test_a_key_that_the_server_does_not_know_is_refused_in_words",
        ),
    ),
    Mutant(
        name="a_client_believes_any_server",
        breaks="a client sends its images to whoever has a key",
        file="runtime/party/endpoints.py",
        old="        name = credentials.judge(shown, peer)",
        new='        name = credentials.judge(shown, peer) if host is None else "vendor"',
        tests=(
            "tests/runtime/test_tls.py::test_a_key_that_the_client_does_not_know_is_refused_in_words",
        ),
    ),
    Mutant(
        name="fingerprints_by_prefix",
        breaks="a key whose fingerprint begins like a trusted one is trusted",
        file="runtime/party/credentials.py",
        old='        name = pinned.get(theirs, "")',
        new=(
            "        near = (n for k, n in pinned.items() if k.digest[:8] == theirs.digest[:8])\n"
            '        name = next(near, "")'
        ),
        tests=(
            "tests/runtime/test_keys_of_parties.py::test_a_key_that_is_almost_a_trusted_one_is_not",
        ),
    ),
    Mutant(
        name="expired_keys_are_good",
        breaks="a certificate that has expired is believed",
        file="runtime/party/certificates.py",
        old="    if here > end:",
        new="    if False:",
        tests=("tests/runtime/test_tls.py::test_certificates_out_of_their_dates_are_refused",),
    ),
    Mutant(
        name="pinned_keys_never_expire",
        breaks="a trusted certificate is believed after its last day",
        file="runtime/party/credentials.py",
        old=("        try:\n            check_dates(shown.certificate,"),
        new=("        try:\n            name or check_dates(shown.certificate,"),
        tests=("tests/runtime/test_tls.py::test_certificates_out_of_their_dates_are_refused",),
    ),
    Mutant(
        name="older_tls",
        breaks="TLS 1.2 is spoken",
        file="runtime/party/tls.py",
        old="set_min_proto_version(SSL.TLS1_3_VERSION)",
        new="set_min_proto_version(SSL.TLS1_2_VERSION)",
        tests=("tests/runtime/test_tls.py::test_browsers_and_older_tls_are_refused",),
    ),
    Mutant(
        name="any_authority",
        breaks="a chain that ends nowhere is believed",
        file="runtime/party/credentials.py",
        old="        if shown.chain_error:",
        new="        if False:",
        tests=("tests/runtime/test_tls.py::test_whom_another_authority_has_signed_is_refused",),
    ),
    Mutant(
        name="any_host",
        breaks="a certificate of an authority is good for every host",
        file="runtime/party/credentials.py",
        old="if shown.host is not None and not _made_out_to(shown.certificate, shown.host):",
        new="if False:",
        tests=(
            "tests/runtime/test_tls.py::test_a_server_of_a_pki_must_be_the_one_that_was_asked_for",
        ),
    ),
    Mutant(
        name="a_short_exporter",
        breaks="the channel binding has 32 bits",
        file="runtime/party/tls.py",
        old="self._tls.export_keying_material(_EXPORTER, 32)",
        new="self._tls.export_keying_material(_EXPORTER, 4) + bytes(28)",
        tests=("tests/runtime/test_tls.py::test_both_sides_know_each_other",),
    ),
    Mutant(
        name="keys_for_the_group",
        breaks="a private key that others may read is used",
        file="runtime/operation/files.py",
        old="    if mode & 0o077:",
        new="    if mode & 0o007:",
        tests=("tests/runtime/test_tls.py::test_files_of_a_pki_that_do_not_fit_are_refused",),
    ),
    Mutant(
        name="a_client_believes_any_worker",
        breaks="a client goes to a worker of any key that it trusts",
        file="runtime/party/client.py",
        old="        credentials = credentials.only(line.peer, line.name)\n",
        new="        pass\n",
        tests=("tests/runtime/test_tickets.py::test_whom_a_client_believes_at_a_worker",),
    ),
    Mutant(
        name="a_worker_of_any_key",
        breaks="whoever says so is a worker of the front",
        file="runtime/party/server/escort.py",
        old="    if channel.line.peer != channel.line.own:",
        new="    if False:",
        tests=("tests/runtime/test_tickets.py::test_a_worker_has_the_key_of_its_front",),
    ),
    Mutant(
        name="a_ticket_twice",
        breaks="a ticket is good for several sessions",
        file="runtime/party/server/front.py",
        old=("        del self._claims[word.ticket]\n        self._begin"),
        new="        self._begin",
        tests=("tests/runtime/test_tickets.py::test_a_ticket_is_good_once",),
    ),
    Mutant(
        name="a_ticket_for_anybody",
        breaks="another client takes a ticket that it has overheard",
        file="runtime/party/server/front.py",
        old="claim is None or claim.visitor.caller.fingerprint != word.fingerprint",
        new="claim is None",
        tests=("tests/runtime/test_tickets.py::test_a_ticket_is_for_one_certificate",),
    ),
    Mutant(
        name="a_ticket_for_an_hour",
        breaks="a ticket is good long after its minute",
        file="runtime/party/server/front.py",
        old="TICKET_SECONDS = 60.0",
        new="TICKET_SECONDS = 3600.0",
        tests=("tests/runtime/test_tickets.py::test_a_ticket_is_good_for_a_minute",),
    ),
    Mutant(
        name="short_tickets",
        breaks="tickets of 16 bits are guessed",
        file="runtime/party/server/front.py",
        old="secrets.token_hex(16)",
        new="secrets.token_hex(2).zfill(32)",
        tests=("tests/runtime/test_tickets.py::test_tickets_are_not_guessed",),
    ),
    Mutant(
        name="a_front_counts_one",
        breaks="a run of several images at a worker counts as one",
        file="runtime/party/server/worker.py",
        old="        self._ask(Take(images=images))",
        new="        self._ask(Take(images=1))",
        tests=("tests/runtime/test_tickets.py::test_a_worker_asks_before_each_run",),
    ),
    Mutant(
        name="a_worker_hears_no_denial",
        breaks="a worker runs what its front has denied",
        file="runtime/party/server/escort.py",
        old="            handshake.send(self.channel, Taken(denied=str(denied)))",
        new="            handshake.send(self.channel, Taken())",
        tests=("tests/runtime/test_tickets.py::test_what_a_front_denies_its_worker_hears",),
    ),
    Mutant(
        name="an_aggregate_at_a_worker_unrecorded",
        breaks="a front does not write down what a worker reveals",
        file="runtime/party/server/escort.py",
        old="                self.admission.aggregate(caller, asked.cohort, asked.images)",
        new="                pass",
        tests=("tests/runtime/test_tickets.py::test_a_front_counts_before_it_answers",),
    ),
)
