"""What regular LPN costs to solve: information set decoding, parity checks, algebraic attack with
guessed noise-free places.

Counts are generous to the attacker: no factor for memory, none for the length of a sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb, inf, log2

from moiety.protocols.ot.lpn import LpnParameters

DEGREES = 8
"""Up to which the algebraic attack is followed: beyond, it costs far more than 2^128."""


@dataclass(frozen=True)
class Lpn:
    """n outputs in `errors` blocks of one error each, over F_2^width."""

    outputs: int
    dimension: int
    errors: int
    width: int = 1

    @staticmethod
    def of(parameters: LpnParameters) -> Lpn:
        """That of one iteration of the silent generator."""
        return Lpn(parameters.length, parameters.seeds, parameters.trees, parameters.width)

    @property
    def values(self) -> int:
        """How many values an error may have."""
        return (1 << self.width) - 1

    @property
    def known(self) -> int:
        """Linear equations that the noise's regularity gives: over F_2 every block sums to one."""
        return self.errors if self.width == 1 else 0


def decoding_bits(lpn: Lpn) -> float:
    """Information set decoding (Stern), at the best number of errors in the information set, which
    takes the same part of every block. A try costs the square of the dimension.
    """
    dimension = lpn.dimension - lpn.known
    part = dimension / lpn.outputs
    best = inf
    for p in range(0, 13, 2):
        found = log2(comb(lpn.errors, p)) + p * log2(part) + (lpn.errors - p) * log2(1 - part)
        lists = log2(comb(dimension // 2, p // 2)) + p // 2 * log2(lpn.values)
        best = min(best, log2(dimension**2 + 3 * 2**lists) - found)
    return best


def parity_check_bits(lpn: Lpn) -> float:
    """Statistical decoding by the parity checks that elimination gives, of weight K + 1: samples of
    the bias that t errors of uniform non-zero values leave, one over its square (Liu, Wang, Yang,
    Yu, ePrint 2022/712, for exact noise).
    """
    hit = (lpn.dimension + 1) / lpn.outputs * (lpn.values + 1) / lpn.values
    return log2(lpn.dimension + 1) - 2 * lpn.errors * log2(1 - hit)


def algebraic_bits(lpn: Lpn) -> tuple[float, int]:
    """(log2 of the operations, degree) of the attack on regular noise (Briaud, Oygarden, EUROCRYPT
    2023): linear algebra on the Macaulay matrix of parity checks and of `e_i * e_j = 0` within a
    block, after a guess of places without noise in some of the blocks.

    The degree is the first at which the Hilbert series of a semi-regular system is not positive; a
    matrix of M columns counts as M^2, though each row must be read. Over F_16 no linear equation
    is known of a block, and powers of a place are monomials of their own.
    """
    size, binary = lpn.outputs // lpn.errors, lpn.width == 1
    checks = lpn.outputs - lpn.dimension - lpn.known
    linear = [
        (-1) ** d * (comb(checks + d - 1, d) if binary else comb(checks, d))
        for d in range(DEGREES + 1)
    ]
    best = (inf, 0)
    for guessed in range(0, lpn.errors + 1, max(1, lpn.errors // 85)):
        for places in range(max(1, size // 128), size, max(1, size // 128)):
            guess = -guessed * log2(1 - places / size)
            if guess >= best[0]:
                break
            rest = _product(
                _power(_block(size - places, binary), guessed),
                _power(_block(size, binary), lpn.errors - guessed),
            )
            series = _product(rest, linear)
            degree = next((d for d in range(1, DEGREES + 1) if series[d] <= 0), None)
            if degree is not None:
                best = min(best, (guess + 2 * log2(sum(rest[: degree + 1])), degree))
    return best


def _block(size: int, binary: bool) -> list[int]:
    """How many monomials of each degree one block's places have: of two places none."""
    return [1, size - 1] + [0] * (DEGREES - 1) if binary else [1] + [size] * DEGREES


def _product(a: list[int], b: list[int]) -> list[int]:
    return [sum(a[i] * b[d - i] for i in range(d + 1)) for d in range(DEGREES + 1)]


def _power(a: list[int], exponent: int) -> list[int]:
    result = [1] + [0] * DEGREES
    while exponent:
        if exponent & 1:
            result = _product(result, a)
        a, exponent = _product(a, a), exponent >> 1
    return result
