"""Placements: how many images of the other class an image is above, ties counted half (DeLong,
DeLong and Clarke-Pearson, Biometrics 1988; Hanley and Hajian-Tilaki, Academic Radiology 1997).

Functionality: of L labels the shared scores s of n images, signed numbers in `Z_{2^bits}`, and the
client's marks, to shares of the doubled placements

    E_i = sum of 2*[s_i > s_j] + [s_i = s_j] over the negative j    where i is positive
    E_j = sum of 2*[s_i > s_j] + [s_i = s_j] over the positive i    where j is negative
    E_i = 0                                                         where i is neither

modulo 2^placement_bits(n), which leaves a headroom bit. Exact for every score; 1 <= bits <= 63, n
>= 2.

All pairs i < j are compared, for the server must not learn which of them matter. With g = [s_i >=
s_j] and h = [s_i > s_j], two thresholds of one comparison in a ring of one bit more,

    2*[s_i > s_j] + [s_i = s_j] = g + h    and the other way round    2 - g - h

A pair matters to both its images or to neither, and to both with one number: with the client's w_ij
= 1 where i is positive and j negative,

    y_ij = w_ij * (g + h) + w_ji * (2 - g - h) = 2*w_ji + (w_ij - w_ji) * (g + h)

so one factor of the client's, -1, 0 or 1, multiplies two XOR-shared bits, each by a 1-of-2 transfer
that the server chooses in by its share of the bit. All else is adding up.

Flights: those of an extension by one bit; then block after block of pairs a comparison's and S C.
Bits per pair: a comparison of bits bits with two thresholds, and twice a correlation of width 1, a
bit and placement_bits(n) more. Nothing leaks: both parties see choices masked by correlations and
entries masked by pads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from moiety.protocols import ring
from moiety.protocols.aggregate.marks import NEGATIVE, POSITIVE
from moiety.protocols.arrays import I64, U8, U64
from moiety.protocols.compare.digits import plan_digits
from moiety.protocols.compare.extend import extend, extend_cost
from moiety.protocols.compare.relu import gates, gates_cost
from moiety.protocols.cost import Cost, Work, cost_of, local
from moiety.protocols.lanes import in_lanes, in_lanes_cost
from moiety.protocols.network import LAN, Network
from moiety.protocols.ot.transfers import answer_cost, choose_cost
from moiety.protocols.session import Session

BLOCK = 1 << 17
"""Pairs that are compared at once."""
MAX_BITS = 63
"""Of scores, whose differences need one bit more."""
PASSES = 6
"""Over the pairs, by both parties: differences, and sums by image."""

Done = Callable[[int, int], None]
"""Told how many pairs of how many are compared."""


def placement_bits(images: int) -> int:
    """Of a ring in which every doubled placement among so many images has a headroom bit."""
    return (2 * (images - 1)).bit_length() + 2


def pairs_of(images: int) -> int:
    """Pairs of two of so many images."""
    return images * (images - 1) // 2


def placements(
    session: Session,
    scores: U64,
    bits: int,
    marks: U8 | None = None,
    done: Done = lambda pairs, total: None,
) -> U64:
    """This party's share of the doubled placements, uint64 `(L, n)`, of `scores` uint64 `(L, n)`.
    `marks` uint8 `(L, n)` are the client's, None at the server.
    """
    labels, images = scores.shape
    flat = scores.reshape(-1)
    wide = in_lanes(session, flat.size, lambda lane, at: extend(lane, flat[at], bits, bits + 1))
    out_bits = placement_bits(images)
    total = np.zeros(flat.size, np.uint64)
    for block in _blocks(labels, images):
        pairs = _pairs(images, block)
        parts = _compared(session, wide, bits + 1, pairs, marks, out_bits)
        for image in (pairs.first, pairs.second):
            # Sums of few numbers of few bits: exact in float64.
            sums = np.bincount(image, parts.astype(np.float64), flat.size)
            total += sums.astype(np.uint64)
        done(block.stop, labels * pairs_of(images))
    return ring.reduce(total, out_bits).reshape(scores.shape)


class Pairs(NamedTuple):
    """Of some pairs the places of both images among the scores, int64 `(pairs,)` each."""

    first: I64
    second: I64


def _blocks(labels: int, images: int) -> list[slice]:
    total = labels * pairs_of(images)
    return [slice(start, min(start + BLOCK, total)) for start in range(0, total, BLOCK)]


def _pairs(images: int, block: slice) -> Pairs:
    """Label after label, first image after first image, second after second."""
    label, pair = np.divmod(np.arange(block.start, block.stop), pairs_of(images))
    row = np.arange(images)
    starts = row * (images - 1) - row * (row - 1) // 2
    first = np.searchsorted(starts, pair, side="right") - 1
    # The last image is the first of no pair, and its row begins where the pairs end.
    second = first + 1 + pair - starts[first]
    return Pairs(label * images + first, label * images + second)


def _compared(
    session: Session, wide: U64, bits: int, pairs: Pairs, marks: U8 | None, out_bits: int
) -> U64:
    """This party's share of y of these pairs, uint64 `(pairs,)`."""
    differences = ring.reduce(wide[pairs.first] - wide[pairs.second], bits)
    factors = None if marks is None else _factors(marks.reshape(-1), pairs)

    def protocol(lane: Session, at: slice) -> U64:
        mine = None if factors is None else (factors[0][at], factors[1][at])
        return _pair_values(lane, differences[at], bits, mine, out_bits)

    return in_lanes(session, differences.size, protocol)


