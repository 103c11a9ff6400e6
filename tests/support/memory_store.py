"""A store of prepared transfers in memory: streams by name, written and then read in order."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from moiety.protocols.arrays import U8


@dataclass
class MemoryStore:
    """A `Sink` and a `Source`. Bytes are read once, and no more than there are."""

    streams: dict[str, bytearray] = field(default_factory=lambda: defaultdict(bytearray))

    def write(self, name: str, data: U8) -> None:
        self.streams[name] += data.tobytes()

    def read(self, name: str, nbytes: int) -> U8:
        taken = bytes(self.streams[name][:nbytes])
        assert len(taken) == nbytes, f"{name} has no {nbytes} bytes left"
        del self.streams[name][:nbytes]
        return np.frombuffer(taken, np.uint8)

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes that are left."""
        return {name: len(stream) for name, stream in self.streams.items()}
