"""Convolution of known integers: modulo 2^32 by `WordConvolution`, as most layers of a prepared run
need it online (protocols/linear/split); and exact, through float64 products, by `Convolution`, for
the rest of them and the cleartext executor.

A float64 product of integers is exact while every partial sum stays below 2^53, and the kernel of
the homomorphic layers (native/rlwe/products.hpp) makes some forty of them a nanosecond, where
NumPy's integer product has neither vectors nor blocks. Larger operands are cut into limbs.

Rows of a channel lie one after the other with their padding between them, which the right side of
one row and the left side of the next share. So a tap is an offset into the same memory: one product
per tap, no im2col, and what is computed over the gaps is left out at the end.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from moiety.protocols import kernels
from moiety.protocols.arrays import F64, I16, I64, U64
from moiety.protocols.errors import ContractViolation
from moiety.protocols.linear.parameters import FLOAT_BITS
from moiety.protocols.parallel import Workers

WORD_BITS = 32
HALF_BITS = 16
"""Of the words that `WordConvolution` computes with, and of the halves of which it multiplies one
by a weight.
"""
_EXACT = 1 << FLOAT_BITS
_FEW = 64
"""Outputs of a channel below which a further thread makes a product slower than it makes it
shorter.
"""


def limbs(heaviest: int, largest: int) -> tuple[int, int]:
    """How many limbs values up to `largest` are cut into, and the bits of each but the last, which
    is signed: filters' absolute weights add up to `heaviest` at most. Raises `ContractViolation`
    where no float64 product of such weights is exact.
    """
    if heaviest * largest < _EXACT:
        return 1, 0
    bits = FLOAT_BITS - heaviest.bit_length()
    if bits < 1:
        raise ContractViolation("a linear layer's weights are too large for the exact convolution")
    count = 2
    while heaviest * ((largest >> (count - 1) * bits) + 1) >= _EXACT:
        count += 1
    return count, bits


def in_words(bits: int, weight_bits: int) -> bool:
    """Whether a layer on values modulo 2^bits is one of a `WordConvolution`, by public facts alone:
    weights of so many bits go as far as 2^(weight_bits-1), which must be a half.
    """
    return bits <= WORD_BITS and weight_bits < HALF_BITS


def halves(bits: int) -> int:
    """How many of its halves it multiplies by every weight."""
    return 1 if bits <= HALF_BITS else 2


def row_pitch(in_width: int, out_width: int, pads: tuple[int, int, int, int]) -> int:
    """How far apart rows begin, so that neighbours' pads are shared and outputs do not meet."""
    _, left, _, right = pads
    return max(in_width + max(left, right), out_width)


