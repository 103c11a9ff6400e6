"""Numbers that stand in SECURITY.md and docs/security.md are those of the code, or are computed
again. That the code's are those which are promised is in test_figures.py.
"""

from __future__ import annotations

import re
from math import ceil, log2
from pathlib import Path

import pytest

from benchmarks.security_estimate import KEY_STREAM_BLOCKS, RUN
from benchmarks.support import security_codes as codes
from benchmarks.support import security_lattice as lattice
from benchmarks.support import security_terms as terms
from moiety.compiler.lowering.revealing import Revealing
from moiety.compiler.planning.guards import KEPT
from moiety.protocols import kernels
from moiety.protocols.aggregate.sealed import SUM_BITS
from moiety.protocols.errors import DeviatingPeer, NetworkFailure, UntrustedPeer
from moiety.protocols.kernels.reference.blocks import BLOCKS_PER_KEY, per_key
from moiety.protocols.linear.parameters import (
    ERROR_PARAMETER,
    ERROR_VARIANCE,
    FAILURE_BITS,
    MAX_LOG2_Q,
)
from moiety.protocols.ot.lpn import BITS, NIBBLES
from moiety.protocols.ot.softspoken import LEAVES, TREES
from moiety.runtime.cli.options import STOCHASTIC
from moiety.runtime.operation.access import FAILED_CHECKS
from moiety.runtime.party.server.front import TICKET_SECONDS
from moiety.runtime.program.expression.expression import MAX_CONSTANTS
from moiety.runtime.program.weights import SALT_BYTES
from tests.native.secrets import SECRETS

ROOT = Path(__file__).resolve().parents[2]
PAGE, SHORT = "docs/security.md", "SECURITY.md"
SCORE, FEATURES = 24, 1024
"""Bits of a score's ring, and what DenseNet-121's last layer reads."""
WORDS = ("no", "one", "two", "three", "four")


def in_words(document: str) -> str:
    return " ".join((ROOT / document).read_text(encoding="utf-8").split())


def largest() -> lattice.Attack:
    """The cheapest attack that is known, on a ring at its limit."""
    attacks = [
        lattice.primal(lattice.Lwe(n, q, ERROR_VARIANCE**0.5, (2 / 3) ** 0.5))
        for n, q in MAX_LOG2_Q.items()
    ]
    return min(attacks, key=lambda attack: attack.bits)


RINGS = "; ".join(f"{n}, {q}" for n, q in MAX_LOG2_Q.items())
SIGMA = f"{ERROR_VARIANCE**0.5:.2f}"
SET = f"({BITS.length}, {BITS.seeds}, {BITS.trees})"
PADS = terms.unknown_pads()

