"""Negacyclic correlations of polynomials with integer weights, as exact float64 matrix products.

Residues have at most 27 bits and weights at most 20, so float64 sums are exact up to `2^53 /
(2^27 * 2^(weight_bits-1))` terms; longer sums are reduced in between. One product per tap on a
shifted view of the same rows: no im2col.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from moiety.protocols import kernels
from moiety.protocols.linear.parameters import FLOAT_BITS

_ROWS_BYTES = 1 << 25
"""Size of the float64 copy of shifted rows that is made at once."""


def correlate(
    polynomials: npt.NDArray[np.uint32],
    weights: npt.NDArray[np.int32],
    *,
    prime: int,
    weight_bits: int,
    stride: int,
    taps: Sequence[int],
    shifts: Sequence[Sequence[int]],
    length: int,
) -> npt.NDArray[np.uint32]:
    """`sum over ciphertexts j, channels c, taps t, sources s of w * X^-(c*stride + taps[t] +
    shifts[target][s]) * polynomial_j`, `length` coefficients.

    polynomials uint32 `(bundles, ciphertexts, N)`, residues; weights int32 `(bundles, sources,
    taps, answers, ciphertexts * channels)`, `|w| <= 2^(weight_bits-1)`; result uint32
    `(bundles, answers, targets, length)`.
    """
    bundles, count, degree = polynomials.shape
    answers, inputs = weights.shape[3:]
    channels = inputs // count
    capacity = (1 << FLOAT_BITS) // (prime << (weight_bits - 1))
    width = length + max(taps)
    step = max(1, _ROWS_BYTES // (8 * width * channels * bundles))
    pairs: dict[int, list[tuple[int, int]]] = {}
    for target, row in enumerate(shifts):
        for source, shift in enumerate(row):
            pairs.setdefault(shift, []).append((target, source))

    sums = np.zeros((len(shifts), bundles, answers, length))
    used = [0] * len(shifts)
    product = np.empty((bundles, answers, length))
    for first in range(0, count, step):
        part = np.ascontiguousarray(polynomials[:, first : first + step])
        terms = part.shape[1] * channels
        for shift, uses in pairs.items():
            rows = kernels.shifted_rows(part.reshape(-1, degree), shift, stride, channels, width)
            rows = rows.reshape(bundles, terms, width)
            for target, source in uses:
                for (t, tap), low in itertools.product(
                    enumerate(taps), range(0, terms, capacity - 1)
                ):
                    high = min(low + capacity - 1, terms)
                    if used[target] + high - low > capacity:
                        sums[target] = kernels.reduce_products(sums[target], prime)
                        used[target] = 1
                    columns = slice(first * channels + low, first * channels + high)
                    factors = weights[:, source, t, :, columns].astype(np.float64)
                    np.matmul(factors, rows[:, low:high, tap : tap + length], out=product)
                    sums[target] += product
                    used[target] += high - low
    return kernels.reduce_products(sums, prime).transpose(1, 2, 0, 3)
