"""What a protocol sees of the network: bytes to and from one peer, in order. Sockets are
in runtime/party/transport.py.

A protocol always knows how many bytes come next, so `recv` takes a length and there is no
per-message header here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

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
    """Counts per label; `flights` counts changes of direction plus the first message, over the
    whole life of the channel.
    """

    by_label: dict[str, Traffic] = field(default_factory=dict)
    total: Traffic = field(default_factory=Traffic)
    label: str = ""
    _direction: int = 0

    def count(self, sent: int, received: int) -> None:
        direction = 1 if sent else -1
        turned = direction != self._direction
        self._direction = direction
        for t in (self.total, self.by_label.setdefault(self.label, Traffic())):
            t.sent += sent
            t.received += received
            t.flights += turned

    @contextmanager
    def labelled(self, label: str) -> Iterator[None]:
        before, self.label = self.label, label
        try:
            yield
        finally:
            self.label = before


@dataclass
class _Expected:
    """Bytes that the peer owes, once they are there."""

    nbytes: int
    data: U8 | None = None

    def read(self, receive: Callable[[int], U8]) -> None:
        self.data = receive(self.nbytes)


class Channel(ABC):
    """One peer. `send` may buffer and must not block on the peer's reading; `recv` flushes what was
    sent and blocks.

    A message that the peer does not wait for may travel with a later one: what a party owes leaves
    with its next `send`, or with `settle`; what it expects is read before whatever comes after.
    """

    def __init__(self) -> None:
        self.meter = Meter()
        self._owed: list[U8] = []
        self._expected: deque[_Expected] = deque()

    @abstractmethod
    def _write(self, data: memoryview) -> None: ...

    @abstractmethod
    def _read(self, nbytes: int) -> bytes | bytearray | memoryview: ...

    def send(self, data: bytes | bytearray | memoryview | npt.NDArray[np.generic]) -> None:
        """Queue `data`; arrays go as their C-order bytes. The caller must not change a mutable
        buffer afterwards.
        """
        self.settle()
        view = np.ascontiguousarray(data).data if isinstance(data, np.ndarray) else memoryview(data)
        if view.nbytes:
            self.meter.count(view.nbytes, 0)
            self._write(view.cast("B"))

    def recv(self, nbytes: int) -> U8:
        """Exactly `nbytes` from the peer as uint8 `(nbytes,)`. Raises `NetworkFailure` when the
        peer is gone.
        """
        while self._expected:
            self._expected.popleft().read(self._receive)
        return self._receive(nbytes)

    def owe(self, data: U8) -> None:
        """Send `data`, uint8, in front of this party's next message."""
        self._owed.append(data)

    def settle(self) -> None:
        """Send what is owed."""
        owed, self._owed = self._owed, []
        for data in owed:
            self.send(data)

    def expect(self, nbytes: int) -> Callable[[], U8]:
        """What returns the next `nbytes` from the peer, which it owes: they are read then, or
        before anything that comes after them.
        """
        expected = _Expected(nbytes)
        self._expected.append(expected)

        def take() -> U8:
            while expected.data is None:
                self._expected.popleft().read(self._receive)
            return expected.data

        return take

    def _receive(self, nbytes: int) -> U8:
        if nbytes == 0:
            return np.zeros(0, np.uint8)
        data = np.frombuffer(self._read(nbytes), np.uint8)
        self.meter.count(0, nbytes)
        return data

    def flush(self) -> None:  # noqa: B027 - nothing to do for an unbuffered channel
        """Hand everything queued to the network."""
