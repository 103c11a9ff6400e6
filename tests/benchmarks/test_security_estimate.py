"""The parameters in use reach 128 bits, and 40 statistical ones, by formulas that agree with
published figures and that refuse weaker parameters.
"""

from __future__ import annotations

import json
from math import sqrt

import pytest

from benchmarks.security_estimate import (
    KEY_STREAM_BLOCKS,
    PUBLISHED,
    RUN,
    TERNARY,
    disagreements,
    overrating,
    planned,
    silent,
)
from benchmarks.support import security_codes as codes
from benchmarks.support import security_lattice as lattice
from benchmarks.support import security_terms as terms
from moiety.protocols.linear.parameters import ERROR_VARIANCE
from moiety.protocols.ot.lpn import BITS, NIBBLES, LpnParameters

LIMITS = [(2048, 53), (4096, 106), (8192, 214)]
"""As the guidelines have them, not as the code does."""
PUBLIC = json.loads(PUBLISHED.read_text(encoding="utf-8"))


def ring(degree: int, log_q: float) -> lattice.Lwe:
    return lattice.Lwe(degree, log_q, sqrt(10.5), sqrt(2 / 3))


def test_formulas_give_the_published_block_sizes() -> None:
    assert disagreements(PUBLIC) == []
    kyber = lattice.primal(lattice.Lwe(512, 11.70087, sqrt(1.5), sqrt(1.5), 512))
    assert (kyber.block, kyber.dimension) == (406, 998)
    assert kyber.core_bits == pytest.approx(118.6, abs=0.1)


def test_the_largest_rings_have_128_bits() -> None:
    assert planned([]) == LIMITS
    assert {int(n): q for n, q in PUBLIC["lattices"]["limits"].items() if n.isdigit()} == dict(
        LIMITS
    )
    assert pytest.approx(10.5) == ERROR_VARIANCE
    assert pytest.approx(2 / 3) == TERNARY**2
    for degree, log_q in LIMITS:
        assert lattice.primal(ring(degree, log_q)).bits >= 128
        assert lattice.dual(ring(degree, log_q)).bits >= 128


def test_the_formulas_refuse_larger_moduli() -> None:
    assert lattice.primal(ring(4096, 110)).bits < 128
    assert lattice.dual(ring(2048, 60)).bits < 128


@pytest.mark.parametrize("parameters", [BITS, NIBBLES], ids=["F_2", "F_16"])
def test_the_codes_have_128_bits(parameters: LpnParameters) -> None:
    lines = list(silent(parameters, overrated=9.0))
    assert len(lines) == (3 if parameters.width == 1 else 4)
    assert all(line.enough for line in lines), lines
    lpn = codes.Lpn.of(parameters)
    assert (lpn.outputs, lpn.dimension, lpn.errors) == (870400, 81920, 850)
    assert codes.decoding_bits(lpn) == pytest.approx(parameters.decoding_bits(), abs=1e-9)


def test_the_codes_formulas_know_weak_sets() -> None:
    """The algebraic attack decides where decoding does not: it is what rates published sets."""
    assert overrating(PUBLIC) < 9.0
    assert codes.algebraic_bits(codes.Lpn(268800, 17384, 1050))[0] < 128
    assert codes.decoding_bits(codes.Lpn(870400, 65536, 850)) < 128


def test_terms_of_a_long_run() -> None:
    assert terms.unknown_pads() == 960
    assert terms.pad_calls_bits() == pytest.approx(117.1, abs=0.01)
    assert terms.pad_bits() >= 128
    assert terms.repeated_block_bits(RUN) >= 40
    assert terms.noise_bits(RUN) >= 40
    assert terms.key_stream_bits(KEY_STREAM_BLOCKS) >= 40
    assert RUN.images >= 1 << 16
