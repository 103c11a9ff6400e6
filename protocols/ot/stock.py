"""A generator's outputs, made when they are asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from moiety.protocols.arrays import U8

Make = Callable[[slice, U8], None]
"""Writes outputs, a range of whole grains, to an array of as many."""


@dataclass(frozen=True)
class Source:
    """Outputs that are made when they are taken: `length` of them, in whole multiples of
    `grain`.
    """

    make: Make
    length: int
    grain: int


@dataclass
class Stock:
    """The outputs of sources, one after the other. Of a grain, what was not taken is kept. `shape`
    is an output's.
    """

    shape: tuple[int, ...]
    _sources: deque[Source] = field(default_factory=deque)
    _at: int = 0  # in the first source
    _grain: int = 1  # the largest of any source
    _rest: U8 = field(init=False)

    def __post_init__(self) -> None:
        self._rest = np.zeros((0, *self.shape), np.uint8)

    def add(self, source: Source) -> None:
        """One more source."""
        self._sources.append(source)
        self._grain = max(self._grain, source.grain)

    def take(self, n: int) -> U8:
        """The next `n` outputs."""
        end = len(self._rest)
        if n <= end:
            taken, self._rest = self._rest[:n], self._rest[n:]
            return taken
        outputs = np.empty((n + self._grain, *self.shape), np.uint8)
        outputs[:end] = self._rest
        while end < n:
            source = self._sources[0]
            lacking = -(-(n - end) // source.grain) * source.grain
            size = min(lacking, source.length - self._at)
            source.make(slice(self._at, self._at + size), outputs[end : end + size])
            end, self._at = end + size, self._at + size
            if self._at == source.length:
                self._sources.popleft()
                self._at = 0
        self._rest = outputs[n:end].copy()
        return outputs[:n]
