"""Exact integer convolution through float64 matrix products.

A float64 product of integers is exact while every partial sum stays below 2^53, and BLAS does it at
tens of GFLOP/s, where NumPy's integer matrix product has no BLAS at all. Larger operands are split
into high and low halves.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from moiety.protocols.arrays import F64, I64
from moiety.protocols.errors import ContractViolation

_EXACT = float(1 << 53)
_COLUMN_BYTES = 4 << 20  # gathered columns are kept within the cache: faster than one large im2col


def convolve(
    x: I64,
    weight: npt.NDArray[np.integer],
    pads: tuple[int, int, int, int],
    dilations: tuple[int, int],
    groups: int,
) -> tuple[I64, F64 | None]:
    """Stride-1 cross-correlation of x `(C,H,W)` with weight `(M, C/groups, kh, kw)`, zero
    padded: `(M,H',W')`.

    Returns the sums modulo 2^64 as int64, and the same sums as float64 where they might not fit
    int64 (None where they do, exactly).
    """
    rows = np.abs(weight.astype(np.float64)).reshape(weight.shape[0], -1).sum(axis=1)
    heaviest = float(rows.max(initial=0.0))
    largest = float(max(abs(int(x.min())), abs(int(x.max())))) if x.size else 0.0
    if heaviest * largest < _EXACT:
        return convolve_float(x, weight, pads, dilations, groups).astype(np.int64), None
    low_bits = 52 - int(np.ceil(np.log2(heaviest + 1)))
    if low_bits < 1 or largest / 2.0**low_bits * heaviest >= _EXACT:
        raise ContractViolation("a linear layer's integers are too large for the exact convolution")
    low = x & np.int64((1 << low_bits) - 1)
    low_sum = convolve_float(low, weight, pads, dilations, groups)
    high_sum = convolve_float((x - low) >> np.int64(low_bits), weight, pads, dilations, groups)
    wrapped = high_sum.astype(np.int64).view(np.uint64) << np.uint64(low_bits)
    wrapped += low_sum.astype(np.int64).view(np.uint64)
    return wrapped.view(np.int64), high_sum * 2.0**low_bits + low_sum


def convolve_float(
    x: npt.NDArray[np.generic],
    weight: npt.NDArray[np.generic],
    pads: tuple[int, int, int, int],
    dilations: tuple[int, int],
    groups: int,
) -> F64:
    """The same cross-correlation in float64, `(C,H,W) -> (M,H',W')`."""
    filters, per_group, kh, kw = weight.shape
    top, left, bottom, right = pads
    channels, in_height, in_width = x.shape
    height = in_height + top + bottom - dilations[0] * (kh - 1)
    width = in_width + left + right - dilations[1] * (kw - 1)
    padded = np.zeros((channels, in_height + top + bottom, in_width + left + right))
    padded[:, top : top + in_height, left : left + in_width] = x
    matrix = weight.astype(np.float64).reshape(groups, filters // groups, per_group * kh * kw)
    if kh == kw == 1:
        flat = padded.reshape(groups, per_group, height * width)
        return (matrix @ flat).reshape(filters, height, width)
    if per_group == 1 and filters == groups:
        return _depthwise(padded, matrix.reshape(filters, kh, kw), dilations, height, width)
    out = np.empty((groups, filters // groups, height, width))
    # Windows (C, height, width, kh, kw) as a view; copied band by band into columns.
    extent = dilations[0] * (kh - 1) + 1, dilations[1] * (kw - 1) + 1
    windows = np.lib.stride_tricks.sliding_window_view(padded, extent, axis=(1, 2))[
        ..., :: dilations[0], :: dilations[1]
    ]
    taps = windows.transpose(0, 3, 4, 1, 2)
    band = max(1, _COLUMN_BYTES // (8 * channels * kh * kw * width))
    for start in range(0, height, band):
        columns = np.ascontiguousarray(taps[:, :, :, start : start + band])
        product = matrix @ columns.reshape(groups, per_group * kh * kw, -1)
        out[:, :, start : start + band] = product.reshape(groups, filters // groups, -1, width)
    return out.reshape(filters, height, width)


def _depthwise(
    padded: F64, weight: F64, dilations: tuple[int, int], height: int, width: int
) -> F64:
    """One filter per channel: a sum over taps is faster than matrix products of inner dimension
    kh * kw.
    """
    out = np.zeros((weight.shape[0], height, width))
    for dy in range(weight.shape[1]):
        for dx in range(weight.shape[2]):
            y, x = dy * dilations[0], dx * dilations[1]
            out += weight[:, dy, dx, None, None] * padded[:, y : y + height, x : x + width]
    return out
