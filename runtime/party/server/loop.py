"""The server's one loop: it waits for whatever is ready, and never for anything else."""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections.abc import Callable


class Loop:
    """Sockets and what to do when one can be read. What the loop watches belongs to this process: a
    process that is forked off closes all of it.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._resting: set[socket.socket] = set()

    def watch(self, sock: socket.socket, ready: Callable[[], None]) -> None:
        """Call `ready` whenever `sock` can be read."""
        self._resting.discard(sock)
        self._selector.register(sock, selectors.EVENT_READ, ready)

    def rest(self, sock: socket.socket) -> None:
        """Keep it, and do nothing when it can be read, until it is watched again."""
        self._selector.unregister(sock)
        self._resting.add(sock)

    def forget(self, sock: socket.socket) -> None:
        if sock in self._resting:
            self._resting.remove(sock)
        else:
            self._selector.unregister(sock)

    def turn(self, seconds: float) -> None:
        """Wait for at most so long, and do what is to be done."""
        for key, _ in self._selector.select(seconds):
            # What came before in this turn may have closed it.
            if key.fileobj in self._selector.get_map():
                key.data()

    def close(self, keep: socket.socket | None = None) -> None:
        """Close everything that is watched or rests, but `keep`."""
        watched = [key.fileobj for key in self._selector.get_map().values()]
        for sock in (*watched, *self._resting):
            if sock is not keep and isinstance(sock, socket.socket):
                with contextlib.suppress(OSError):
                    sock.close()
        self._selector.close()
