"""The hashes of the checks of correlations, in all twins, against the polynomials that they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from moiety.protocols.arrays import U8
from moiety.protocols.kernels.reference import columns, polynomials
from tests.protocols.oracles import aes, multiples, nibbles, times
from tests.protocols.twins import KernelFamily

FAMILY = KernelFamily("symmetric", columns, polynomials)
BLOCK = np.zeros(16, np.uint8)
BLOCKS = np.zeros((4, 16), np.uint8)
NONE = np.zeros(0, np.uint8)
TOP = 2**64 - 1


@pytest.fixture(params=FAMILY.twins)
def twin(request: pytest.FixtureRequest) -> Iterator[SimpleNamespace]:
    with FAMILY.twin(request.param) as kernels:
        yield kernels


def octets(rng: np.random.Generator, *shape: int) -> U8:
    return rng.integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("width", [1, 16])
@pytest.mark.parametrize("n", [0, 1, 127, 128, 129, 500, 4095, 4096, 4097, 9000])
def test_column_hash_is_a_polynomial_at_the_point(
    twin: SimpleNamespace, width: int, n: int
) -> None:
    """Computed with integers, a few columns of it: blocks of 128 rows are coefficients."""
    rng = np.random.default_rng(n + width)
    rows, point = octets(rng, n, width), octets(rng, 16)
    hashes = twin.column_hash(rows, point)
    assert hashes.shape == (8 * width, 16)
    bits = np.unpackbits(rows, axis=1, bitorder="little")
    p = int.from_bytes(point.tobytes(), "little")
    for column in sorted({0, 1, 7, 4 * width, 8 * width - 1}):
        total = 0
        for at in range(0, n, 128):
            packed = np.packbits(bits[at : at + 128, column], bitorder="little").tobytes()
            total = gf128(total ^ int.from_bytes(packed, "little"), p)
        assert int.from_bytes(hashes[column].tobytes(), "little") == total


def gf128(a: int, b: int) -> int:
    """The product modulo z^128 + z^7 + z^2 + z + 1, bit by bit."""
    product = 0
    for bit in range(127, -1, -1):
        product <<= 1
        if product >> 128:
            product ^= 1 << 128 | 0x87
        if b >> bit & 1:
            product ^= a
    return product


def test_column_hash_is_linear_over_the_small_field(twin: SimpleNamespace) -> None:
    """Columns of a nibble times an element of F_16 are hashed to the nibble of hashes times it."""
    rng = np.random.default_rng(5)
    rows, point = octets(rng, 300, 16), octets(rng, 16)
    for factor in range(16):
        scaled = np.full(300, factor, np.uint8)
        of_scaled = twin.column_hash(multiples(scaled, rows), point)
        hashed = multiples(scaled[:128], _transposed(twin.column_hash(rows, point)))
        np.testing.assert_array_equal(of_scaled, _transposed(hashed))


def _transposed(blocks: U8) -> U8:
    """128 blocks as a matrix of bits."""
    return np.packbits(
        np.unpackbits(blocks, axis=1, bitorder="little").T, axis=1, bitorder="little"
    )


def coefficients(key: U8, counter: int, count: int) -> list[int]:
    """Polynomials over F_2 as integers: AES of the counters, which wrap."""
    numbers = [(counter + at) % 2**64 for at in range(count)]
    blocks = aes(key.tobytes(), b"".join(number.to_bytes(16, "little") for number in numbers))
    return [
        int.from_bytes(blocks[16 * at : 16 * at + 16], "little") % 2**125 for at in range(count)
    ]


def carryless(a: int, b: int) -> int:
    """The product of polynomials over F_2."""
    product = 0
    while b:
        product ^= a * (b & -b)
        b &= b - 1
    return product


@pytest.mark.parametrize("n", [0, 1, 4, 5, 15, 16, 17, 127, 128, 129, 1007, 1023, 1024, 1025, 2100])
def test_polynomial_hash_is_a_sum_of_products(twin: SimpleNamespace, n: int) -> None:
    """Computed with integers, one for each bit of the elements of F_16."""
    rng = np.random.default_rng(n)
    rows, elements, key = octets(rng, n, 16), octets(rng, n), octets(rng, 16)
    counter = TOP - n // 7  # wraps
    of_rows, of_elements = [0] * 4, [0] * 4
    made = coefficients(key, counter, -(-n // 16) * 4)
    for at, (row, element) in enumerate(zip(nibbles(rows), elements, strict=True)):
        c, j = made[at // 16 * 4 + at % 4], at % 16 // 4
        for b in range(4):
            polynomial = sum((int(x) >> b & 1) << 4 * i + j for i, x in enumerate(row))
            of_rows[b] ^= carryless(c, polynomial)
            of_elements[b] ^= c * (int(element) >> b & 1) << j
    hashes, sums = twin.polynomial_hash(rows, elements, key, counter)
    assert hashes.shape == (4, 32)
    assert sums.shape == (4, 16)
    assert [int.from_bytes(plane.tobytes(), "little") for plane in hashes] == of_rows
    assert [int.from_bytes(plane.tobytes(), "little") for plane in sums] == of_elements
    alone, nothing = twin.polynomial_hash(rows, NONE, key, counter)
    np.testing.assert_array_equal(alone, hashes)
    assert not nothing.any()


def in_field(planes: U8) -> list[int]:
    """The coefficients of a polynomial over F_16, from that of y^0 on."""
    bits = np.unpackbits(planes, axis=1, bitorder="little")
    return [int(x) for x in (bits << np.arange(4, dtype=np.uint8)[:, None]).sum(axis=0)]


def test_polynomial_hash_of_multiples_of_a_row(twin: SimpleNamespace) -> None:
    """Rows `e*delta` have the hash of the elements e times delta(y^4), over F_16."""
    rng = np.random.default_rng(3)
    delta, elements, key = octets(rng, 16), octets(rng, 3000), octets(rng, 16)
    rows = multiples(elements & np.uint8(15), delta)
    hashes, sums = twin.polynomial_hash(rows, elements, key, 9)
    product = [0] * 256
    for k, element in enumerate(in_field(sums)):
        for i, component in enumerate(nibbles(delta)):
            product[4 * i + k] ^= times(element, int(component))
    assert in_field(hashes) == product


def test_polynomial_hash_of_a_part_begins_at_its_coefficient(twin: SimpleNamespace) -> None:
    """Sixteen rows on are four coefficients on, wherever rows are cut."""
    rng = np.random.default_rng(4)
    rows, elements, key = octets(rng, 5000, 16), octets(rng, 5000), octets(rng, 16)
    whole = twin.polynomial_hash(rows, elements, key, 0)
    for cut in (16, 1024, 1040, 2512):
        parts = [
            twin.polynomial_hash(rows[at], elements[at], key, at.start // 4)
            for at in (slice(0, cut), slice(cut, 5000))
        ]
        for of_whole, first, second in zip(whole, *parts, strict=True):
            np.testing.assert_array_equal(of_whole, first ^ second)


@pytest.mark.parametrize(
    "call",
    [
        lambda t: t.column_hash(BLOCKS[:, :2], BLOCK),
        lambda t: t.column_hash(BLOCKS, BLOCK[:15]),
        lambda t: t.column_hash(BLOCK, BLOCK),
        lambda t: t.polynomial_hash(BLOCKS[:, :15], NONE, BLOCK, 0),
        lambda t: t.polynomial_hash(BLOCK, NONE, BLOCK, 0),
        lambda t: t.polynomial_hash(BLOCKS, BLOCKS, BLOCK, 0),
        lambda t: t.polynomial_hash(BLOCKS, BLOCK[:3], BLOCK, 0),
        lambda t: t.polynomial_hash(BLOCKS, BLOCK[:5], BLOCK, 0),
        lambda t: t.polynomial_hash(BLOCKS[:0], BLOCK[:1], BLOCK, 0),
        lambda t: t.polynomial_hash(BLOCKS, NONE, BLOCK[:15], 0),
    ],
)
def test_bad_arguments(twin: SimpleNamespace, call: Callable[[SimpleNamespace], object]) -> None:
    with pytest.raises(ValueError, match="must"):
        call(twin)
