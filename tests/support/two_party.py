"""Both parties of a protocol in one process: two threads over an in-memory channel."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from moiety.protocols.arrays import U64
from moiety.protocols.channel import Channel
from moiety.protocols.errors import NetworkFailure
from moiety.protocols.network import LAN, Network
from moiety.protocols.ot.generators import NEVER_SILENT
from moiety.protocols.ot.on_demand import TransferReceiver, TransferSender
from moiety.protocols.ot.transfers import Receiver, Sender
from moiety.protocols.parallel import Workers
from moiety.protocols.prg import Prg
from moiety.protocols.ring import reduce
from moiety.protocols.session import Role, Session
from moiety.protocols.setup import open_session

A = TypeVar("A")
B = TypeVar("B")

Pipe = queue.SimpleQueue[bytes | None]
"""One direction between two parties of a process; None closes it."""


class MemoryChannel(Channel):
    """One end of a pair of byte queues; also keeps a digest of everything it sent."""

    def __init__(self, outgoing: Pipe, incoming: Pipe, timeout: float) -> None:
        super().__init__()
        self._outgoing, self._incoming, self._timeout = outgoing, incoming, timeout
        self._pending = bytearray()
        self.digest = hashlib.sha256()

    def _write(self, data: memoryview) -> None:
        self.digest.update(data)
        self._outgoing.put(bytes(data))

    def _read(self, nbytes: int) -> bytes:
        while len(self._pending) < nbytes:
            try:
                part = self._incoming.get(timeout=self._timeout)
            except queue.Empty:
                raise NetworkFailure(f"no message within {self._timeout} s") from None
            if part is None:
                raise NetworkFailure("the other party stopped")
            self._pending += part
        data = bytes(self._pending[:nbytes])
        del self._pending[:nbytes]
        return data

    def close(self) -> None:
        self._outgoing.put(None)


def channel_pair(timeout: float = 60.0) -> tuple[MemoryChannel, MemoryChannel]:
    """(server's end, client's end)."""
    down, up = Pipe(), Pipe()
    return MemoryChannel(down, up, timeout), MemoryChannel(up, down, timeout)


def run_both(
    server: Callable[[], A],
    client: Callable[[], B],
    channels: tuple[MemoryChannel, MemoryChannel],
    timeout: float = 120.0,
) -> tuple[A, B]:
    """Run two callables in threads; raises the first error of either side, and on a time-out."""
    results: dict[int, Any] = {}
    errors: list[tuple[int, BaseException]] = []

    def body(index: int, function: Callable[[], Any]) -> None:
        try:
            results[index] = function()
        except BaseException as error:
            errors.append((index, error))
        finally:
            channels[index].close()

    threads = [
        threading.Thread(target=body, args=(i, f), daemon=True)
        for i, f in enumerate((server, client))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout)
    # The party that failed first is the cause; the other one then only sees a closed channel.
    root = [e for e in errors if not isinstance(e[1], NetworkFailure)] or errors
    if root:
        raise root[0][1]
    if len(results) < 2:
        raise TimeoutError("a party did not finish")
    return results[0], results[1]


@dataclass
class Outcome:
    """What the two parties returned, and their channels after the run (set-up included in the
    meters).
    """

    server: Any
    client: Any
    channels: tuple[MemoryChannel, MemoryChannel]

    def __iter__(self) -> Any:
        return iter((self.server, self.client))


def run_two_party(
    server: Callable[[Session], Any],
    client: Callable[[Session], Any],
    seed: int | None = None,
    timeout: float = 120.0,
    threads: int = 1,
    silent_from: int = NEVER_SILENT,
    network: Network = LAN,
) -> Outcome:
    """Open a session on both sides (real base transfers) and run the two functions. `seed` fixes
    both parties' randomness, for baselines; `threads` are each party's.
    """
    channels = channel_pair(timeout)

    def side(role: Role, function: Callable[[Session], A]) -> Callable[[], A]:
        prg = None if seed is None else Prg(hashlib.sha256(f"{seed}/{role}".encode()).digest()[:16])

        def body() -> A:
            with Workers(threads) as workers:
                session = open_session(role, channels[role], prg, silent_from, workers, network)
                if seed is not None:
                    # The digest then covers the protocol alone, not the set-up.
                    channels[role].digest = hashlib.sha256()
                return function(session)

        return body

    return Outcome(
        *run_both(side(Role.SERVER, server), side(Role.CLIENT, client), channels, timeout), channels
    )


def share(x: U64, bits: int, rng: np.random.Generator) -> tuple[U64, U64]:
    """Random additive shares of ring elements."""
    first = reduce(rng.integers(0, 2**64, x.shape, np.uint64), bits)
    return first, reduce(x - first, bits)


def vole(end: Sender | Receiver) -> Any:
    """The generator that one end of a session draws from: what no protocol sees."""
    assert isinstance(end, TransferSender | TransferReceiver)
    return end._vole
