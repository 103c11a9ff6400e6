"""What every family of figures is measured with: a clock, public random inputs, and two ends of a
channel inside this process.

A figure is the least processor time of several runs of one thread, so other work on the machine
disturbs it little. Nothing here is a secret of anybody.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from moiety.protocols import ring
from moiety.protocols.arrays import U8, U64
from moiety.protocols.channel import Channel
from moiety.protocols.prices import REFERENCE
from moiety.runtime.cost.machine import Machine


@dataclass
class Bench:
    """Takes the figures, in nanoseconds. elements: values per call; repeats: runs of which the
    fastest counts.
    """

    elements: int = 1 << 17
    repeats: int = 5
    figures: dict[str, float] = field(default_factory=dict)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))

    def time(self, call: Callable[[], object]) -> float:
        """Nanoseconds of one call, after one that does not count."""
        call()
        best = float("inf")
        for _ in range(self.repeats):
            start = time.thread_time_ns()
            call()
            best = min(best, time.thread_time_ns() - start)
        return best

    def per(self, figure: str, units: int, call: Callable[[], object]) -> None:
        """The figure is what this call takes for each of so many units."""
        self.figures[figure] = self.time(call) / units

    def machine(self, description: dict[str, str]) -> Machine:
        """A machine of the figures so far, all of `prices.REFERENCE` among them."""
        figures = {name: self.figures[name] for name in REFERENCE}
        return Machine(description=description, figures=figures)

    def bytes(self, *shape: int, below: int = 256) -> U8:
        """Random bytes, uint8 of this shape."""
        return self.rng.integers(0, below, shape, np.uint8)

    def ring_elements(self, *shape: int, bits: int) -> U64:
        """Random elements of Z_{2^bits}, uint64 of this shape."""
        return ring.reduce(self.rng.integers(0, 1 << 62, shape, np.uint64), bits)


class PipeEnd(Channel):
    """One end of a pair of queues inside this process."""

    def __init__(self, out: queue.SimpleQueue[bytes], into: queue.SimpleQueue[bytes]) -> None:
        super().__init__()
        self._out, self._in = out, into
        self._rest = b""

    def _write(self, data: memoryview) -> None:
        self._out.put(bytes(data))

    def _read(self, nbytes: int) -> bytes:
        parts, size = [self._rest], len(self._rest)
        while size < nbytes:
            parts.append(self._in.get(timeout=60))
            size += len(parts[-1])
        whole = b"".join(parts)
        self._rest = whole[nbytes:]
        return whole[:nbytes]


def pipe() -> tuple[PipeEnd, PipeEnd]:
    """Both ends."""
    there: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    back: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    return PipeEnd(there, back), PipeEnd(back, there)
