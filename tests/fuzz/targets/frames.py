"""What a peer sends before and between runs: frames and control messages."""

from __future__ import annotations

import contextlib
import os
import random
import secrets
from collections.abc import Callable, Iterator
from functools import cache
from unittest.mock import patch

import msgspec

from moiety.protocols.session import Role
from moiety.runtime.party import handshake
from moiety.runtime.party.client import Client
from moiety.runtime.party.executor import ClientExecutor
from moiety.runtime.party.framing import HEADER, MAGIC, Frame, Limits
from moiety.runtime.party.server import worker_line
from moiety.runtime.party.transport import TcpChannel
from moiety.runtime.program import Program
from tests.fuzz.mutation import of_bytes, of_json
from tests.fuzz.target import Target
from tests.support.programs import small_program
from tests.support.runnable import runnable

QUICK = Limits(silence=0.5, patience=1.0)
NONCE = "00" * 16
ASKED = (handshake.Stored, handshake.Prepare, handshake.Begin, handshake.Aggregate)


class Said:
    """A connected stream on which a peer has said all that it ever will."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0
        self._end, other = os.pipe()
        self._ends = (self._end, other)

    def fileno(self) -> int:
        return self._ends[1]

    def send(self, data: memoryview, /) -> int:
        return data.nbytes

    def recv_into(self, buffer: memoryview, /) -> int:
        part = self._data[self._at : self._at + buffer.nbytes]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)

    def settimeout(self, seconds: float | None, /) -> None:
        """It never waits."""

    def shutdown(self, how: int, /) -> None:
        """Nobody is there."""

    def close(self) -> None:
        for end in self._ends:
            with contextlib.suppress(OSError):
                os.close(end)


Reads = Callable[[TcpChannel], object]


def _client(channel: TcpChannel) -> None:
    """A hospital's greeting, its wait, and what it is told after a run."""
    program = _program()
    client = Client(program, batch=8)
    with patch.object(secrets, "token_hex", lambda nbytes: NONCE):
        met = client.shake_hands(channel)
    if not isinstance(met, handshake.Elsewhere):
        executor = ClientExecutor(program)
        handshake.batch_sizes(met[1].batches, client.batch, executor.layout)
        handshake.receive(channel, handshake.Served)


def _server(channel: TcpChannel) -> None:
    """A vendor's greeting, and what a client may ask for."""
    program = _program()
    handshake.meet(channel, handshake.hello(Role.SERVER, program), 1.0)
    while True:
        handshake.receive(channel, *ASKED)


def _front(channel: TcpChannel) -> None:
    """Of a server, what its worker says; and the other way."""
    kinds = (worker_line.Redeem, worker_line.Take, worker_line.Told, worker_line.Taken)
    while True:
        handshake.receive(channel, *kinds, decoder=worker_line.DECODER)


def _frames(channel: TcpChannel) -> None:
    """Protocol bytes and messages in turn."""
    for nbytes in (1, 16, 1000):
        channel.recv(nbytes)
        channel.receive_message()


@cache
def _program() -> Program:
    return runnable(small_program())


LISTENERS: tuple[Reads, ...] = (_client, _server, _front, _frames)


def run_frames(data: bytes) -> None:
    if not data:
        return
    channel = TcpChannel(Said(data[1:]), "the peer", QUICK)
    try:
        LISTENERS[data[0] % len(LISTENERS)](channel)
    finally:
        channel.abort()


def frame_seeds() -> Iterator[bytes]:
    program = _program()
    refusal = handshake.Refusal(reason="busy", message="later", seconds=3.0)
    served = handshake.Served(seconds=1.0, cpu_seconds=1.0, peak_rss=1)
    hello = {role: handshake.hello(role, program, batches={2: "0" * 64}) for role in Role}
    ready = handshake.Ready(nonce=NONCE, images_left=3)
    begin = handshake.Begin(index=0, images=2)
    yield b"\0" + said(hello[Role.SERVER], handshake.Waiting(ahead=2), ready, served)
    there = handshake.Elsewhere(host="h", port=1, ticket="t", nonce=NONCE)
    yield b"\0" + said(hello[Role.SERVER], there)
    yield b"\0" + said(hello[Role.SERVER]) + _frame(Frame.ERROR, msgspec.json.encode(refusal))
    yield b"\1" + said(hello[Role.CLIENT], begin, handshake.Aggregate(cohort="c", images=4))
    stored, more = handshake.Stored(position="00"), handshake.Prepare(index=1)
    taken = handshake.Begin(index=0, item=0, position="00")
    yield b"\1" + said(hello[Role.CLIENT], stored, more, taken)
    asked = worker_line.Redeem(ticket="t", fingerprint=None), worker_line.Take(images=1)
    yield b"\2" + said(*asked, worker_line.Taken(denied="no"))
    message = _frame(Frame.MESSAGE, b"{}")
    yield b"\3" + b"".join(_frame(Frame.DATA, bytes(n)) + message for n in (1, 16, 1000))


def said(*messages: handshake.Message) -> bytes:
    """The frames of control messages."""
    return b"".join(_frame(Frame.MESSAGE, msgspec.json.encode(each)) for each in messages)


def _frame(kind: int, payload: bytes) -> bytes:
    return HEADER.pack(MAGIC, kind, len(payload)) + payload


def of_frames(data: bytes, rng: random.Random) -> bytes:
    """Whole frames, one of which says something else; the rest of what this peer would have."""
    frames, at = [], 1
    while at + HEADER.size <= len(data):
        _, kind, length = HEADER.unpack_from(data, at)
        at += HEADER.size
        frames.append((kind, data[at : at + length]))
        at += length
    which = rng.randrange(len(frames))
    kind, payload = frames[which]
    match rng.randrange(6):
        case 0:
            frames.insert(which, rng.choice(frames))
        case 1:
            frames[which] = rng.randrange(8), payload
        case 2:
            frames[which] = kind, of_bytes(payload, rng)
        case _:
            frames[which] = kind, of_json(payload, rng)
    return data[:1] + b"".join(_frame(kind, payload) for kind, payload in frames)


FRAMES = Target("frames", run_frames, frame_seeds, of_frames, longest=1 << 13)
