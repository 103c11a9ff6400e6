"""The algebra of declared costs: what a protocol sends, draws and computes, in order.

A protocol declares its cost beside its code, as a formula in its sizes, and `cost_of` connects the
two; a test walks all of them and holds each declaration equal to what the meter counts, byte for
byte and flight for flight. Sizes may be integers or sympy expressions; the formulas are the same.
Set-up, key and refill bytes are declared like everything else; what the TCP layer adds (frame
headers, keep-alive) is counted apart by the transport.

A Cost is the sequence of what is sent and of the correlations that are drawn. What drawing costs
depends on the generator: SoftSpoken sends a fixed number of bits for each, silent generation sends
a refill now and then, so its bytes depend on all that was drawn before (protocols/ot/generators).
`Cost.on` puts the two together.

Local work stands beside the messages, as amounts of named figures (how many pads, how many
residues); what a unit of a figure takes is a machine's affair (runtime/cost/machine), and how work
and messages overlap is runtime/cost/clock's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, Protocol, TypeVar

from moiety.protocols.errors import ContractViolation

Size = Any  # int or sympy.Expr
Party = Literal["C", "S"]

BATCH = 128
"""SoftSpoken makes correlations in blocks of so many."""


def _ceil(value: Size, divisor: int) -> Size:
    """`ceil(value / divisor)`, exactly, for an int or a symbolic value."""
    return -(-value // divisor)


def packed(n: Size, bits: Size) -> Size:
    """Bytes of n values of `bits` bits, packed without gaps."""
    return _ceil(n * bits, 8)


def correction_bytes(n: Size, k: int) -> Size:
    """Bytes of SoftSpoken corrections for n correlations of width k: 31*k bits each, in
    blocks of 128.
    """
    return 31 * k * 16 * _ceil(n, BATCH)


def extension_bytes(n: Size, k: int) -> Size:
    """Bytes of one SoftSpoken extension: corrections, also of the rows that mask the check, k
    hashes of u, and a digest.
    """
    return correction_bytes(n, k) + correction_bytes(BATCH, k) + 16 * k + 32


@dataclass(frozen=True)
class Work:
    """`amount` units of local work of the kind `figure` (prices.FIGURES says what a unit is)."""

    figure: str
    amount: Size


Works = tuple[Work, ...]


@dataclass(frozen=True)
class Send:
    """`sender` sends bytes: after the work `made`, and the peer does the work `read` when they
    are there. `ahead`: in front of its next flight, which they belong to. `lane`: of several
    protocols that run side by side, the one whose message it is; likewise below.
    """

    sender: Party
    nbytes: Size
    made: Works = ()
    read: Works = ()
    ahead: bool = False
    lane: int = 0


@dataclass(frozen=True)
class Local:
    """Work of one party that waits for nothing but its own."""

    party: Party
    work: Works
    lane: int = 0


@dataclass(frozen=True)
class Draw:
    """n correlations for k-bit choices of `receiver` are drawn."""

    receiver: Party
    n: Size
    k: int
    lane: int = 0


@dataclass(frozen=True)
class Settle:
    """Everything that was drawn since the last one is checked, as far as that has to wait."""


Event = Send | Draw | Local | Settle


class Generator(Protocol):
    """What drawing correlations sends."""

    def draw(self, demand: Draw) -> Iterable[Send]: ...

    def settle(self) -> Iterable[Send]: ...


class SoftSpoken:
    """The generator that every session has, and that bytes are quoted with where none is named."""

    def draw(self, demand: Draw) -> Iterator[Send]:
        yield Send(demand.receiver, extension_bytes(demand.n, demand.k))

    def settle(self) -> Iterator[Send]:
        """Nothing: what is drawn is checked at once."""
        yield from ()


def other(party: Party) -> Party:
    """The peer."""
    return "S" if party == "C" else "C"


@dataclass(frozen=True)
class Wire:
    """`up`: bytes client -> server, `down`: bytes server -> client; `flights`: who sends, in order,
    one letter ('C' or 'S') per maximal run in one direction.
    """

    up: Size
    down: Size
    flights: str

    @property
    def total(self) -> Size:
        """Bytes both ways."""
        return self.up + self.down


@dataclass(frozen=True)
class Cost:
    """What a protocol sends, draws and computes, in order. `up`, `down`, ... are those
    with SoftSpoken correlations.
    """

    events: tuple[Event, ...] = ()

    @classmethod
    def of(cls, *messages: tuple[Party, Size]) -> Cost:
        """Messages alone: `Cost.of(("C", 10), ("S", 20))`."""
        return cls(tuple(Send(who, nbytes) for who, nbytes in messages))

    def __add__(self, following: Cost) -> Cost:
        """One after the other."""
        return Cost(self.events + following.events)

    def on(self, generator: Generator) -> Wire:
        """The bytes and flights with correlations from `generator`, whose state moves on."""
        up: Size = 0
        down: Size = 0
        flights: list[str] = []
        for event in self.events:
            for message in _messages(event, generator):
                if message.nbytes == 0:
                    continue
                if message.sender == "C":
                    up = up + message.nbytes
                else:
                    down = down + message.nbytes
                if not message.ahead and (not flights or flights[-1] != message.sender):
                    flights.append(message.sender)
        return Wire(up, down, "".join(flights))

    @property
    def up(self) -> Size:
        return self.on(SoftSpoken()).up

    @property
    def down(self) -> Size:
        return self.on(SoftSpoken()).down

    @property
    def flights(self) -> str:
        return self.on(SoftSpoken()).flights

    @property
    def total(self) -> Size:
        return self.on(SoftSpoken()).total


def _messages(event: Event, generator: Generator) -> Iterable[Send]:
    """What an event sends."""
    match event:
        case Local():
            return ()
        case Send():
            return (event,)
        case Draw():
            return generator.draw(event)
        case Settle():
            return generator.settle()


def side_by_side(*lanes: Cost) -> Cost:
    """Protocols of the same flights in lanes (protocols/lanes): each party's events in the order in
    which it turns from lane to lane.
    """
    timed = [
        (turn, replace(event, lane=lane))
        for lane, cost in enumerate(lanes)
        for turn, event in _turns(cost)
    ]
    return Cost(tuple(event for _, event in sorted(timed, key=lambda each: each[0])))


def _turns(cost: Cost) -> Iterator[tuple[int, Send | Draw | Local]]:
    """The events of one lane, each with the number of the flight that its party then makes."""
    flight, sender = 0, None
    for event in cost.events:
        match event:
            case Settle():
                raise ContractViolation("what is settled concerns all lanes")
            case Local(party):
                yield (flight if party == sender else flight + 1), event
                continue
            case Send(party) | Draw(party):
                if party != sender:
                    flight, sender = flight + 1, party
                yield flight, event


def local(figure: str, amount: Size, party: Party | None = None) -> Cost:
    """Work of one party, or the same of both."""
    work = (Work(figure, amount),)
    return Cost(tuple(Local(each, work) for each in ("C", "S") if party in (None, each)))


Interactive = Callable[..., object]
Formula = TypeVar("Formula", bound=Callable[..., Cost])
_declared: dict[Interactive, Callable[..., Cost]] = {}


def cost_of(*protocols: Interactive) -> Callable[[Formula], Formula]:
    """Marks a formula as what these protocols (the two sides of one, or several that cost the same)
    send, draw and compute.
    """

    def declare(formula: Formula) -> Formula:
        _declared.update(dict.fromkeys(protocols, formula))
        return formula

    return declare


def declared_costs() -> Mapping[Interactive, Callable[..., Cost]]:
    """Every protocol of the modules that are loaded, and its formula."""
    return MappingProxyType(_declared)
