"""AES, the field F_16 and the integers behind residues, by other means than the kernels': what
these are compared with; and what randomness is judged by.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from moiety.protocols.arrays import U8, U32


def aes(key: bytes, block: bytes) -> bytes:
    """AES-128 of some blocks."""
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)


def times(a: int, b: int) -> int:
    """Schoolbook product in F_16 = F_2[X]/(X^4 + X + 1)."""
    product = 0
    for bit in range(4):
        product ^= (a << bit) * (b >> bit & 1)
    for degree in (6, 5, 4):
        product ^= (0b10011 << degree - 4) * (product >> degree & 1)
    return product


PRODUCTS = np.array([[times(a, b) for b in range(16)] for a in range(16)], np.uint8)


def nibbles(blocks: U8) -> U8:
    """`(.., 16)` bytes to `(.., 32)` field elements."""
    pairs: U8 = np.stack([blocks & np.uint8(15), blocks >> np.uint8(4)], axis=-1)
    return pairs.reshape(*blocks.shape[:-1], 32)


def multiples(elements: U8, blocks: U8) -> U8:
    """`elements[i] * blocks[i]` componentwise, uint8 `(n, 16)`; one block `(16,)` serves all."""
    factors = elements[:, None]
    return PRODUCTS[factors, blocks & 15] | PRODUCTS[factors, blocks >> 4] << 4


def from_residues(x: U32, primes: tuple[int, ...]) -> list[int]:
    """The integers below the product of the primes, of uint32 `(len(primes), n)`."""
    q = math.prod(primes)
    basis = [q // p * pow(q // p, -1, p) for p in primes]
    return [sum(int(v) * b for v, b in zip(column, basis, strict=True)) % q for column in x.T]


# --- what randomness is judged by -----------------------------------------------------------------


def affine_rank(blocks: U8) -> int:
    """Rank over F_2 of rows uint8 `(n, bytes)` with a one before each. Below `8*bytes + 1` there
    is a sum of bits that is the same in all rows: a bit that is fixed, a half that repeats another.
    Of n independent uniform rows it is below with probability `2^(8*bytes + 1 - n)`.
    """
    basis: dict[int, int] = {}
    for row in blocks:
        value = int.from_bytes(row.tobytes(), "little") << 1 | 1
        while value and value.bit_length() in basis:
            value ^= basis[value.bit_length()]
        if value:
            basis[value.bit_length()] = value
    return len(basis)


def unevenness(values: npt.NDArray[Any], cells: int) -> float:
    """How far the counts of values below `cells` are from equal: chi-square as a standard normal
    deviate (Wilson and Hilferty). Above 6 once in 10^9 uniform samples.
    """
    counts = np.bincount(values.reshape(-1).astype(np.int64), minlength=cells)
    assert counts.size == cells, "a value is out of range"
    mean, degrees = values.size / cells, cells - 1
    assert mean >= 5, f"{values.size} values are too few for {cells} cells"
    chi_square = float(((counts - mean) ** 2 / mean).sum())
    deviation = 2 / (9 * degrees)
    return ((chi_square / degrees) ** (1 / 3) - 1 + deviation) / math.sqrt(deviation)
