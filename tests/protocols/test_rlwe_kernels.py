"""Kernels of the RLWE layers, both twins: against big-integer arithmetic and each other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moiety.protocols import kernels
from moiety.protocols.arrays import I16, U32, U64
from moiety.protocols.kernels.reference import rlwe as reference
from moiety.protocols.linear import rlwe
from moiety.protocols.linear.parameters import PHASE_PRIMES, ntt_primes, q_primes
from moiety.protocols.ring import reduce
from tests.protocols.oracles import from_residues
from tests.protocols.twins import KernelFamily
from tests.support.convolutions import Conv, convolve

FAMILY = KernelFamily("rlwe", reference)
SMALL = ntt_primes(27, 2)


@pytest.fixture(params=FAMILY.twins)
def twin(request: pytest.FixtureRequest) -> Iterator[SimpleNamespace]:
    with FAMILY.twin(request.param) as kernels:
        yield kernels


def schoolbook(x: list[int], y: list[int], modulus: int) -> list[int]:
    n = len(x)
    out = [0] * n
    for i, a in enumerate(x):
        for j, b in enumerate(y):
            out[(i + j) % n] += a * b if i + j < n else -a * b
    return [v % modulus for v in out]


def residues(rng: np.random.Generator, primes: tuple[int, ...], *shape: int) -> U32:
    return np.stack([rng.integers(0, p, shape, dtype=np.uint32) for p in primes])


@pytest.mark.parametrize("primes", [SMALL, PHASE_PRIMES], ids=["27-bit", "30-bit"])
def test_transform_multiplies_like_the_schoolbook(
    twin: SimpleNamespace, primes: tuple[int, ...]
) -> None:
    degree = 256
    rng = np.random.default_rng(1)
    p, tables = np.array(primes, np.uint32), rlwe.ntt_tables(degree, primes)
    x, y = residues(rng, primes, 2, degree), residues(rng, primes, 1, degree)
    x[:, 0] = p[:, None] - 1
    y_hat = twin.ntt_forward(y, p, tables)[:, 0]
    product = twin.ntt_inverse(
        twin.multiply_mod(twin.ntt_forward(x, p, tables), y_hat, p), p, tables
    )
    for i, prime in enumerate(primes):
        for j in range(2):
            assert product[i, j].tolist() == schoolbook(x[i, j].tolist(), y[i, 0].tolist(), prime)


@pytest.mark.parametrize("degree", [256, 512, 2048, 8192])
def test_transform_is_a_linear_bijection(twin: SimpleNamespace, degree: int) -> None:
    rng = np.random.default_rng(degree)
    p, tables = np.array(SMALL, np.uint32), rlwe.ntt_tables(degree, SMALL)
    x, y = residues(rng, SMALL, 3, degree), residues(rng, SMALL, 3, degree)
    fx, fy = twin.ntt_forward(x, p, tables), twin.ntt_forward(y, p, tables)
    total = twin.add_mod(x.reshape(2, -1), y.reshape(2, -1), p).reshape(x.shape)
    assert np.array_equal(
        twin.ntt_forward(total, p, tables), (fx.astype(np.uint64) + fy) % p[:, None, None]
    )
    assert np.array_equal(twin.ntt_inverse(fx, p, tables), x)
    assert np.array_equal(fx, reference.ntt_forward(x, p, tables))


@pytest.mark.parametrize("size", [1, 15, 16, 17, 1000])
def test_samplers(twin: SimpleNamespace, size: int) -> None:
    words = np.random.default_rng(size).integers(0, 2**64, size, np.uint64)
    words[:1] = 2**64 - 1
    trits, errors = twin.sample_ternary(words), twin.sample_binomial(words)
    expected = []
    for word in words.tolist():
        for _ in range(4):
            word *= 3
            expected.append((word >> 64) - 1)
            word &= 2**64 - 1
    assert trits.tolist() == expected
    assert errors.tolist() == [
        (w & 0x1FFFFF).bit_count() - (w >> 21 & 0x1FFFFF).bit_count() for w in words.tolist()
    ]
    p = np.array(SMALL, np.uint32)
    assert np.array_equal(
        twin.lift_small(errors, p), errors.astype(np.int64) % p.astype(np.int64)[:, None]
    )


def test_uniform_residues(twin: SimpleNamespace) -> None:
    prime = ntt_primes(24, 1)[0]
    words = np.random.default_rng(3).integers(0, 2**32, 5000, np.uint32)
    words[:4] = (prime, prime - 1, 2**24 - 1, 0)
    expected = [w & 0xFFFFFF for w in words.tolist() if w & 0xFFFFFF < prime]
    assert twin.uniform_residues(words, prime, 4000).tolist() == expected[:4000]
    with pytest.raises(ValueError, match="asked for"):
        twin.uniform_residues(words[:10], prime, 10)


@pytest.mark.parametrize("bits", [1, 8, 28, 41, 52])
@pytest.mark.parametrize(
    "primes",
    [SMALL, ntt_primes(27, 4), ntt_primes(25, 3), q_primes(30, 2048), q_primes(33, 4096)],
    ids=["2", "4", "3", "16 and 14 bits", "17 and 16 bits"],
)
def test_conversions_against_big_integers(
    twin: SimpleNamespace, bits: int, primes: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(bits)
    p, q = np.array(primes, np.uint32), math.prod(primes)
    x = rng.integers(0, 2**bits, 67, np.uint64)
    x[:2] = (0, 2**bits - 1)
    dither = rng.integers(0, 2**64, 67, np.uint64)
    inverses = np.array([pow(1 << bits, -1, v) for v in primes], np.uint32)
    encoded = from_residues(twin.encode_residues(x, dither, bits, q % 2**bits, inverses, p), primes)
    for value, noise, result in zip(x.tolist(), dither.tolist(), encoded, strict=True):
        floor, rest = divmod(q * value, 2**bits)
        assert result == (floor + (noise % 2**bits < rest)) % q

    signed = [v - 2**bits if v >= 2 ** (bits - 1) else v for v in x.tolist()]
    lifted = twin.lift_centred(x, bits, p)
    assert lifted.T.tolist() == [[v % r for r in primes] for v in signed]
    if q > 2 ** (bits + 2):
        assert twin.crt_signed(lifted, p, bits).tolist() == x.tolist()

    y = residues(rng, primes, 67)
    basis = np.array([pow(q // v, -1, v) for v in primes], np.uint32)
    for value, result in zip(
        from_residues(y, primes), twin.torus_round(y, p, basis, bits).tolist(), strict=True
    ):
        # The sum of floored fractions may be low by L * 2^-64, which matters only
        # next to a rounding boundary.
        assert result in {
            (2 * (value * 2**bits - d * q) // q + 1) // 2 % 2**bits for d in (0, 2.0**-10)
        }


@pytest.mark.parametrize(
    ("offset", "stride", "count", "length"),
    [(0, 1, 1, 256), (-5, 7, 3, 300), (-259, 128, 4, 700), (255, 1, 2, 5)],
)
def test_shifted_rows_continue_negacyclically(
    twin: SimpleNamespace, offset: int, stride: int, count: int, length: int
) -> None:
    x = residues(np.random.default_rng(5), SMALL[:1], 2, 256)[0]
    rows = twin.shifted_rows(x, offset, stride, count, length)
    assert rows.shape == (2 * count, length)
    for i in range(2):
        for c in range(count):
            for j in range(0, length, 13):
                turns, k = divmod(offset + c * stride + j, 256)
                assert rows[i * count + c, j] == (-1) ** turns * int(x[i, k])


@settings(max_examples=60, deadline=None)
@given(
    bundles=st.integers(1, 3),
    answers=st.integers(1, 21),
    terms=st.integers(0, 300),
    length=st.integers(1, 60),
    margin=st.integers(0, 9),
    seed=st.integers(0, 2**32 - 1),
)
@pytest.mark.parametrize("isa", FAMILY.twins)
def test_add_products(
    isa: str, bundles: int, answers: int, terms: int, length: int, margin: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    term, start = margin % 4, margin // 2
    factors = rng.integers(-128, 128, (bundles, answers, terms))
    rows = rng.integers(-(2**27), 2**27, (bundles, terms + margin, length + margin))
    sums = rng.integers(-(2**40), 2**40, (bundles, answers, length))
    expected = sums + factors @ rows[:, term : term + terms, start : start + length]
    result = sums.astype(np.float64)
    with FAMILY.twin(isa) as twin:
        twin.add_products(result, factors.astype(np.float64), rows.astype(np.float64), term, start)
    assert np.array_equal(result, expected)


def sums_of(x: U64, weight: I16, conv: Conv, added: U64, bits: int, guard: int) -> U64:
    """What `add_convolution` adds, by whole numbers and the plain convolution of tests/support."""
    per_group = conv.channels // conv.groups
    taps = weight[..., :per_group].transpose(0, 3, 1, 2).astype(np.int32)
    known = convolve(x, taps, conv).reshape(conv.filters, -1) + added
    known = reduce(known, bits)
    known = known << np.uint64(guard) if guard > 0 else known >> np.uint64(-guard)
    return known.reshape(conv.out_shape)


@st.composite
def convolutions(draw: st.DrawFn) -> Conv:
    def few(most: int, least: int = 1) -> int:
        return draw(st.integers(least, most))

    kernel, dilations = (few(3), few(3)), (few(3), few(3))
    pads = (few(3, 0), few(3, 0), few(3, 0), few(3, 0))
    reach = [d * (k - 1) for k, d in zip(kernel, dilations, strict=True)]
    height = few(14, max(1, reach[0] - pads[0] - pads[2] + 1))
    width = few(20, max(1, reach[1] - pads[1] - pads[3] + 1))
    groups = few(3)
    return Conv(groups * few(5), (height, width), groups * few(9), kernel, pads, dilations, groups)


@settings(max_examples=60, deadline=None)
@given(
    conv=convolutions(),
    bits=st.integers(1, 32),
    guard=st.integers(-31, 32),
    each=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@pytest.mark.parametrize("isa", FAMILY.twins)
def test_add_convolution(
    isa: str, conv: Conv, bits: int, guard: int, each: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    guard = max(guard, 1 - bits)
    per_group = conv.channels // conv.groups
    shape = (conv.filters, *conv.kernel, per_group + per_group % 2)
    weight = rng.integers(-(2**15), 2**15, shape, np.int16)
    x = rng.integers(0, 2**64, conv.in_shape, np.uint64)
    outputs = conv.out_shape[1] * conv.out_shape[2]
    added = rng.integers(0, 2**64, (conv.filters, outputs if each else 1), np.uint64)
    sums = rng.integers(0, 2**64, conv.out_shape, np.uint64)
    expected = reduce(sums + sums_of(x, weight, conv, added, bits, guard), bits + guard)
    pads, dilations = list(conv.pads), list(conv.dilations)
    with FAMILY.twin(isa) as twin:
        twin.add_convolution(x, weight, added, pads, dilations, conv.groups, bits, guard, sums)
    assert np.array_equal(sums, expected)


@pytest.mark.parametrize("isa", FAMILY.twins)
@pytest.mark.parametrize("channels", [1, 2, 129, 300])
@pytest.mark.parametrize("bits", [1, 15, 16, 17, 31, 32])
def test_convolutions_of_extreme_values(isa: str, channels: int, bits: int) -> None:
    """Halves of -2^15, whose products with such weights add up to 2^31 in a pair, and sums that
    pass 2^32; more terms than a panel holds, more filters than are taken at once.
    """
    conv = Conv(channels, (3, 17), 70, (1, 2), (0, 1, 0, 1))
    shape = (conv.filters, *conv.kernel, channels + channels % 2)
    weight = np.full(shape, -(2**15), np.int16)
    weight[1::3], weight[2::3] = 2**15 - 1, -1
    added, none = np.zeros((conv.filters, 1), np.uint64), np.zeros(conv.out_shape, np.uint64)
    for value in (0x8000, 0x7FFF, 0x80008000, 0x7FFF8000, 0x7FFFFFFF, 0xFFFFFFFF, 2**64 - 1):
        x = np.full(conv.in_shape, value, np.uint64)
        sums = none.copy()
        with FAMILY.twin(isa) as twin:
            twin.add_convolution(x, weight, added, [0, 1, 0, 1], [1, 1], 1, bits, 0, sums)
        assert np.array_equal(sums, sums_of(x, weight, conv, added, bits, 0)), hex(value)


def test_convolutions_of_arrays_that_do_not_fit() -> None:
    x, weight = np.zeros((4, 5, 6), np.uint64), np.zeros((6, 3, 2, 2), np.int16)
    added, sums = np.zeros((6, 1), np.uint64), np.zeros((6, 3, 5), np.uint64)
    right = (x, weight, added, [0] * 4, [1, 1], 2, 20, 1, sums)
    for backend in ("native", "reference"):
        kernel = kernels.twin(backend, "add_convolution")
        kernel(*right)
        for place, bad, message in (
            (0, x[:3], "groups must divide"),
            (1, weight[..., :1], "weight must have shape"),
            (1, weight.astype(np.int32), "weight must be int16"),
            (2, added.repeat(2, axis=1), "added must have one number"),
            (3, [0, 0, 1, 0], "sums must have shape"),
            (4, [3, 1], "reach"),
            (4, [1, 0], "dilation"),
            (5, 4, "groups must divide"),
            (6, 33, "bits must be"),
            (7, -20, "guard must be"),
        ):
            wrong = (*right[:place], bad, *right[place + 1 :])
            with pytest.raises((ValueError, TypeError), match=message):
                kernel(*wrong)


def test_products_of_arrays_that_do_not_fit() -> None:
    sums, factors, rows = np.zeros((1, 2, 5)), np.zeros((1, 2, 3)), np.zeros((1, 4, 7))
    for bad in (
        (sums, factors, rows, 2, 0),
        (sums, factors, rows, 0, 3),
        (sums, factors[:, :1].copy(), rows, 0, 0),
        (sums, factors, np.zeros((2, 4, 7)), 0, 0),
    ):
        with pytest.raises(ValueError, match=r"must (be|have shape)"):
            kernels.twin("native", "add_products")(*bad)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(-(2**53) + 1, 2**53 - 1), min_size=1, max_size=40),
    st.sampled_from(ntt_primes(27, 3) + ntt_primes(24, 2) + q_primes(30, 2048)),
)
def test_reduce_products(values: list[int], prime: int) -> None:
    x = np.array(values, np.float64)
    expected = [v % prime for v in values]
    assert reference.reduce_products(x, prime).tolist() == expected
    assert kernels.reduce_products(x, prime).tolist() == expected
