"""A whole run with everything that was sent, and the statistic that bytes are judged by."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest

from moiety.protocols import kernels
from moiety.protocols.arrays import F32, U8, U64
from moiety.protocols.ot.generators import NEVER_SILENT
from moiety.protocols.parallel import Workers
from moiety.protocols.session import Role, Session
from moiety.protocols.setup import open_session
from moiety.runtime import program as ir
from moiety.runtime.party.executor import ClientExecutor, ServerExecutor
from moiety.runtime.program.weights import Weights
from tests.support.two_party import MemoryChannel, Pipe, run_both

slow = pytest.mark.skipif(
    kernels.backend_name() == "reference", reason="takes a minute without compiled kernels"
)
GENERATORS = pytest.mark.parametrize("silent_from", [NEVER_SILENT, pytest.param(1, marks=slow)])
"""SoftSpoken correlations alone, then silent ones alone."""


class Wiretap(MemoryChannel):
    """Keeps what it sent: (label, bytes) of every message."""

    def __init__(self, outgoing: Pipe, incoming: Pipe, timeout: float) -> None:
        super().__init__(outgoing, incoming, timeout)
        self.messages: list[tuple[str, bytes]] = []

    def _write(self, data: memoryview) -> None:
        self.messages.append((self.meter.label, bytes(data)))
        super()._write(data)


@dataclass
class Tapped:
    """Two parties after some images: their taps, and the client's RLWE secrets by image."""

    program: ir.Program
    server: Wiretap
    client: Wiretap
    secrets: list[bytes] = field(default_factory=list)

    @property
    def messages(self) -> list[tuple[str, bytes]]:
        return self.server.messages + self.client.messages


def run(
    program: ir.Program,
    weights: Weights,
    images: list[F32],
    silent_from: int,
    threads: int = 1,
) -> Tapped:
    down: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    up: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    tapped = Tapped(program, Wiretap(down, up, 60.0), Wiretap(up, down, 60.0))

    @contextmanager
    def session_of(role: Role, channel: Wiretap) -> Iterator[Session]:
        with Workers(threads) as workers:
            yield open_session(
                role,
                channel,
                silent_from=silent_from,
                workers=workers,
                network=program.planned_for,
            )

    def server() -> None:
        executor = ServerExecutor(program, weights)
        executor.prepare()
        with session_of(Role.SERVER, tapped.server) as session:
            for _ in images:
                executor.run(session)

    def client() -> None:
        executor = ClientExecutor(program)
        with session_of(Role.CLIENT, tapped.client) as session:
            for image in images:
                executor.run(session, image)
                tapped.secrets.extend(key.secret.tobytes() for key in session.secret_keys)

    run_both(server, client, (tapped.server, tapped.client))
    return tapped


def zeros(program: ir.Program) -> F32:
    return np.zeros(program.input.shape, np.float32)


def brightest(program: ir.Program) -> F32:
    return np.full(program.input.shape, 1e6, np.float32)


def words(messages: list[tuple[str, bytes]]) -> U64:
    """All aligned 64-bit words of some messages."""
    return np.concatenate([np.frombuffer(data, np.uint64, len(data) // 8) for _, data in messages])


LEAST_BYTES = 40
"""Of bytes that can be judged at all."""


def deviates(octets: U8) -> bool:
    """Whether some bytes are not uniform, by the finest histogram that they fill: of bytes, of half
    bytes, or of bits; at least LEAST_BYTES. Of uniform bytes it is so less than
    once in 10^9 times.
    """
    assert octets.size >= LEAST_BYTES, f"{octets.size} bytes are too few to be judged"
    if octets.size >= 20 * 256:
        return chi_square(octets) > 436
    bits = np.unpackbits(octets)
    if octets.size < 20 * 8:
        return abs(int(bits.sum()) - bits.size / 2) > 6.2 * np.sqrt(bits.size) / 2
    counts = np.bincount(np.concatenate([octets >> 4, octets & 15]), minlength=16)
    expected = octets.size / 8
    return float(((counts - expected) ** 2 / expected).sum()) > 73


def chi_square(octets: U8) -> float:
    """Of a histogram of bytes against the uniform one: mean 255, deviation 22.6."""
    counts = np.bincount(octets, minlength=256)
    expected = octets.size / 256
    return float(((counts - expected) ** 2 / expected).sum())
