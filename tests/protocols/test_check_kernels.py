"""The hashes of the checks of correlations, in all twins, against the polynomials that they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from moiety.protocols.arrays import U8
from moiety.protocols.kernels.reference import columns
from tests.protocols.oracles import multiples
from tests.protocols.twins import KernelFamily

FAMILY = KernelFamily("symmetric", columns)
BLOCK = np.zeros(16, np.uint8)
BLOCKS = np.zeros((4, 16), np.uint8)


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


@pytest.mark.parametrize(
    "call",
    [
        lambda t: t.column_hash(BLOCKS[:, :2], BLOCK),
        lambda t: t.column_hash(BLOCKS, BLOCK[:15]),
        lambda t: t.column_hash(BLOCK, BLOCK),
    ],
)
def test_bad_arguments(twin: SimpleNamespace, call: Callable[[SimpleNamespace], object]) -> None:
    with pytest.raises(ValueError, match="must"):
        call(twin)
