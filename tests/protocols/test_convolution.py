"""The exact convolution of known integers: any number of limbs, any number of threads, and a time
that weights have no part in. More in tests/runtime/test_cleartext.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moiety.protocols import kernels
from moiety.protocols.errors import ContractViolation
from moiety.protocols.linear.convolution import Convolution, limbs
from moiety.protocols.linear.server import ServerLinear
from moiety.protocols.parallel import Workers
from tests.support.convolutions import SEED, Conv, convolve

CONV = Conv(4, (9, 7), 6, (3, 2), (1, 2, 0, 1), (2, 3), 2)


def weights(bits: int, seed: int = 0) -> Any:
    limit = 1 << (bits - 1)
    rng = np.random.default_rng(seed)
    return rng.integers(-limit, limit + 1, (6, 2, 3, 2)).astype(np.int32)


@given(bits=st.integers(1, 64), weight_bits=st.integers(1, 20), seed=st.integers(0, 99))
def test_sums_are_exact_modulo_2_64(bits: int, weight_bits: int, seed: int) -> None:
    half = 1 << (bits - 1)
    x = np.random.default_rng(seed).integers(-half, half, CONV.in_shape)
    x.flat[:2] = -half, half - 1
    w = weights(weight_bits, seed)
    sums, _ = Convolution(w, CONV.pads, CONV.dilations, CONV.groups)(x)
    assert np.array_equal(sums.view(np.uint64), convolve(x.view(np.uint64), w, CONV))


@given(st.integers(1, 1 << 50), st.integers(0, 1 << 63))
def test_limbs_are_exact_and_no_more_than_needed(heaviest: int, largest: int) -> None:
    count, bits = limbs(heaviest, largest)
    if count == 1:
        assert heaviest * largest < 1 << 53
        return
    assert heaviest * largest >= 1 << 53
    assert heaviest << bits < 1 << 53
    top = (largest >> (count - 1) * bits) + 1
    assert heaviest * top < 1 << 53
    assert count == 2 or heaviest * ((largest >> (count - 2) * bits) + 1) >= 1 << 53


def test_weights_beyond_all_exactness_are_refused() -> None:
    with pytest.raises(ContractViolation, match="too large for the exact convolution"):
        limbs(1 << 52, 2)


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("bits", [20, 50])
def test_threads_change_nothing(threads: int, bits: int) -> None:
    conv = Conv(3, (40, 30), 4, (3, 3), (1, 1, 1, 1))
    w = np.random.default_rng(0).integers(-999, 999, (4, 3, 3, 3))
    x = np.random.default_rng(1).integers(-(1 << bits), 1 << bits, conv.in_shape)
    plain = Convolution(w, conv.pads, conv.dilations, conv.groups)
    with Workers(threads) as workers:
        assert np.array_equal(plain(x, workers=workers)[0], plain(x)[0])


def test_all_weights_of_a_width_take_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many products for the largest weights and values as for none, on the server's side."""
    spec = Conv(1 << 8, (1, 1), 3).spec(1, bits=38, weight_bits=12)
    calls: list[int] = []
    whole = kernels.add_products

    def counted(*arguments: Any) -> None:
        calls.append(1)
        whole(*arguments)

    monkeypatch.setattr(kernels, "add_products", counted)
    made = []
    for size in (0, 1 << 11):
        w = np.full((3, 1 << 8, 1, 1), size, np.int32)
        layer = ServerLinear(spec, 0, SEED, w, np.zeros(3, np.int64))
        calls.clear()
        layer.in_the_clear(np.full((1 << 8, 1, 1), size, np.int64), 1 << 37)
        made.append(len(calls))
    assert made == [2, 2]
