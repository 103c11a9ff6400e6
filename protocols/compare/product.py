"""Products of two secret values: Gilboa's multiplication (CRYPTO 1999), a 1-of-2 transfer for every
bit of one factor's shares, in the descending widths of SIRNN (S&P 2021, section III); and squares.

Functionality of `product`: for additive shares of x in `Z_{2^bits}` and of y in `Z_{2^b}`, 2 <= b
<= bits <= 64, additive shares of `x*y` modulo 2^bits, both taken as signed numbers. Exact for every
x, and for every y in `[-2^(b-2), 2^(b-2))` (one headroom bit). One y serves a group of x: a gate
per channel that of all its pixels.

With the headroom no comparison is needed. Let h = 2^(b-2), y0 the server's share of y + h and y1
the client's, both below 2^b, and n0, n1 whether their top bits are 0. As y + h has the top bit 0,
y0 + y1 stays below 2^b only if both have, and

    y = y0 + y1 - 2^b + 2^b * n0*n1 - h

Of `x0*y1` the client knows the bits of y1: bit j is a choice between 0 and the server's `2^j * x0`,
with entries of bits - j bits. The top bit is `1 - n1`, and n1 is also the client's part of n0*n1,
so one choice by n1 gives both: between 0 and `2^(b-1) * (2*n0 - 1) * x0`. Likewise `x1*y0`, where
the server chooses. The rest is local.

Functionality of `square`: shares of v in `Z_{2^b}` to shares of `v^2` modulo 2^bits, 4 <= b + 2 <=
bits <= 64; exact for every v in `[-2^(b-2), 2^(b-2))`. With h, n0, n1 as above and t0 = v0 - 2^b,
t1 = v1,

    v^2 = (t0 - h)^2 + t1^2 - 2*h*t1 + 2*t0*v1 + 2^(b+1) * n0*n1 * (t0 + t1 + h)

so that the client chooses for `t0*v1` by the bits of v1, the server for `n1*t1` alone, and v need
not be extended first. The shares are fresh but for their lowest bits, which are those of v's.

Flights: C S C, and S C more for every further CHUNK of values. Bits: for every y and direction, b
correlations of width 1 and as many choices; for every x and direction `b * (2*bits - b + 1) / 2` of
entries. Of a square the second direction has one row, of bits - b - 1 bits, and the others are one
bit shorter. Nothing leaks: both parties see choices masked by correlations and entries masked by
pads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from moiety.protocols import kernels, ring
from moiety.protocols.arrays import U8, U64
from moiety.protocols.cost import Cost, Party, Size, Work, cost_of, local, other
from moiety.protocols.ot.batches import ReceivedBatch, SentBatch
from moiety.protocols.ot.transfers import answer_cost, choose_cost
from moiety.protocols.session import Session

PASSES = 3
"""Over the values of one row, by both parties: entries, shares, their sum."""
SPREAD = 2
"""Passes more where a choice serves a group: its block and its bits for every element."""


CHUNK = 1 << 17
"""Values whose correlations are held at once, 16 bytes for every bit; the next ones follow."""


class Row(NamedTuple):
    """What one party multiplies, `numbers` uint64 `(n * group,)`, with bits that the peer chooses
    by. The products count 2^place.
    """

    place: int
    numbers: U64


class Chosen(NamedTuple):
    """What one party chooses by, `bits` uint8 `(n,)`, for the peer's row of this place."""

    place: int
    bits: U8


def product(session: Session, x: U64, y: U64, bits: int, y_bits: int) -> U64:
    """Shares of `x[i, j] * y[i]`, uint64 `(n, group)` of ring elements modulo 2^bits, for y uint64
    `(n,)` modulo 2^y_bits.
    """
    made = [_product(session, x[at], y[at], bits, y_bits) for at in _chunks(y.size)]
    return np.concatenate(made)


def square(session: Session, v: U64, bits: int, out_bits: int) -> U64:
    """Shares of `v^2` modulo 2^out_bits, uint64 `(n,)`, for v uint64 `(n,)` modulo 2^bits."""
    return np.concatenate([_square(session, v[at], bits, out_bits) for at in _chunks(v.size)])


def _chunks(n: int) -> list[slice]:
    return [slice(start, min(start + CHUNK, n)) for start in range(0, n, CHUNK)]


def _product(session: Session, x: U64, y: U64, bits: int, y_bits: int) -> U64:
    own, low, small = _with_headroom(session, y, y_bits)
    sign, top = np.uint64(2) * small - np.uint64(1), y_bits - 1
    choices = [*(Chosen(place, bit) for place, bit in enumerate(low)), Chosen(top, small)]
    flat, turned = x.reshape(-1), (x * sign[:, None]).reshape(-1)
    rows = [*(Row(place, flat) for place in range(top)), Row(top, turned)]
    alone = x * (own - np.uint64(3 << (y_bits - 2)))[:, None]
    return ring.reduce(alone + _crossed(session, choices, rows, bits).reshape(x.shape), bits)


