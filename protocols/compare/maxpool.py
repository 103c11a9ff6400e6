"""Maximum over windows: rows, then columns, each a tree of `max(a, b) = b + relu(a - b)`.

Operands must lie in `[-2^(bits-2), 2^(bits-2))`, so that a difference fits the ring (one headroom
bit). Padding counts as -2^(bits-2), which no operand is below.
"""

from __future__ import annotations

import numpy as np

from moiety.protocols import ring
from moiety.protocols.compare.relu import relu
from moiety.protocols.ring import U64
from moiety.protocols.session import Session


def maxpool(
    session: Session,
    x: U64,
    bits: int,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
) -> U64:
    """Shares of the pooled tensor, uint64 `(C,H,W) -> (C,H',W')`; pads
    are (top, left, bottom, right).
    """
    lowest = ring.from_signed(-(1 << (bits - 2)), bits) if session.is_server else np.uint64(0)
    top, left, bottom, right = pads
    x = np.pad(x, ((0, 0), (top, bottom), (left, right)), constant_values=lowest)
    x = _running_max(session, x, bits, kernel[1], strides[1], axis=2)
    return _running_max(session, x, bits, kernel[0], strides[0], axis=1)


def _running_max(session: Session, x: U64, bits: int, kernel: int, stride: int, axis: int) -> U64:
    """Maximum of `kernel` neighbours along one axis, as a binary tree:
    ceil(log2(kernel)) comparisons deep.
    """
    count = (x.shape[axis] - kernel) // stride + 1
    taps = [
        np.take(x, np.arange(offset, offset + (count - 1) * stride + 1, stride), axis=axis)
        for offset in range(kernel)
    ]
    while len(taps) > 1:
        pairs = len(taps) // 2
        a, b = np.stack(taps[0 : 2 * pairs : 2]), np.stack(taps[1 : 2 * pairs : 2])
        larger = ring.reduce(b + relu(session, ring.reduce(a - b, bits), bits, bits), bits)
        taps = [*larger, *taps[2 * pairs :]]
    return taps[0]
