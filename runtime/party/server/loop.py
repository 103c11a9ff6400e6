"""The server's one loop: it waits for whatever is ready, and never for anything else."""

from __future__ import annotations

import contextlib
import selectors
from collections.abc import Callable
from typing import Protocol

from moiety.runtime.party.signals import held


class Watched(Protocol):
    """A socket, or what else the system can wait for."""

    def fileno(self) -> int: ...

    def close(self) -> None: ...


class Loop:
    """Sockets and what to do when one can be read. What the loop watches belongs to this process: a
    process that is forked off closes all of it.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._all: set[Watched] = set()

    def watch(self, sock: Watched, ready: Callable[[], None]) -> None:
        """Call `ready` whenever `sock` can be read."""
        self._all.add(sock)
        self._selector.register(sock, selectors.EVENT_READ, ready)

    def rest(self, sock: Watched) -> None:
        """Keep it, and do nothing when it can be read, until it is watched again."""
        self._selector.unregister(sock)

    def forget(self, sock: Watched) -> None:
        self._all.remove(sock)
        if sock in self._selector.get_map():
            self._selector.unregister(sock)

    def turn(self, seconds: float) -> None:
        """Wait for at most so long, and do what is to be done. A signal to stop is heard before or
        after that: a word that has been taken from a socket would else be lost.
        """
        ready = self._selector.select(seconds)
        with held():
            for key, _ in ready:
                # What came before in this turn may have closed it.
                if key.fileobj in self._selector.get_map():
                    key.data()

    def close(self, keep: Watched | None = None) -> None:
        """Close everything that is watched or rests, but `keep`."""
        for sock in self._all - {keep}:
            with contextlib.suppress(OSError):
                sock.close()
        self._selector.close()
