"""A relay between one client and a server, with one fault in one of its directions."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from types import TracebackType

from tests.faults.fault import Fault, Way

CHUNK = 1 << 16
DRIP = 0.02
"""Seconds between two bytes of a line that drips: 50 bytes a second."""
HELD = 0.3
"""Seconds that what is to be reordered waits for what follows it."""


class _Direction:
    """One way. `passed`: bytes that have come so far. What has failed once is `mute`: it takes what
    still comes, so that the end of its source is seen, and passes nothing on.
    """

    def __init__(self, fault: Fault | None) -> None:
        self._fault = fault
        self.passed = 0
        self.reached = False
        self.mute = False
        self._dripping = False
        self.source: asyncio.StreamReader
        self.target: asyncio.StreamWriter
        self.back: asyncio.StreamWriter

    async def run(self) -> None:
        """Until the source ends."""
        try:
            while data := await self.source.read(CHUNK):
                await self._take(data)
            if not self.mute:
                self.target.write_eof()
        except OSError:
            if not self.mute:
                self.target.transport.abort()

    async def _take(self, data: bytes) -> None:
        start, self.passed = self.passed, self.passed + len(data)
        fault = self._fault
        if fault is None or self.reached or self.passed <= fault.at:
            await self._put(data)
            return
        self.reached = True
        place = fault.at - start
        await self._put(data[:place])
        await self._fail(fault, data[place:])

    async def _put(self, data: bytes) -> None:
        try:
            if self._dripping:
                await self._drip(data)
            elif not self.mute:
                self.target.write(data)
                await self.target.drain()
        except OSError:
            self.mute = True

    async def _drip(self, data: bytes) -> None:
        for octet in data:
            if self.mute:
                return
            self.target.write(bytes([octet]))
            await self.target.drain()
            await asyncio.sleep(DRIP)

    async def _fail(self, fault: Fault, rest: bytes) -> None:
        """`rest`: what is there from the fault's place on, at least a byte."""
        size = min(fault.size, len(rest))
        match fault.kind:
            case "delay":
                await asyncio.sleep(fault.seconds)
                await self._put(rest)
            case "drip":
                self._dripping = True
                await self._put(rest)
            case "cut":
                self._cut(fault.abrupt)
            case "stall":
                self.mute = True
            case "half-close":
                self.target.write_eof()
                self.mute = True
            case "truncate":
                await self._put(rest[size:])
            case "flood":
                await self._put(os.urandom(fault.size) + rest)
            case "duplicate":
                await self._put(rest[:size] + rest)
            case "corrupt":
                await self._put(bytes([rest[0] ^ fault.mask]) + rest[1:])
            case "reorder":
                await self._reorder(rest[:size], rest[size:])

    def _cut(self, abrupt: bool) -> None:
        self.mute = True
        for writer in (self.target, self.back):
            if abrupt:
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            else:
                writer.close()

    async def _reorder(self, held: bytes, after: bytes) -> None:
        if not after:
            with contextlib.suppress(TimeoutError):
                after = await asyncio.wait_for(self.source.read(CHUNK), HELD)
            self.passed += len(after)
        await self._put(after + held)


class Proxy:
    """Listens at `port` for one client. `over` is set when both parties have ended: each by itself,
    but where the fault ends the connection.
    """

    def __init__(self, server_port: int, fault: Fault | None) -> None:
        self._server_port = server_port
        self.up, self.down = (
            _Direction(fault if fault is not None and fault.way == way else None) for way in _ways()
        )
        self.over = asyncio.Event()
        self.met = False
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Proxy:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._listener.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.met = True
        theirs, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
        self._writers += [writer, to_server]
        self.up.source, self.up.target, self.up.back = reader, to_server, writer
        self.down.source, self.down.target, self.down.back = theirs, writer, to_server
        await asyncio.gather(self.up.run(), self.down.run())
        self.over.set()
        for each in self._writers:
            each.close()

    @property
    def passed(self) -> tuple[int, int]:
        """Bytes that have come so far: from the client, from the server."""
        return self.up.passed, self.down.passed

    @property
    def reached(self) -> bool:
        """Whether the fault's place was."""
        return self.up.reached or self.down.reached


def _ways() -> tuple[Way, Way]:
    return "up", "down"
