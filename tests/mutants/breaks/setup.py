"""The set-up: what the parties draw for it, and what its keys are bound to."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

MUTANTS = (
    Mutant(
        name="delta_is_a_constant",
        breaks="all pads of all sessions",
        file="protocols/setup.py",
        old="    delta = prg.bytes(16)\n",
        new="    delta = prg.bytes(16) * 0 + 3\n",
        tests=("tests/protocols/test_base_ot.py::test_delta_has_all_its_entropy",),
    ),
    Mutant(
        name="delta_of_64_bits",
        breaks="delta's second half repeats its first",
        file="protocols/setup.py",
        old="    delta = prg.bytes(16)\n",
        new=("    delta = prg.bytes(16).copy()\n    delta[8:] = delta[:8]\n"),
        tests=("tests/protocols/test_base_ot.py::test_delta_has_all_its_entropy",),
    ),
    Mutant(
        name="delta_without_two_bits_a_byte",
        breaks="delta has 96 bits",
        file="protocols/setup.py",
        old="    delta = prg.bytes(16)\n",
        new="    delta = prg.bytes(16) & 0x77\n",
        tests=("tests/protocols/test_base_ot.py::test_delta_has_all_its_entropy",),
    ),
    Mutant(
        name="delta_from_public_messages",
        breaks="whoever reads the connection knows delta",
        file="protocols/setup.py",
        old="    delta = prg.bytes(16)\n",
        new="    delta = transcript.keys(tag, 1)[0]\n",
        tests=("tests/protocols/test_base_ot.py::test_delta_has_all_its_entropy",),
    ),
    Mutant(
        name="a_session_of_a_constant_seed",
        breaks="everything that both parties draw is known",
        file="protocols/setup.py",
        old="prg, workers = prg or Prg.from_os(), workers",
        new="prg, workers = prg or Prg(bytes(16)), workers",
        tests=(
            "tests/protocols/test_fresh_sessions.py::test_every_party_of_every_session_asks_the_operating_system",
        ),
    ),
    Mutant(
        name="a_session_of_a_seed_by_role",
        breaks="every session of a party draws the same",
        file="protocols/setup.py",
        old="prg, workers = prg or Prg.from_os(), workers",
        new="prg, workers = prg or Prg(bytes([role]) * 16), workers",
        tests=(
            "tests/protocols/test_fresh_sessions.py::test_every_party_of_every_session_asks_the_operating_system",
        ),
    ),
    Mutant(
        name="an_opening_of_a_constant_seed",
        breaks="base transfers' scalars are known, and delta with them",
        file="protocols/setup.py",
        old="base_ot.BaseReceiver.start(tag, 1 - delta_bits(delta).reshape(-1), prg)",
        new=("base_ot.BaseReceiver.start(tag, 1 - delta_bits(delta).reshape(-1), Prg(bytes(16)))"),
        tests=("tests/protocols/test_fresh_sessions.py::test_no_message_of_a_set_up_comes_twice",),
    ),
    Mutant(
        name="roots_of_a_constant_seed",
        breaks="the trees of every session are the same",
        file="protocols/setup.py",
        old="full_trees(prg.bytes(16 * TREES).reshape(TREES, 16), keys, doubling)",
        new=("full_trees(Prg(bytes(16)).bytes(16 * TREES).reshape(TREES, 16), keys, doubling)"),
        tests=(
            "tests/protocols/test_fresh_sessions.py::test_every_secret_of_a_set_up_is_drawn_for_it_alone",
        ),
    ),
    Mutant(
        name="one_root_for_all_trees",
        breaks="the hole of one tree is open in another",
        file="protocols/setup.py",
        old="full_trees(prg.bytes(16 * TREES).reshape(TREES, 16), keys, doubling)",
        new="full_trees(prg.bytes(16).reshape(1, 16).repeat(TREES, axis=0), keys, doubling)",
        tests=(
            "tests/protocols/test_fresh_sessions.py::test_every_secret_of_a_set_up_is_drawn_for_it_alone",
        ),
    ),
    Mutant(
        name="the_answers_scalar_is_constant",
        breaks="both base keys of every transfer are known",
        file="protocols/setup.py",
        old="answer, keys = base_ot.send(tag, asked, prg)",
        new="answer, keys = base_ot.send(tag, asked, Prg(bytes(16)))",
        tests=("tests/protocols/test_fresh_sessions.py::test_no_message_of_a_set_up_comes_twice",),
    ),
    Mutant(
        name="a_generator_goes_on_in_the_sessions_stream",
        breaks="a mask of the session is noise of the generator",
        file="protocols/setup.py",
        old=(
            "        channel, receiver, prg.fork(), keys(back, _REFILLS), silent_from, "
            "chains(back), workers"
        ),
        new=(
            "        channel, receiver, Prg(prg._key.tobytes(), prg._upper), keys(back, "
            "_REFILLS), silent_from, chains(back), workers"
        ),
        tests=(
            "tests/protocols/test_fresh_sessions.py::test_every_secret_of_a_set_up_is_drawn_for_it_alone",
        ),
    ),
    Mutant(
        name="the_client_never_checks",
        breaks="a set-up that was changed on its last flight passes",
        file="protocols/setup.py",
        old="            _check(Role.SERVER, shared, channel, transcript)\n",
        new="            _recv(TAG_BYTES, channel, transcript)\n",
        tests=("tests/protocols/test_confirmation.py::test_a_changed_byte_ends_the_set_up",),
    ),
    Mutant(
        name="a_session_without_its_binding",
        breaks="a connection's keys are another's with the same messages",
        file="protocols/setup.py",
        old='hashlib.sha256(binding + silent_from.to_bytes(4, "little")).digest()',
        new='hashlib.sha256(silent_from.to_bytes(4, "little")).digest()',
        tests=(
            "tests/protocols/test_confirmation.py::test_parties_that_agreed_on_different_things_do_not_open_a_session",
        ),
    ),
    Mutant(
        name="one_key_for_all_uses",
        breaks="refills and pads hash under the same keys",
        file="protocols/setup.py",
        old="transcript.keys(tag + use, 1)[0]",
        new="transcript.keys(tag, 1)[0]",
        tests=(
            "tests/protocols/test_keys.py::test_both_parties_have_the_same_keys_and_every_use_its_own",
        ),
    ),
)
