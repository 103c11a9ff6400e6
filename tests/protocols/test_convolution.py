"""The exact convolution of known integers: any number of limbs, any number of threads, and a time
that weights have no part in. More in tests/runtime/test_cleartext.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moiety.protocols import kernels, ring
from moiety.protocols.errors import ContractViolation
from moiety.protocols.linear.convolution import Convolution, WordConvolution, in_words, limbs
from moiety.protocols.linear.server import ServerLinear
from moiety.protocols.parallel import Workers
from moiety.protocols.prg import Prg
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


def test_outputs_may_be_wider_than_padded_rows() -> None:
    """Neighbouring rows share a pad, and their outputs must not meet."""
    conv = Conv(2, (3, 4), 3, (1, 1), (1, 2, 0, 3))
    rng = np.random.default_rng(1)
    x = rng.integers(-100, 100, conv.in_shape)
    w = rng.integers(-100, 100, (3, 2, 1, 1)).astype(np.int32)
    sums, _ = Convolution(w, conv.pads, conv.dilations, conv.groups)(x)
    assert np.array_equal(sums.view(np.uint64), convolve(x.view(np.uint64), w, conv))


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


@given(
    bits=st.integers(1, 32),
    guard=st.integers(-31, 8),
    weight_bits=st.integers(1, 15),
    per_filter=st.booleans(),
    seed=st.integers(0, 99),
)
def test_words_give_what_exact_sums_do(
    bits: int, guard: int, weight_bits: int, per_filter: bool, seed: int
) -> None:
    guard = max(guard, 1 - bits)
    rng = np.random.default_rng(seed)
    w, x = weights(weight_bits, seed), rng.integers(0, 2**64, CONV.in_shape, np.uint64)
    shape = (CONV.filters, 1, 1) if per_filter else CONV.out_shape
    bias = rng.integers(-(2**40), 2**40, shape)
    share = rng.integers(0, 1 << (bits + guard), CONV.out_shape, np.uint64)
    exact, _ = Convolution(w, CONV.pads, CONV.dilations, CONV.groups)(ring.to_signed(x, bits))
    known = exact + bias
    known = known << np.int64(guard) if guard > 0 else known >> np.int64(-guard)
    expected = ring.reduce(share + known.view(np.uint64), bits + guard)
    conv = WordConvolution(w, CONV.pads, CONV.dilations, CONV.groups)
    conv.add(x, bias, bits, guard, share)
    assert np.array_equal(share, expected)


@pytest.mark.parametrize(
    ("bits", "weight_bits", "words"),
    [(32, 15, True), (33, 15, False), (32, 16, False), (16, 2, True), (39, 16, False)],
)
@pytest.mark.parametrize("guard", [-2, 0, 1])
def test_a_layer_in_words_gives_the_bits_of_an_exact_one(
    bits: int, weight_bits: int, words: bool, guard: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And public facts alone say which it is: not how large its weights are."""
    assert in_words(bits, weight_bits) is words
    spec = CONV.spec(guard, bits=bits, weight_bits=weight_bits)
    called: list[str] = []
    for name in ("add_products", "add_convolution"):
        kernel = getattr(kernels, name)

        def noted(*arguments: Any, kernel: Any = kernel, name: str = name) -> None:
            called.append(name)
            kernel(*arguments)

        monkeypatch.setattr(kernels, name, noted)
    rng = np.random.default_rng(bits)
    x = rng.integers(0, 1 << bits, CONV.in_shape, np.uint64)
    share = rng.integers(0, 1 << (bits + guard), CONV.out_shape, np.uint64)
    bias = rng.integers(-(1 << bits), 1 << bits, CONV.filters)
    for w in (weights(weight_bits), np.zeros((6, 2, 3, 2), np.int32)):
        layer = ServerLinear(spec, 0, SEED, w, bias)
        sums, _ = layer.in_the_clear(ring.to_signed(x, bits))
        expected = layer.add_bias(share, Prg(bytes(16)), sums)
        called.clear()
        found = share.copy()
        layer.add_known(found, Prg(bytes(16)), x)
        assert set(called) == {"add_convolution" if words else "add_products"}
        assert np.array_equal(found, expected)


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
