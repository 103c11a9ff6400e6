"""F_16 = F_2[X]/(X^4 + X + 1). An element is a nibble, bit `b` the coefficient of `alpha^b = X^b`;
a block is a vector of 32 nibbles, nibble `i` in byte `i // 2`, low nibble first.
"""

from __future__ import annotations

import numpy as np

from moiety.protocols.arrays import U8

ALPHA = (1, 2, 4, 8, 3, 6, 12)
"""alpha^0 .. alpha^6."""


def times_x(elements: U8) -> U8:
    """Both nibbles of every byte times X: uint8, any shape, to the same shape."""
    carries = elements >> np.uint8(3) & np.uint8(0x11)
    return (elements << np.uint8(1) & np.uint8(0xEE)) ^ carries * np.uint8(3)


def multiples(delta: U8, k: int) -> U8:
    """`x * delta`, nibble by nibble, for `x < 2^k`: `uint8 (2^k, 16)`; delta: `uint8 (16,)`."""
    table = np.zeros((1 << k, 16), np.uint8)
    power = delta.copy()
    for bit in range(k):
        table[np.arange(1 << k) >> bit & 1 == 1] ^= power
        power = times_x(power)
    return table
