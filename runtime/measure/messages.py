"""Figures of the network's part: what a byte and a message cost over TCP on this machine."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import numpy as np

from moiety.protocols.channel import Channel
from moiety.protocols.errors import NetworkFailure
from moiety.runtime.measure.bench import Bench
from moiety.runtime.party.endpoints import Listener, connect, parse_address

_SMALL, _SMALL_COUNT = 64, 400
_LARGE, _LARGE_COUNT = 1 << 20, 40
"""Bytes of a message, and how many go each way."""


def messages(bench: Bench) -> None:
    """All threads of both ends together, halved: a message is made on one end and read on the
    other, two units of work.
    """
    with _connected() as (near, far):
        small = min(_exchange(near, far, _SMALL_COUNT, _SMALL) for _ in range(bench.repeats))
        large = min(_exchange(near, far, _LARGE_COUNT, _LARGE) for _ in range(bench.repeats))
        bookkeeping = bench.time(lambda: _bookkeeping(near))
    message = small / _SMALL_COUNT / 2
    byte = max(0.0, large / (_LARGE_COUNT * _LARGE) - message / _LARGE) / 2
    bench.figures["message"] = message
    bench.figures["send_byte"] = bench.figures["receive_byte"] = byte
    bench.figures["step"] = bookkeeping + message


@contextlib.contextmanager
def _connected() -> Iterator[tuple[Channel, Channel]]:
    """Two ends of a TCP connection of this machine with itself."""
    with contextlib.closing(Listener.at("127.0.0.1", 0)) as listener:
        near = connect(*parse_address(listener.address))
        far = listener.accept()
    if far is None:
        raise NetworkFailure("this machine does not answer to itself at 127.0.0.1")
    with contextlib.closing(near), contextlib.closing(far):
        yield near, far


def _exchange(near: Channel, far: Channel, count: int, size: int) -> float:
    """Processor nanoseconds of `count` messages there and acknowledgements back, per direction."""
    # Another part of memory for every message: caches are cold in a protocol.
    data = np.ones((count, size), np.uint8)

    def answer() -> None:
        for each in data:
            far.recv(size)
            far.send(each)
        far.flush()

    thread = threading.Thread(target=answer)
    start = time.process_time_ns()
    thread.start()
    for each in data:
        near.send(each)
        near.recv(size)
    thread.join()
    return (time.process_time_ns() - start) / 2


def _bookkeeping(channel: Channel) -> None:
    with channel.meter.labelled("step"):
        pass