FIGURES = [
    (SHORT, f"After {WORDS[FAILED_CHECKS]} failed checks the vendor's server"),
    (SHORT, f"a score in about {SCORE} of them"),
    (SHORT, f"last layer in {SCORE} times as many queries"),
    (PAGE, f"probability at most 2^-{FAILURE_BITS} per linear layer"),
    (PAGE, f"a salt of {8 * SALT_BYTES} bits"),
    (PAGE, f"at most {MAX_CONSTANTS:,} numbers"),
    (PAGE, f"left all but {WORDS[KEPT]} of the dropped bits behind"),
    (PAGE, f"| N, max log2 q: {RINGS} |"),
    (PAGE, f"centred binomial of parameter {ERROR_PARAMETER}, sigma {SIGMA} |"),
    (PAGE, f"| 2^-{FAILURE_BITS} per layer |"),
    (PAGE, f"{TREES} trees of {LEAVES} leaves: Delta has {TREES * int(log2(LEAVES))} bits"),
    (PAGE, f"regular LPN, F_2 and F_16, {SET} |"),
    (PAGE, f"2^{int(log2(BLOCKS_PER_KEY))} blocks a key |"),
    (PAGE, f"2^{codes.decoding_bits(codes.Lpn.of(BITS)):.1f} on the code over F_2"),
    (PAGE, f"2^{terms.pad_calls_bits():.1f} calls of AES, 2^{terms.pad_bits():.0f} bit operations"),
    (PAGE, f"{RUN.images:,} images of a network of {RUN.linear_layers} linear layers"),
    (PAGE, f"tells no secret, with probability at most 2^-{terms.noise_bits(RUN):.0f}"),
    (PAGE, f"equal inputs under a key with 2^-{terms.repeated_block_bits(RUN):.0f}"),
    (PAGE, f"by 2^-{terms.key_stream_bits(KEY_STREAM_BLOCKS):.0f}"),
    (PAGE, f"Of the elements of a `k`-bit batch, `{per_key(0)} >> k` in a row have one key"),
    (PAGE, f"at most `m = {PADS}` under one key"),
    (PAGE, f"`2mp/2^128 < p * 2^-{int(127 - log2(PADS))}`"),
    (PAGE, f"2^-{int(128 - log2(PADS) - 34)} for the 2^34 pads"),
    (PAGE, f"below 2^-90 for up to 2^{128 - 90 - 4} keys each"),
    (PAGE, f"after {WORDS[FAILED_CHECKS]} serves it no more"),
    (PAGE, f"exit code {UntrustedPeer.exit_code}"),
    (PAGE, f"A failed check ends with exit code {DeviatingPeer.exit_code}"),
    (PAGE, f"exit code {DeviatingPeer.exit_code} each time"),
    (PAGE, f"refused as such ({NetworkFailure.exit_code})"),
    (PAGE, f"{int(log2(512 * 512))} bits of 1,024 images"),
    (PAGE, f"{2 * SUM_BITS} bits of each label and cohort"),
    (PAGE, f"all {len(kernels.kernel_names())} compiled kernels"),
    (PAGE, f"| {Revealing().probability_bits} bits of each, as chosen |"),
    (PAGE, f"{FEATURES + 1:,} for DenseNet-121"),
    (PAGE, f"{round(SCORE * (FEATURES + 1), -3):,} here, in place of {FEATURES + 1:,}"),
]


@pytest.mark.parametrize(("document", "said"), FIGURES)
def test_a_number_is_what_the_code_has(document: str, said: str) -> None:
    assert said in in_words(document)


def test_the_cheapest_attack_on_a_ring_is_the_one_that_is_named() -> None:
    attack = largest()
    bits, core = (
        f"2^{each:.{places}f}" for each, places in ((attack.bits, 1), (attack.core_bits, 0))
    )
    assert f"{bits} on a ring at its limit (N = {max(MAX_LOG2_Q)};" in in_words(PAGE)
    assert f"core-SVP, {core})" in in_words(PAGE)


def test_codes_of_both_fields_and_secrets_of_all_kernels() -> None:
    assert (NIBBLES.length, NIBBLES.seeds, NIBBLES.trees) == (BITS.length, BITS.seeds, BITS.trees)
    assert set(SECRETS) == set(kernels.kernel_names())
    assert TICKET_SECONDS == 60
    assert "within a minute" in in_words(PAGE)
    # Two connections of T keys in a row meet in one with 2T/2^128.
    assert ceil(log2(2 * 2**34)) - 128 < -90


def test_what_stochastic_rounding_gives_away_is_said_alike() -> None:
    """By the documents, by the commands, and as the test measures it."""
    short, page = in_words(SHORT), in_words(PAGE)
    few, many = re.findall(r"\| (?:300|1200) \| .*?, to (\d+) % \|", short)
    assert f"to {few} %, after 1200 to {many} %" in page
    assert (
        f"(to {few} % after 300 queries of a small network, to {many} % after 1200)" in STOCHASTIC
    )
    test = (ROOT / "tests/attacks/test_rounding_leak.py").read_text(encoding="utf-8")
    assert f"In the median to {few} and to {many} %." in test
