"""A universal hash for the check of silent correlations: of rows as polynomials over F_16.

Specifies native/symmetric/polynomials.hpp; conventions are those of the package.
"""

from __future__ import annotations

import numpy as np

from moiety.protocols.arrays import U8
from moiety.protocols.kernels.reference.checks import check_bytes, check_range
from moiety.protocols.kernels.reference.symmetric import aes_ctr

__all__ = ["polynomial_hash"]

BLOCK = 16
"""Rows that four coefficients are for."""
_AT_ONCE = 1 << 12
"""Groups, so that float32 counts exactly."""
DEGREE = 125
"""All coefficients are below it, so that the hash of elements has 128 coefficients."""


def polynomial_hash(rows: U8, elements: U8, key: U8, counter: int) -> tuple[U8, U8]:
    """Hash rows of 32 elements of F_16, `uint8 (n, 16)`, and one element more for each of them.

    elements: `uint8 (n,)` of which the low four bits count, or `(0,)` for none.

    The hash is `sum_g c_g * R_g`, over F_16[y] and not reduced. Rows number r, r + 4, r + 8 and r +
    12 of a block of sixteen (zeros after the last row) make R_g, g = 4*block + r: component i of
    number r + 4*j is its coefficient of `y^(4*i + j)`. The 125 coefficients of c_g, from the
    constant one up, are bits of block `counter + g` of AES-CTR under `key`, `uint8 (16,)`, so c_g
    is over F_2 and the hash linear over F_16. With an element e for each row, `y^j * e` in the
    place of the row, the sum is U(y), and rows e*delta have the hash `U(y) * delta(y^4)`.

    If rows are not all zero, their hash is 0 for at most one of the 2^125 values of any c_g whose
    R_g is not: F_16[y] has no zero divisors.

    Returns (of the rows `uint8 (4, 32)`, of the elements `uint8 (4, 16)`): bit b of the coefficient
    of y^k is bit k of number b.
    """
    check_bytes("rows", rows, None, 16)
    check_bytes("elements", elements, None)
    if len(elements) not in (0, len(rows)):
        raise ValueError("elements must be as many as rows, or none")
    check_bytes("key", key, 16)
    check_range("counter", counter, 0, 2**64 - 1)
    groups = -(-len(rows) // BLOCK) * 4
    blocks = aes_ctr(key, counter, 16 * groups).reshape(groups, 16)
    coefficients = np.unpackbits(blocks, axis=1, bitorder="little")[:, :DEGREE]
    components = np.stack([rows & np.uint8(15), rows >> np.uint8(4)], axis=2).reshape(-1, 32)
    return (
        _sum(coefficients, components, 256),
        _sum(coefficients, elements[:, None], 128),
    )


def _sum(coefficients: U8, rows: U8, size: int) -> U8:
    """Of products with rows of some components, uint8 `(4, size / 8)`."""
    components = rows.shape[1]
    padded = np.zeros((len(coefficients) * 4, components), np.uint8)
    padded[: len(rows)] = rows
    groups = padded.reshape(-1, 4, 4, components).transpose(0, 2, 3, 1).reshape(-1, 4 * components)
    planes = np.zeros((4, size), np.uint8)
    for at in range(0, len(groups), _AT_ONCE):
        left = coefficients[at : at + _AT_ONCE].T.astype(np.float32)
        for plane, made in enumerate(planes):
            right = (groups[at : at + _AT_ONCE] >> plane & 1).astype(np.float32)
            pairs = (left @ right).astype(np.int64) & 1  # y^k times y^l, of all groups
            for k, products in enumerate(pairs.astype(np.uint8)):
                made[k : k + len(products)] ^= products
    return np.packbits(planes, axis=1, bitorder="little")
