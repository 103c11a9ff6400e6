"""Figures of transfers: an answer made by the sender and opened by the receiver, of every kind that
comparisons and multiplexers use.

Each kind is a case: a small class that holds the inputs of both parties and has one method for
each. `_time` takes the two times of any case.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Protocol

from moiety.protocols import kernels
from moiety.protocols.arrays import U8, U64
from moiety.protocols.prices import FIGURES, REFERENCE, WIDTHS
from moiety.runtime.measure.bench import Bench

FEW, MANY = 4, 24
"""Thresholds that share a transfer, at the two points of a line."""
BITS, OUT_BITS = 13, 26
"""Rings of a multiplexer: of the comparison, and of the layer that follows."""


@dataclass(frozen=True)
class Opened:
    """n transfers of one of 2^k entries that the receiver has opened: the correlations of both
    parties and what one told the other. All is random, so the receiver's answers are noise; a
    kernel takes as long for that.

    pads uint8 (n, 16), the sender's w and the receiver's v; key uint8 (16,), of the first pads;
    delta uint8 (16,), the sender's; u uint8 (n,), the receiver's part of a correlation; choices
    uint8 (n,), what it chooses; shifts uint8 (n,), their XOR, which the sender was told.
    """

    k: int
    pads: U8
    key: U8
    delta: U8
    u: U8
    choices: U8
    shifts: U8

    @classmethod
    def random(cls, bench: Bench, k: int) -> Opened:
        n = bench.elements
        u, choices = bench.bytes(n, below=1 << k), bench.bytes(n, below=1 << k)
        pads, key, delta = bench.bytes(n, 16), bench.bytes(16), bench.bytes(16)
        return cls(k, pads, key, delta, u, choices, u ^ choices)


class Case(Protocol):
    """A kind of transfer, at the measured size."""

    def send(self) -> U8:
        """The sender makes its answer."""

    def receive(self, answer: U8) -> object:
        """The receiver opens it."""


@dataclass(frozen=True)
class Leaf:
    """A digit of the receiver's against digits of the sender's, uint8 (count, n): lt and eq
    of each.
    """

    opened: Opened
    digits: U8

    @classmethod
    def random(cls, bench: Bench, opened: Opened, count: int) -> Leaf:
        return cls(opened, bench.bytes(count, opened.shifts.size, below=1 << opened.k))

    def send(self) -> U8:
        o = self.opened
        answer, _ = kernels.leaves_send(o.pads, o.delta, o.k, o.key, o.shifts, self.digits, True)
        return answer

    def receive(self, answer: U8) -> object:
        o, count = self.opened, len(self.digits)
        return kernels.leaves_recv(o.pads, o.k, o.key, o.choices, o.u, count, True, answer)


@dataclass(frozen=True)
class Join:
    """A lookup of a public function of shared bits, uint8 (2^k,) of two bits; `own` is the sender's
    share of its argument, uint8 (n,).
    """

    opened: Opened
    own: U8
    function: U8

    @classmethod
    def random(cls, bench: Bench, opened: Opened) -> Join:
        own = bench.bytes(opened.shifts.size, below=1 << opened.k)
        return cls(opened, own, bench.bytes(1 << opened.k, below=4))

    def send(self) -> U8:
        o = self.opened
        answer, _ = kernels.join_send(
            o.pads, o.delta, o.k, o.key, o.shifts, self.own, self.function, 2
        )
        return answer

    def receive(self, answer: U8) -> object:
        o = self.opened
        return kernels.lookup_recv(o.pads, o.k, o.key, o.choices, o.u, 2, answer)


@dataclass(frozen=True)
class Multiplexer:
    """Its transfers of two entries: both parties' products with a shared bit, and the extension. x
    and theirs uint64 (n,), gate and flip uint8 (n,).
    """

    opened: Opened
    x: U64
    theirs: U64
    gate: U8
    flip: U8

    @classmethod
    def random(cls, bench: Bench) -> Multiplexer:
        n = bench.elements
        x, theirs = bench.ring_elements(n, bits=BITS), bench.ring_elements(n, bits=BITS)
        gate, flip = bench.bytes(n, below=2), bench.bytes(n, below=2)
        return cls(Opened.random(bench, 1), x, theirs, gate, flip)

    def multiply(self) -> U8:
        o = self.opened
        answer, _ = kernels.mux_send(o.pads, o.delta, o.key, o.shifts, self.x, self.gate, BITS)
        return answer

    def multiply_adding(self) -> object:
        o, added = self.opened, (self.theirs, self.flip)
        return kernels.mux_send_adding(
            o.pads, o.delta, o.key, o.shifts, self.x, self.gate, *added, BITS
        )

    def open(self, answer: U8) -> object:
        """Also a bit conversion's."""
        o = self.opened
        return kernels.arith_recv(o.pads, 1, o.key, o.choices, o.u, BITS, answer)

    def widen(self) -> U8:
        o, rings = self.opened, (BITS, OUT_BITS)
        answer, _ = kernels.widen_send(
            o.pads, o.delta, o.key, o.shifts, self.x, self.theirs, *rings
        )
        return answer

    def widened(self, answer: U8) -> object:
        o, rings = self.opened, (BITS, OUT_BITS)
        return kernels.widen_recv(o.pads, o.key, o.choices, o.u, self.x, self.flip, *rings, answer)


