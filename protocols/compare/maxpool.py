"""Maximum over windows: rows, then columns, each a tree of `max(a, b) = b + relu(a - b)`.

Functionality: additive shares in `Z_{2^bits}` of a tensor to shares of its windows' maxima. Exact
for operands in `[-2^(bits-2), 2^(bits-2))`, so that a difference fits the ring (one headroom bit).
Padding counts as -2^(bits-2), which no operand is below. Flights: those of one ReLU per level,
`ceil(log2(kw)) + ceil(log2(kh))` levels; bits: those of one ReLU per pair (`maxpool_pairs`).
Nothing leaks. A tree of comparisons as in CrypTFlow2 (CCS 2020), separable to make fewer of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from moiety.protocols import ring
from moiety.protocols.arrays import U64
from moiety.protocols.compare.digits import DigitPlan
from moiety.protocols.compare.millionaires import comparison_plan
from moiety.protocols.compare.relu import relu, relu_cost
from moiety.protocols.cost import Cost, Size, cost_of, local
from moiety.protocols.lanes import in_lanes, in_lanes_cost
from moiety.protocols.network import LAN, Network
from moiety.protocols.session import Session


def maxpool(
    session: Session,
    x: U64,
    bits: int,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
) -> U64:
    """Shares of the pooled tensor, uint64 `(C,H,W) -> (C,H',W')`; pads are (top, left,
    bottom, right).
    """
    return pool(session, x, bits, kernel, strides, pads, _positive_part)


Positive = Callable[[Session, U64, int], U64]
"""Shares of `max(x, 0)`, uint64 of x's shape."""


def pool(
    session: Session,
    x: U64,
    bits: int,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
    positive: Positive,
) -> U64:
    """As `maxpool`, by this way to take the positive part."""
    lowest = ring.from_signed(-(1 << (bits - 2)), bits) if session.is_server else np.uint64(0)
    top, left, bottom, right = pads
    x = np.pad(x, ((0, 0), (top, bottom), (left, right)), constant_values=lowest)
    x = _running_max(session, x, bits, kernel[1], strides[1], 2, positive)
    return _running_max(session, x, bits, kernel[0], strides[0], 1, positive)


def _running_max(
    session: Session,
    x: U64,
    bits: int,
    kernel: int,
    stride: int,
    axis: int,
    positive: Positive,
) -> U64:
    """Maximum of `kernel` neighbours along one axis, as a binary tree: ceil(log2(kernel))
    comparisons deep.
    """
    count = (x.shape[axis] - kernel) // stride + 1
    taps = [
        np.take(x, np.arange(offset, offset + (count - 1) * stride + 1, stride), axis=axis)
        for offset in range(kernel)
    ]
    while len(taps) > 1:
        pairs = len(taps) // 2
        a, b = np.stack(taps[0 : 2 * pairs : 2]), np.stack(taps[1 : 2 * pairs : 2])
        larger = ring.reduce(b + positive(session, ring.reduce(a - b, bits), bits), bits)
        taps = [*larger, *taps[2 * pairs :]]
    return taps[0]


def _positive_part(session: Session, x: U64, bits: int) -> U64:
    flat = x.reshape(-1)
    made = in_lanes(session, x.size, lambda lane, at: relu(lane, flat[at], bits, bits))
    return made.reshape(x.shape)


@cost_of(maxpool, pool)
def maxpool_cost(
    shape: tuple[int, int, int],
    bits: int,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
    network: Network | DigitPlan = LAN,
) -> Cost:
    """Of a tensor of `shape` `(C,H,W)`."""
    levels = maxpool_pairs(shape, kernel, strides, pads)
    return sum((_level_cost(pairs, bits, network) for pairs in levels), Cost())


def _level_cost(pairs: int, bits: int, network: Network | DigitPlan) -> Cost:
    plan = comparison_plan(pairs, bits - 1, 1, network)
    prepared = isinstance(network, Network) and network.prepared
    return in_lanes_cost(pairs, lambda n: maxima_cost(n, bits, plan), prepared)


def maxima_cost(n: Size, bits: Size, network: Network | DigitPlan = LAN) -> Cost:
    """Of n pairs of one level of the trees, in one lane."""
    return local("pass", 5 * n) + relu_cost(n, bits, bits, network) + local("pass", 2 * n)


def maxpool_pairs(
    shape: tuple[int, int, int],
    kernel: tuple[int, int],
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
) -> Iterator[int]:
    """How many maxima each level of the trees takes."""
    channels, height, width = shape[0], shape[1] + pads[0] + pads[2], shape[2] + pads[1] + pads[3]
    out_width = (width - kernel[1]) // strides[1] + 1
    out_height = (height - kernel[0]) // strides[0] + 1
    for size, count in (
        (kernel[1], channels * height * out_width),
        (kernel[0], channels * out_height * out_width),
    ):
        taps = size
        while taps > 1:
            yield taps // 2 * count
            taps -= taps // 2
