"""Negacyclic correlations of polynomials with integer weights, as exact float64 matrix products.

Residues have at most 27 bits and weights at most 20, so float64 sums are exact up to
`2^53 / (2^27 * 2^(weight_bits-1))` terms; longer sums are reduced in between. One product per tap
on a shifted view of the same rows: no im2col.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from moiety.protocols import kernels
from moiety.protocols.arrays import F64, I32, U32
from moiety.protocols.linear.parameters import FLOAT_BITS

_ROWS_BYTES = 1 << 25
"""Size of the float64 copy of shifted rows that is made at once."""


@dataclass(frozen=True)
class Monomials:
    """The powers of X that weights stand for: channel c, tap t and source s of target r are
    `X^-(c*stride + taps[t] + shifts[r][s])`. Of every product, `length` coefficients are wanted.
    """

    stride: int
    taps: Sequence[int]
    shifts: Sequence[Sequence[int]]
    length: int

    def part(self, start: int, stop: int) -> Monomials:
        """For these of the wanted coefficients."""
        shifts = [[shift + start for shift in row] for row in self.shifts]
        return replace(self, shifts=shifts, length=stop - start)

    @property
    def width(self) -> int:
        """Coefficients of a shifted row that all taps together read."""
        return self.length + max(self.taps)

    def by_shift(self) -> dict[int, list[tuple[int, int]]]:
        """Shift -> the (target, source) that use it: a row is copied once for all of them."""
        found: dict[int, list[tuple[int, int]]] = {}
        for target, row in enumerate(self.shifts):
            for source, shift in enumerate(row):
                found.setdefault(shift, []).append((target, source))
        return found


def correlate(
    polynomials: U32, weights: I32, monomials: Monomials, *, prime: int, weight_bits: int
) -> U32:
    """The sums over ciphertexts, channels, taps and sources of weight * monomial * polynomial,
    modulo `prime`.

    polynomials uint32 `(bundles, ciphertexts, N)`, residues; weights int32 `(bundles, sources,
    taps, answers, ciphertexts * channels)`, `|w| <= 2^(weight_bits-1)`; result uint32 `(bundles,
    answers, targets, length)`.
    """
    bundles, count, degree = polynomials.shape
    answers, inputs = weights.shape[3:]
    channels, width, length = inputs // count, monomials.width, monomials.length
    step = max(1, _ROWS_BYTES // (8 * width * channels * bundles))
    by_shift = monomials.by_shift()
    sums = _Sums((len(monomials.shifts), bundles, answers, length), prime, weight_bits)
    for first in range(0, count, step):
        part = np.ascontiguousarray(polynomials[:, first : first + step])
        terms = part.shape[1] * channels
        columns = slice(first * channels, first * channels + terms)
        for shift, uses in by_shift.items():
            rows = kernels.shifted_rows(
                part.reshape(-1, degree), shift, monomials.stride, channels, width
            )
            rows = rows.reshape(bundles, terms, width)
            for target, source in uses:
                for t, tap in enumerate(monomials.taps):
                    factors = weights[:, source, t, :, columns]
                    sums.add(target, factors, rows, tap)
    return sums.residues().transpose(1, 2, 0, 3)


class _Sums:
    """Sums of products of residues and weights, `shape[0]` of them, kept below 2^53."""

    def __init__(self, shape: tuple[int, ...], prime: int, weight_bits: int) -> None:
        self._prime = prime
        self._capacity = (1 << FLOAT_BITS) // (prime << (weight_bits - 1))
        self._sums = np.zeros(shape)
        self._used = [0] * shape[0]

    def add(self, target: int, factors: I32, rows: F64, tap: int) -> None:
        """`sums[target] += factors @ rows`; factors `(bundles, answers, terms)`, rows
        `(bundles, terms, width)`, each from coefficient `tap` on.
        """
        terms, most = rows.shape[1], self._capacity - 1
        for low in range(0, terms, most):
            high = min(low + most, terms)
            if self._used[target] + high - low > self._capacity:
                self._sums[target] = kernels.reduce_products(self._sums[target], self._prime)
                self._used[target] = 1
            part = factors[..., low:high].astype(np.float64, order="C")
            kernels.add_products(self._sums[target], part, rows, low, tap)
            self._used[target] += high - low

    def residues(self) -> U32:
        return kernels.reduce_products(self._sums, self._prime)