def _square(session: Session, v: U64, bits: int, out_bits: int) -> U64:
    own, low, small = _with_headroom(session, v, bits)
    h = np.uint64(1 << (bits - 2))
    if session.is_server:
        t = own - np.uint64(1 << bits)
        choices = [Chosen(bits + 1, small)]
        top = (t + h) * (np.uint64(2) * small) - t
        rows = [*(Row(place + 1, t) for place in range(bits - 1)), Row(bits, top)]
        alone = (t - h) * (t - h) + (t << np.uint64(bits))
    else:
        choices = [*(Chosen(place + 1, bit) for place, bit in enumerate(low)), Chosen(bits, small)]
        rows = [Row(bits + 1, own * small)]
        alone = own * own - np.uint64(2) * h * own
    return ring.reduce(alone + _crossed(session, choices, rows, out_bits), out_bits)


def _with_headroom(session: Session, y: U64, bits: int) -> tuple[U64, list[U8], U8]:
    """This party's share of y + 2^(bits-2), uint64 `(n,)`; its bits below the top one, least
    significant first, and whether the top one is 0, uint8 `(n,)`.
    """
    own = ring.reduce(y + np.uint64(1 << (bits - 2)), bits) if session.is_server else y
    top, *low = kernels.cut_digits(own, None, 0, (1,) * bits, False, session.workers.pool)
    return own, [digit[0] for digit in reversed(low)], top[0] ^ np.uint8(1)


def _crossed(session: Session, choices: Sequence[Chosen], rows: Sequence[Row], bits: int) -> U64:
    """This party's share, uint64 `(n * group,)`, of the sum modulo 2^bits of its rows' products
    with the peer's choices, and of the peer's rows' with its own. The client chooses first.
    """
    n = choices[0].bits.size
    group = rows[0].numbers.size // n

    def choose() -> list[ReceivedBatch]:
        return session.receiver.choose_rows(np.stack([each.bits for each in choices]), 1, group)

    def accept() -> list[SentBatch]:
        return session.sender.accept_rows(len(rows), n, 1, group)

    if session.is_server:
        accepted, chosen = accept(), choose()
        mine = _sent(session, accepted, rows, bits)
        return mine + _received(session, chosen, choices, bits)
    chosen, accepted = choose(), accept()
    theirs = _received(session, chosen, choices, bits)
    return theirs + _sent(session, accepted, rows, bits)


def _sent(session: Session, batches: Sequence[SentBatch], rows: Sequence[Row], bits: int) -> U64:
    """The answers; this party's share of its own rows' products."""
    total = np.zeros_like(rows[0].numbers)
    gate = np.zeros(total.size, np.uint8)
    for batch, (place, numbers) in zip(batches, rows, strict=True):
        width = bits - place
        entries = ring.reduce(numbers, width)
        total += session.sender.multiply(batch, entries, gate, width) << np.uint64(place)
    return total


def _received(
    session: Session, batches: Sequence[ReceivedBatch], choices: Sequence[Chosen], bits: int
) -> U64:
    """This party's share of the products of the peer's rows."""
    total = np.zeros(batches[0].elements, np.uint64)
    for batch, (place, _) in zip(batches, choices, strict=True):
        total += session.receiver.additive(batch, bits - place) << np.uint64(place)
    return total


# --- declared costs -------------------------------------------------------------------------------


@cost_of(product)
def product_cost(n: Size, group: Size, bits: Size, y_bits: int) -> Cost:
    """Of n values y, each for `group` values x."""
    places = range(y_bits)
    return _crossed_cost(n, group, bits, {"C": places, "S": places})


@cost_of(square)
def square_cost(n: Size, bits: int, out_bits: Size) -> Cost:
    """Of n values."""
    return _crossed_cost(n, 1, out_bits, {"C": range(1, bits + 1), "S": [bits + 1]})


def _crossed_cost(n: Size, group: Size, bits: Size, places: dict[Party, Sequence[int]]) -> Cost:
    """Rows of these places, by the party that chooses, chunk after chunk; a symbolic n stands for
    one chunk.
    """
    sizes = [at.stop - at.start for at in _chunks(n)] if isinstance(n, int) else [n]
    return sum((_chunk_cost(size, group, bits, places) for size in sizes), Cost())


def _chunk_cost(n: Size, group: Size, bits: Size, places: dict[Party, Sequence[int]]) -> Cost:
    rows = sum(map(len, places.values()))
    total = local("digit", n * rows)
    for party, chosen in places.items():
        total = total + choose_cost(party, n, 1, len(chosen))
    made, read = (Work("mux_send", n * group),), (Work("open_1", n * group),)
    for party, chosen in places.items():
        for place in chosen:
            total = total + answer_cost(other(party), n * group, 1, bits - place, made, read)
    passes = PASSES if group == 1 else PASSES + SPREAD
    return total + local("pass", n * group * passes * rows)
