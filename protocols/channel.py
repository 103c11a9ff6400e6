"""What a protocol sees of the network: bytes to and from one peer, in order. Sockets are
in runtime/party/transport.py.

A protocol always knows how many bytes come next, so `recv` takes a length and there is no
per-message header here. Protocols that run side by side share the channel as `Lane`s
(protocols/lanes).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from moiety.protocols.arrays import U8


@dataclass
class Traffic:
    """Bytes sent and received under one label, and the flights (maximal runs in one
    direction) seen.
    """

    sent: int = 0
    received: int = 0
    flights: int = 0


@dataclass
class Meter:
    """Counts per label. `flights`: those of the whole life of the channel; what lanes send side by
    side travels together, and counts once.
    """

    by_label: dict[str, Traffic] = field(default_factory=dict)
    total: Traffic = field(default_factory=Traffic)
    label: str = ""
    _flights: int = 0

    def count(self, sent: int, received: int, flights: int) -> None:
        """One message, in the flight of this number."""
        begun = max(0, flights - self._flights)
        self._flights += begun
        if (labelled := self.by_label.get(self.label)) is None:
            labelled = self.by_label[self.label] = Traffic()
        for t in (self.total, labelled):
            t.sent += sent
            t.received += received
            t.flights += begun

    @contextmanager
    def labelled(self, label: str) -> Iterator[None]:
        before, self.label = self.label, label
        try:
            yield
        finally:
            self.label = before


class Direction(Enum):
    """Of a flight, as this party sees it."""

    OUT = "out"
    IN = "in"


def _go_on() -> object:
    """Nobody else is there to go first."""
    return None


@dataclass
class Lane:
    """Where one protocol on a channel stands: in which flight, the how manieth, and what the peer
    has promised to put in front of its next one. `pause` lets the other lanes go first.
    """

    direction: Direction | None = None
    flights: int = 0
    promised: list[Callable[[], None]] = field(default_factory=list)
    pause: Callable[[], object] = _go_on

    def turn(self, direction: Direction) -> None:
        """The next message goes this way."""
        if self.direction is not direction:
            self.direction = direction
            self.flights += 1


class Channel(ABC):
    """One peer. `send` may buffer and must not block on the peer's reading; `recv` flushes what was
    sent and blocks.

    A message that the peer does not wait for may travel `ahead` of its sender's next flight; what a
    party expects so is read where that flight begins. `silent`: there is no peer, so what is sent
    need not be made.
    """

    silent: ClassVar[bool] = False

    def __init__(self) -> None:
        self.meter = Meter()
        self.lane = Lane()

    @abstractmethod
    def _write(self, data: memoryview) -> None: ...

    @abstractmethod
    def _read(self, nbytes: int) -> bytes | bytearray | memoryview: ...

    def send(
        self, data: bytes | bytearray | memoryview | npt.NDArray[np.generic], ahead: bool = False
    ) -> None:
        """Queue `data`; arrays go as their C-order bytes. The caller must not change a mutable
        buffer afterwards. `ahead`: the message belongs to this party's next flight, although the
        peer's is not read to its end.
        """
        view = np.ascontiguousarray(data).data if isinstance(data, np.ndarray) else memoryview(data)
        if view.nbytes:
            if not ahead:
                self.lane.turn(Direction.OUT)
            self.meter.count(view.nbytes, 0, self.lane.flights)
            self._write(view.cast("B"))

    def await_flight(self) -> None:
        """The next message is the peer's. Where that begins a flight, other lanes go first, and
        what the peer was to put in front is read. `recv` does it; a protocol must only where
        something that both parties count, as correlations, comes before the first `recv`.
        """
        lane = self.lane
        if lane.direction is not Direction.IN:
            self.flush()
            lane.pause()
            lane.turn(Direction.IN)
            promised, lane.promised = lane.promised, []
            for read in promised:
                read()

    def expect(self, nbytes: int) -> Callable[[], U8]:
        """What returns the next `nbytes` that the peer sends `ahead`; they are read where its next
        flight begins.
        """
        read: list[U8] = []
        self.lane.promised.append(lambda: read.append(self.recv(nbytes)))

        def take() -> U8:
            self.await_flight()
            return read[0]

        return take

    def recv(self, nbytes: int) -> U8:
        """Exactly `nbytes` from the peer as uint8 `(nbytes,)`. Raises `NetworkFailure` when the
        peer is gone.
        """
        if nbytes == 0:
            return np.zeros(0, np.uint8)
        self.await_flight()
        data = np.frombuffer(self._read(nbytes), np.uint8)
        self.meter.count(0, nbytes, self.lane.flights)
        return data

    def flush(self) -> None:  # noqa: B027 - nothing to do for an unbuffered channel
        """Hand everything queued to the network."""