class Convolution:
    """Stride-1 cross-correlation with integer weights `(M, C/groups, kh, kw)`, zero padded (top,
    left, bottom, right), for many images: the weights are converted once.
    """

    def __init__(
        self,
        weight: npt.NDArray[np.integer[Any]],
        pads: tuple[int, int, int, int],
        dilations: tuple[int, int],
        groups: int,
        heaviest: int | None = None,
    ) -> None:
        """`heaviest` bounds the sum of a filter's absolute weights; None: it is their largest. How
        long a convolution takes depends on it, so whoever must not show its weights says what all
        weights of their width keep to.
        """
        filters, per_group, kh, kw = weight.shape
        values = weight.astype(np.float64)
        if heaviest is None:
            heaviest = int(np.abs(values).reshape(filters, -1).sum(axis=1).max(initial=0.0))
        by_group = values.reshape(groups, filters // groups, per_group, kh * kw)
        self._taps = np.ascontiguousarray(by_group.transpose(3, 0, 1, 2))
        self._kernel, self._pads, self._dilations = (kh, kw), pads, dilations
        self._heaviest = heaviest

    def __call__(
        self, x: I64, largest: int | None = None, workers: Workers | None = None
    ) -> tuple[I64, F64 | None]:
        """Of x `(C,H,W)`, `|x| <= largest` (None: what x itself says): the sums `(M,H',W')` modulo
        2^64 as int64, and the same sums as float64 where they might not fit int64 (None where they
        do, exactly).
        """
        if largest is None:
            largest = max(abs(int(x.min())), abs(int(x.max()))) if x.size else 0
        count, bits = limbs(self._heaviest, largest)
        workers = workers or Workers()
        if count == 1:
            return self._products(x, workers).astype(np.int64), None
        wrapped: I64 | int = 0
        approximate: F64 | float = 0.0
        for index in range(count):
            limb = x >> np.int64(index * bits)
            if index < count - 1:
                limb &= np.int64((1 << bits) - 1)
            sums = self._products(limb, workers)
            wrapped = wrapped + (sums.astype(np.int64) << np.int64(index * bits))
            approximate = approximate + sums * 2.0 ** (index * bits)
        return np.asarray(wrapped), np.asarray(approximate)

    def _products(self, x: I64, workers: Workers) -> F64:
        """In float64, `(C,H,W) -> (M,H',W')`, a view. Threads share the outputs of every channel:
        there is no sum of one that two of them make.
        """
        _, groups, filters, per_group = self._taps.shape
        top, left, bottom, right = self._pads
        (kh, kw), (dy, dx) = self._kernel, self._dilations
        height = x.shape[1] + top + bottom - dy * (kh - 1)
        width = x.shape[2] + left + right - dx * (kw - 1)
        pitch = row_pitch(x.shape[2], width, self._pads)
        offsets = [row * dy * pitch + column * dx for row in range(kh) for column in range(kw)]
        length = height * pitch
        rows = _padded(x, top * pitch + left, pitch, offsets[-1] + length)
        rows = rows.reshape(groups, per_group, -1)
        out = np.empty((groups, filters, length))

        def part(at: tuple[int, int]) -> None:
            start, stop = at
            sums = np.zeros((groups, filters, stop - start))
            for factors, offset in zip(self._taps, offsets, strict=True):
                kernels.add_products(sums, factors, rows, 0, offset + start)
            out[..., start:stop] = sums

        ways = max(1, min(workers.threads, length // _FEW))
        cuts = [length * way // ways for way in range(ways + 1)]
        workers.each(part, list(itertools.pairwise(cuts)))
        return out.reshape(groups * filters, height, pitch)[..., :width]


class WordConvolution:
    """The same of integers modulo 2^bits, with all that the server does to its share of the result:
    by one call of a kernel (native/rlwe/convolution.hpp), whose time depends on shapes and `bits`.
    """

    def __init__(
        self,
        weight: npt.NDArray[np.integer[Any]],
        pads: tuple[int, int, int, int],
        dilations: tuple[int, int],
        groups: int,
    ) -> None:
        """Weights fit into 16 bits (`in_words`)."""
        filters, per_group, kh, kw = weight.shape
        self._weight: I16 = np.zeros((filters, kh, kw, per_group + per_group % 2), np.int16)
        self._weight[..., :per_group] = weight.transpose(0, 2, 3, 1)
        self._pads, self._dilations, self._groups = list(pads), list(dilations), groups

    def add(
        self, x: U64, bias: I64, bits: int, guard: int, sums: U64, workers: Workers | None = None
    ) -> None:
        """Add `2^guard * (conv(x, w) + bias)` modulo 2^(bits+guard) to sums `(M,H',W')`, in place:
        x `(C,H,W)` modulo 2^bits, bias `(M,1,1)` or `(M,H',W')`. Of a negative guard the low bits
        are dropped.
        """
        added = np.ascontiguousarray(bias.reshape(len(bias), -1)).view(np.uint64)
        kernels.add_convolution(
            x,
            self._weight,
            added,
            self._pads,
            self._dilations,
            self._groups,
            bits,
            guard,
            sums,
            workers.pool if workers is not None else None,
        )


def _padded(x: I64, begin: int, pitch: int, read: int) -> F64:
    """The rows of x `(C,H,W)`, `pitch` apart from element `begin` on, in zeros: `(C, size)`, of
    which the first `read` will be read.
    """
    channels, height, width = x.shape
    plane = np.zeros((channels, max(read, begin + height * pitch)))
    inside = plane[:, begin : begin + height * pitch].reshape(channels, height, pitch)
    inside[..., :width] = x
    return plane


def convolve(
    x: I64,
    weight: npt.NDArray[np.integer[Any]],
    pads: tuple[int, int, int, int],
    dilations: tuple[int, int],
    groups: int,
) -> tuple[I64, F64 | None]:
    """`Convolution` of one image."""
    return Convolution(weight, pads, dilations, groups)(x)
