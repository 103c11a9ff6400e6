"""Protocols of prepared runs, recorded, prepared and run in one session."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from moiety.protocols.arrays import U8
from moiety.protocols.preparation import answering, prepare
from moiety.protocols.recording import record_known
from moiety.protocols.session import Session

T = TypeVar("T")


@dataclass
class StreamsInMemory:
    """A `Sink` and a `Source`."""

    streams: dict[str, bytearray] = field(default_factory=lambda: defaultdict(bytearray))

    def write(self, name: str, data: U8) -> None:
        self.streams[name] += np.ascontiguousarray(data).tobytes()

    def read(self, name: str, nbytes: int) -> U8:
        taken = bytes(self.streams[name][:nbytes])
        assert len(taken) == nbytes, f"{name} has no {nbytes} bytes left"
        del self.streams[name][:nbytes]
        return np.frombuffer(taken, np.uint8)

    def check_empty(self) -> None:
        """Asserts that a run has read all that was written."""
        assert not any(self.streams.values())


def run_prepared(
    session: Session, body: Callable[[Session], T], online: Callable[[Session], None] | None = None
) -> T:
    """What `body`, which must ask for the same each time, makes of a prepared run. `online`: what
    is done between preparation and run.
    """
    demand, known = record_known(session.role, session.network, body)
    streams = StreamsInMemory()
    prepare(session, demand, streams, known)
    if online is not None:
        online(session)
    with answering(demand, streams, session) as run:
        made = body(run)
    streams.check_empty()
    return made
