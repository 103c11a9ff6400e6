"""One party's threads: ranges of its work run side by side.

Two ways, and one rule for which. What is *one kernel call* is given the party's `pool`: the
compiled kernel cuts itself, in microseconds and without the interpreter. Anything else - several
kernels in a row, NumPy between them, calls with messages of their own - is a job in Python, and a
few coarse ones are handed over by `map`, or passes over arrays by `fill`; kernels within a job get
no pool.

Ranges are cut at multiples of 512 elements, where every packed message is whole in bytes and the
pads of a transfer begin with a new key: what goes over the wire does not depend on the number of
threads. Nothing here knows the other party.

The caller is one of the threads: while a result is not there it runs jobs itself.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from functools import lru_cache
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from moiety.protocols import kernels
from moiety.protocols.errors import BadInput
from moiety.protocols.kernels import Pool

T = TypeVar("T")
R = TypeVar("R")
S = TypeVar("S", np.uint8, np.uint64)

GRAIN = 512
HANDED = 1 << 11
"""Elements of a job in Python, at some nanoseconds each, that take as long as handing a range to
another thread.
"""
HANDED_PASSED = 1 << 14
"""The same of a mere pass over arrays, below a nanosecond each."""
MAX_THREADS = 256
STREAMED = 1 << 16
"""Elements after which a range ends also without threads: its message is sent while the next range
is computed, and the peer opens it meanwhile.
"""


@lru_cache(maxsize=1 << 12)
def pieces(n: int) -> tuple[slice, ...]:
    """`[0, n)` in as few about equal pieces of at most `STREAMED` elements as possible, all but the
    last of which end at multiples of `GRAIN`.
    """
    return tuple(_cut(n, -(-n // STREAMED), GRAIN))


def _cut(n: int, count: int, grain: int) -> list[slice]:
    if count <= 1:
        return [slice(0, n)]
    cuts = [n * part // count // grain * grain for part in range(count)] + [n]
    return [slice(start, stop) for start, stop in itertools.pairwise(cuts)]


class _Job(Generic[R]):
    """A function of one item, run by whoever takes it first; its result is waited for once."""

    __slots__ = ("_done", "_error", "_function", "_item", "_result")

    def __init__(self, function: Callable[[Any], R], item: Any) -> None:
        self._function = function
        self._item = item
        self._error: BaseException | None = None
        self._done = threading.Lock()
        self._done.acquire()

    def run(self) -> None:
        try:
            self._result = self._function(self._item)
        except BaseException as error:  # raised where the result is asked for
            self._error = error
        self._done.release()

    def cancel(self) -> None:
        self._error = CancelledError()
        self._done.release()

    def result(self, jobs: SimpleQueue[_Job[Any] | None]) -> R:
        """Runs what is in the queue as long as another thread is at this job."""
        while not self._done.acquire(blocking=False):
            try:
                other = jobs.get_nowait()
            except Empty:
                self._done.acquire()
                break
            if other is None:  # the pool is being closed: the word is for one of its threads
                jobs.put(None)
                self._done.acquire()
                break
            other.run()
        if self._error is not None:
            raise self._error
        return self._result


def _work(jobs: SimpleQueue[_Job[Any] | None]) -> None:
    """The life of a thread of the pool."""
    while (job := jobs.get()) is not None:
        job.run()


@dataclass
class Workers:
    """`threads` threads, the caller's among them; with one, everything runs in the caller's. `pool`
    are those for kernels. Close it, or use it as a context manager.
    """

    threads: int = 1
    pool: Pool = field(init=False, repr=False)
    _jobs: SimpleQueue[_Job[Any] | None] = field(
        default_factory=SimpleQueue, init=False, repr=False
    )
    _pool: list[threading.Thread] = field(default_factory=list, init=False, repr=False)
    _starting: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= MAX_THREADS:
            raise BadInput(f"--threads is {self.threads}; it must lie within 1 and {MAX_THREADS}")
        self.pool = kernels.open_pool(self.threads)

    def ranges(self, n: int, grain: int = GRAIN, handed: int = HANDED) -> list[slice]:
        """`[0, n)` in about equal ranges of at most `STREAMED` elements, all but the last of which
        end at multiples of `grain`.

        The caller hands over one range after the other, each in the time of `handed` elements:
        `count` ranges take that of `n / count + count * handed`, the least at `sqrt(n / handed)`.
        """
        count = max(1, min(self.threads, math.isqrt(n // handed)), -(-n // STREAMED))
        return _cut(n, count, grain)

    def map(
        self,
        function: Callable[[Any], R],
        items: Sequence[T],
        fetch: Callable[[T], Any] | None = None,
    ) -> Iterator[R]:
        """`function` of every item, in order of the items; the first results can be used while
        later ones are made.

        `fetch`: what an item is before a job can begin with it, made by the caller's thread in
        order, as a message from the peer. With more than one thread all are fetched at once.
        """
        fetched: Iterator[Any] = iter(items) if fetch is None else map(fetch, items)
        if self.threads == 1 or len(items) < 2:
            return map(function, fetched)
        self._start()
        jobs = []
        for item in fetched:
            job = _Job(function, item)
            jobs.append(job)
            self._jobs.put(job)
        return (job.result(self._jobs) for job in jobs)

    def each(
        self,
        function: Callable[[Any], None],
        items: Sequence[T],
        fetch: Callable[[T], Any] | None = None,
    ) -> None:
        """As `map`, to its end."""
        for _ in self.map(function, items, fetch):
            pass

    def fill(self, out: npt.NDArray[S], function: Callable[[slice], npt.NDArray[S]]) -> None:
        """`out[..., at] = function(at)` for all ranges `at` of the last axis: a pass over arrays,
        whose parts stay in the cache.
        """

        def part(at: slice) -> None:
            out[..., at] = function(at)

        self.each(part, self.ranges(out.shape[-1], handed=HANDED_PASSED))

    def _start(self) -> None:
        with self._starting:
            # More than there are processors would only be in each other's way.
            while len(self._pool) < min(self.threads, max(2, os.cpu_count() or 2)) - 1:
                name = f"moiety-kernel-{len(self._pool)}"
                thread = threading.Thread(target=_work, args=(self._jobs,), name=name, daemon=True)
                thread.start()
                self._pool.append(thread)

    def close(self) -> None:
        """Ends the threads; what they have not begun is cancelled."""
        self.pool.close()
        with self._starting:
            while not self._jobs.empty():
                if (job := self._jobs.get()) is not None:
                    job.cancel()
            for _ in self._pool:
                self._jobs.put(None)
            for thread in self._pool:
                thread.join()
            self._pool.clear()

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