def transfers(bench: Bench) -> None:
    """Answers made and opened: leaves, joins, multiplexer; and the choices before them."""
    for k in WIDTHS:
        opened = Opened.random(bench, k)
        _record(bench, Leaf.random(bench, opened, 1), f"leaf_send_{k}", f"leaf_recv_{k}")
        _record(bench, Join.random(bench, opened), f"join_send_{k}", f"join_recv_{k}")
        _several_thresholds(bench, opened)
    _multiplexer(bench)
    _prepared(bench)
    _choices(bench)


def _time(bench: Bench, case: Case) -> tuple[float, float]:
    """Nanoseconds per transfer: of the sender, of the receiver."""
    answer = case.send()
    return (
        bench.time(case.send) / bench.elements,
        bench.time(partial(case.receive, answer)) / bench.elements,
    )


def _record(bench: Bench, case: Case, sender: str, receiver: str) -> None:
    bench.figures[sender], bench.figures[receiver] = _time(bench, case)


def _several_thresholds(bench: Bench, opened: Opened) -> None:
    """A digit against several thresholds takes a part of its own, `leaves`, and one for each answer
    bit, `field`: a line through the times for few and for many thresholds, two bits each.
    """
    few = _time(bench, Leaf.random(bench, opened, FEW))
    many = _time(bench, Leaf.random(bench, opened, MANY))
    for side, short, long in zip(("send", "recv"), few, many, strict=True):
        field = max(0.0, (long - short) / (2 * (MANY - FEW)))
        bench.figures[f"field_{side}_{opened.k}"] = field
        bench.figures[f"leaves_{side}_{opened.k}"] = max(0.0, short - 2 * FEW * field)


def _multiplexer(bench: Bench) -> None:
    made, n = Multiplexer.random(bench), bench.elements
    bench.per("mux_send", n, made.multiply)
    bench.per("mux_send_adding", n, made.multiply_adding)
    bench.per("open_1", n, partial(made.open, made.multiply()))
    bench.per("widen_send", n, made.widen)
    bench.per("widen_recv", n, partial(made.widened, made.widen()))


def _prepared(bench: Bench) -> None:
    """Of transfers whose pads are made beforehand: what the kernels take that make pads and use
    them at once, divided as on the reference machine.
    """
    for figure in FIGURES.values():
        for part in filter(None, (figure.offline, figure.online)):
            share = REFERENCE[part] / REFERENCE[figure.name]
            bench.figures.setdefault(part, share * bench.figures[figure.name])


def _choices(bench: Bench) -> None:
    """Choices masked and packed by the receiver, unpacked by the sender."""
    o = Opened.random(bench, 2)
    packed = kernels.pack(o.shifts, 2)
    bench.per("choose", bench.elements, lambda: kernels.pack(o.u ^ o.choices, 2))
    bench.per("accept", bench.elements, lambda: kernels.unpack8(packed, bench.elements, 2))
