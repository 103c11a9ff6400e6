"""AES, the field F_16 and the integers behind residues, by other means than the kernels': what
these are compared with.
"""

from __future__ import annotations

import math

import numpy as np
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
