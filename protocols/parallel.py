"""One party's threads: ranges of a large kernel call run side by side, because the kernels release
the interpreter lock.

Ranges are cut at multiples of 512 elements, where every packed message is whole in bytes and the
pads of a transfer begin with a new key: what goes over the wire does not depend on the number of
threads. Nothing here knows the other party.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import TypeVar

from moiety.protocols.errors import BadInput

T = TypeVar("T")
R = TypeVar("R")

GRAIN = 512
LEAST = 1 << 14
"""Elements per range below which handing it to another thread costs more than it gains."""
MAX_THREADS = 256
STREAMED = 1 << 16
"""Elements after which a range ends also without threads: its message is sent while the next range
is computed, and the peer opens it meanwhile.
"""


@dataclass
class Workers:
    """`threads` threads; with one, everything runs in the caller's. Close it, or use it as a
    context manager.
    """

    threads: int = 1
    _pool: ThreadPoolExecutor | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= MAX_THREADS:
            raise BadInput(f"--threads is {self.threads}; it must lie within 1 and {MAX_THREADS}")

    def ranges(self, n: int, grain: int = GRAIN, least: int = LEAST) -> list[slice]:
        """`[0, n)` in about equal ranges of at most `STREAMED` elements, at least one per thread
        unless they would fall below `least`; all but the last end at multiples of `grain`.
        """
        count = max(1, min(self.threads, n // least), -(-n // STREAMED))
        cuts = [n * part // count // grain * grain for part in range(count)] + [n]
        return [slice(start, stop) for start, stop in itertools.pairwise(cuts)]

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """`function` of every item, in order of the items. With more than one thread all items are
        taken at once, and the first results can be used while later ones are made.
        """
        if self.threads == 1:
            return map(function, items)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="moiety-kernel")
        return self._pool.map(function, items)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
