"""A connection after another one, as a retry makes it, draws everything anew: nothing that it sends
was sent before.
"""

from __future__ import annotations

import numpy as np

from moiety.runtime.party.client import Client
from moiety.runtime.party.endpoints import connect
from moiety.runtime.party.executor import ServerExecutor
from moiety.runtime.party.framing import HEADER, Frame
from moiety.runtime.party.server import ServerOptions
from tests.support.lines import Relay
from tests.support.serving import Running

BLOCK = 8
"""Bytes, of which no two among some millions are alike by chance."""


def payloads(sent: bytes, code: Frame) -> bytes:
    """Of the frames of a kind, joined."""
    found, at = [], 0
    while at < len(sent):
        _, kind, length = HEADER.unpack_from(sent, at)
        at += HEADER.size
        if kind == code:
            found.append(sent[at : at + length])
        at += length
    return b"".join(found)


def repeated(first: bytes, second: bytes) -> list[bytes]:
    """Blocks of the first that are in the second at any offset, but for padding, of which most is
    one byte.
    """
    whole = np.frombuffer(first[: len(first) // BLOCK * BLOCK], np.uint64)
    anywhere = [
        np.frombuffer(second[at : at + (len(second) - at) // BLOCK * BLOCK], np.uint64)
        for at in range(BLOCK)
    ]
    found = [each.tobytes() for each in np.intersect1d(whole, np.concatenate(anywhere))]
    return [block for block in found if max(map(block.count, block)) <= BLOCK // 2]


def test_a_second_connection_repeats_nothing(executor: ServerExecutor) -> None:
    """Of the same image by the same Client, in either direction: no eight bytes of the
    first connection are in the second, wherever.
    """
    server, image = Running(executor, ServerOptions()), np.zeros((2, 8, 8), np.float32)
    client = Client(executor.program, ot="softspoken")
    up: list[bytes] = []
    down: list[bytes] = []
    try:
        for _ in range(2):
            relay = Relay(("127.0.0.1", server.listener.port))
            with client.join(connect("127.0.0.1", relay.port)) as connection:
                connection.infer(image)
            relay.wait()
            up.append(payloads(bytes(relay.up), Frame.DATA))
            down.append(payloads(bytes(relay.down), Frame.DATA))
    finally:
        server.end()
    for first, second in (up, down):
        assert len(first) == len(second) > 100_000
        assert not repeated(first, second)
