"""One ReLU, message by message: everything that two parties send for 1,024 values, caught on the
channel, each message named by the function that sends it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

import numpy as np

from moiety.protocols.compare.relu import relu
from moiety.protocols.session import Role
from moiety.protocols.setup import open_session
from tests.project.pictures.svg import Picture
from tests.support.two_party import MemoryChannel, Pipe, run_both, share

VALUES, BITS, OUT_BITS = 1024, 13, 34
WIDTH, TOP, LEFT, RIGHT = 960, 130, 150, 810

# The innermost of these functions that is on the stack says what a message is. Choices have no
# words: they go with what is chosen, and are named by who asks for them.
MEANINGS = {
    "extend": "fresh correlations",
    "share_digits": "its digits, masked",
    "leaf": "answers: is mine less, is it equal?",
    "join_round": "its part of a join, masked",
    "join": "answers: the parts put together",
    "_multiplex_client": "its share of the gate, masked",
    "multiply": "answers: its share of x, or 0",
    "multiply_adding": "answers: its share of x, or 0",
    "widen": "answers: the bits above, by the sign",
}
SERVER_CHOOSES = ("its share of the gate, masked", "the sign of its share, masked")
"""What the server chooses in a multiplexer, in order."""


@dataclass
class Flight:
    """A maximal run of messages in one direction: what they are, and their bytes."""

    sender: Role
    contents: list[tuple[str, int]] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        return sum(nbytes for _, nbytes in self.contents)

    def add(self, meaning: str, nbytes: int) -> None:
        """Messages of one meaning are one line."""
        for place, (said, before) in enumerate(self.contents):
            if said == meaning:
                self.contents[place] = (said, before + nbytes)
                return
        self.contents.append((meaning, nbytes))


@dataclass
class Record:
    """All flights of both parties, from when both have opened their sessions."""

    flights: list[Flight] = field(default_factory=list)
    choices: list[str] = field(default_factory=lambda: list(SERVER_CHOOSES))

    def note(self, sender: Role, nbytes: int) -> None:
        meaning = self._meaning()
        if meaning is None:
            return
        if not self.flights or self.flights[-1].sender is not sender:
            self.flights.append(Flight(sender))
        self.flights[-1].add(meaning, nbytes)

    def _meaning(self) -> str | None:
        """None in the set-up."""
        frame, names = sys._getframe(2), []
        while frame.f_back is not None:
            names.append(frame.f_code.co_name)
            frame = frame.f_back
        if "open_session" in names:
            return None
        found = next((name for name in names if name in (*MEANINGS, "_multiplex_server")), None)
        if found is None:
            raise AssertionError(f"a message that the picture has no words for, from {names[:8]}")
        return self.choices.pop(0) if found == "_multiplex_server" else MEANINGS[found]


class Tap(MemoryChannel):
    """One end, which tells the record what it sends."""

    def __init__(self, outgoing: Pipe, incoming: Pipe, sender: Role, record: Record) -> None:
        super().__init__(outgoing, incoming, 60.0)
        self._sender, self._record = sender, record

    def _write(self, data: memoryview) -> None:
        self._record.note(self._sender, data.nbytes)
        super()._write(data)


def flights() -> list[Flight]:
    """Of a real run, whose results are looked at."""
    record, down, up = Record(), Pipe(), Pipe()
    ends = Tap(down, up, Role.SERVER, record), Tap(up, down, Role.CLIENT, record)
    rng = np.random.default_rng(1)
    x = rng.integers(0, 1 << BITS, VALUES, np.uint64)
    held = share(x, BITS, rng)

    def side(role: Role) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64]]:
        return relu(open_session(role, ends[role]), held[role], BITS, OUT_BITS)

    y0, y1 = run_both(lambda: side(Role.SERVER), lambda: side(Role.CLIENT), ends)
    expected = np.where(x < 1 << (BITS - 1), x, 0)
    assert ((y0 + y1) % (1 << OUT_BITS) == expected).all()
    return record.flights


def draw() -> Picture:
    found = flights()
    height = sum(_height(flight) for flight in found)
    total = sum(flight.nbytes for flight in found)
    picture = Picture(
        "relu",
        "One ReLU, message by message",
        f"Two parties and {len(found)} flights between them: the comparison of digits, the joins, "
        "and the multiplexer with its extension. Every message is masked; each party begins and "
        "ends with shares.",
        WIDTH,
        TOP + height + 74,
    )
    picture.words((24, 30), "One ReLU, message by message", "head")
    says = f"{VALUES:,} values of {BITS} bits, into a ring of {OUT_BITS}: {len(found)} flights"
    picture.words((24, 52), f"{says}, {8 * total / VALUES:.0f} bits a value", "soft small")
    for x, style, name in ((LEFT, "vendor", "vendor"), (RIGHT, "hospital", "hospital")):
        picture.labelled((x - 105, 72), (210, 36), f"{name}: x{int(x == RIGHT)}", style, "bold")
        picture.line((x, 108), (x, TOP + height + 14))
        foot = f"relu(x){int(x == RIGHT)}, fresh"
        picture.labelled((x - 105, TOP + height + 14), (210, 36), foot, style, "bold")
    y = float(TOP)
    for number, flight in enumerate(found, 1):
        _flight(picture, flight, number, y)
        y += _height(flight)
    return picture


def _height(flight: Flight) -> int:
    return 34 + 19 * len(flight.contents)


def _flight(picture: Picture, flight: Flight, number: int, y: float) -> None:
    """Its contents above its arrow."""
    down = flight.sender is Role.SERVER
    style = "vendor" if down else "hospital"
    middle, at = (LEFT + RIGHT) / 2, y + 12
    for meaning, nbytes in flight.contents:
        picture.words((LEFT + 40, at + 4), meaning)
        count = 8 * nbytes / VALUES
        bits = f"{count:g} bit{'s' * (count != 1)}"
        picture.words((RIGHT - 40, at + 4), bits, "soft small", "end")
        at += 19
    start, end = (LEFT + 4, RIGHT - 3) if down else (RIGHT - 4, LEFT + 3)
    picture.arrow([(start, at), (end, at)], style)
    picture.box((middle - 13, at - 10), (26, 20), style, 10)
    picture.words((middle, at + 4.5), str(number), "small bold", "middle")