def _factors(marks: U8, pairs: Pairs) -> tuple[U64, U64]:
    """The client's w_ij and w_ji, uint64 `(pairs,)`."""
    first, second = marks[pairs.first], marks[pairs.second]
    above = (first == POSITIVE) & (second == NEGATIVE)
    below = (first == NEGATIVE) & (second == POSITIVE)
    return above.astype(np.uint64), below.astype(np.uint64)


def _pair_values(
    session: Session, differences: U64, bits: int, factors: tuple[U64, U64] | None, out_bits: int
) -> U64:
    """y of the pairs of these differences, by the comparison with 0 and with -1."""
    thresholds = np.array([[0], [ring.mask(bits)]], np.uint64) if session.is_server else None
    compared = gates(session, differences, bits, 2, thresholds).reshape(-1)
    if factors is None:
        chosen = session.receiver.choose(compared, 1)
        return _added(session.receiver.additive(chosen, out_bits), out_bits)
    above, below = factors
    accepted = session.sender.accept(compared.size, 1)
    signs = np.tile(ring.reduce(above - below, out_bits), 2)
    parts = session.sender.multiply(accepted, signs, compared, out_bits)
    return ring.reduce(_added(parts, out_bits) + np.uint64(2) * below, out_bits)


def _added(parts: U64, bits: int) -> U64:
    """Those of g and those of h."""
    of_g, of_h = parts.reshape(2, -1)
    return ring.reduce(of_g + of_h, bits)


# --- declared costs -------------------------------------------------------------------------------


@cost_of(placements)
def placements_cost(labels: int, images: int, bits: int, network: Network = LAN) -> Cost:
    """Of so many labels of so many images."""
    n = labels * images
    digits = plan_digits(bits, 1, n, network)
    total = in_lanes_cost(n, lambda size: extend_cost(size, bits, bits + 1, digits))
    for block in _blocks(labels, images):
        total = total + _block_cost(
            block.stop - block.start, bits + 1, placement_bits(images), network
        )
    return total


def _block_cost(n: int, bits: int, out_bits: int, network: Network) -> Cost:
    digits = plan_digits(bits - 1, 2, n, network)

    def protocol(size: int) -> Cost:
        made, read = (Work("mux_send", 2 * size),), (Work("open_1", 2 * size),)
        product = choose_cost("S", 2 * size, 1)
        product = product + answer_cost("C", 2 * size, 1, out_bits, made, read)
        return gates_cost(size, bits, 2, digits) + product

    return in_lanes_cost(n, protocol) + local("pass", PASSES * n)
