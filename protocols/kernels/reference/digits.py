"""What a comparison's lookups start from: digits of values, and choices made of shared bits.

Specifies native/symmetric/digits.hpp: no cryptography, but memory is passed over once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moiety.protocols.arrays import U8, U64
from moiety.protocols.kernels.reference.checks import check_array, check_bytes, check_range
from moiety.protocols.kernels.reference.pool import Pool

__all__ = ["cut_digits", "gather_bits"]

_WORD = 64


def cut_digits(
    x: U64,
    added: U64 | None,
    shift: int,
    sizes: Sequence[int],
    complement: bool,
    pool: Pool | None = None,
) -> U8:
    """Digits of `(x >> shift) + added` modulo `2^sum(sizes)`, `uint8 (len(sizes), rows, n)`.

    x: `uint64 (n,)`; added: `uint64 (rows, n)`, None for one row of zeros; shift: 0..63; sizes:
    bits of the digits, 1..8 each and at most 64 together, most significant first; complement: the
    digits of `2^sum(sizes) - 1` less the value instead.
    """
    _check_cut(x, added, shift, sizes)
    values = (x >> np.uint64(shift))[None] + (np.uint64(0) if added is None else added)
    if complement:
        values = ~values
    digits = np.empty((len(sizes), *values.shape), np.uint8)
    low = 0
    for place in reversed(range(len(sizes))):
        digit = values >> np.uint64(low) & np.uint64((1 << sizes[place]) - 1)
        digits[place] = digit.astype(np.uint8)
        low += sizes[place]
    return digits


def _check_cut(x: U64, added: U64 | None, shift: int, sizes: Sequence[int]) -> None:
    check_array("x", x, np.uint64, None)
    if added is not None:
        check_array("added", added, np.uint64, None, len(x))
    check_range("shift", shift, 0, _WORD - 1)
    for size in sizes:
        check_range("a digit's bits", size, 1, 8)
    check_range("the digits' bits", sum(sizes), 0, _WORD)


def gather_bits(parts: Sequence[U8], masks: Sequence[int]) -> U8:
    """One choice of the bits that are chosen of each part, the first part's lowest: `uint8 (n,)`.

    parts: `uint8 (n,)` each, of two bits; masks: of each part the bits that are taken, 1, 2 or 3;
    at most 8 bits together.
    """
    for mask in masks:
        check_range("a mask", mask, 1, 3)
    check_range("the bits together", sum(mask.bit_count() for mask in masks), 1, 8)
    if len(parts) != len(masks):
        raise ValueError("there must be a mask for every part")
    check_bytes("a part", parts[0], None)
    choice, at = np.zeros_like(parts[0]), 0
    for part, mask in zip(parts, masks, strict=True):
        check_bytes("a part", part, len(parts[0]))
        field = (part & np.uint8(mask)) >> np.uint8(mask == 2)
        choice, at = choice | field << np.uint8(at), at + mask.bit_count()
    return choice
