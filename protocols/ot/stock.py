"""A generator's outputs, made when they are asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from moiety.protocols.arrays import U8

Make = Callable[[slice, U8], None]
"""Writes an iteration's outputs, a range of whole grains, to an array of as many."""


@dataclass
class Stock:
    """Outputs of iterations, each of `length`, made when they are taken: in whole multiples of
    `grain`, of which what was not taken is kept. `shape` is an output's.
    """

    length: int
    grain: int
    shape: tuple[int, ...]
    _iterations: deque[Make] = field(default_factory=deque)
    _at: int = 0  # in the first iteration
    _rest: U8 = field(init=False)

    def __post_init__(self) -> None:
        self._rest = np.zeros((0, *self.shape), np.uint8)

    def add(self, make: Make) -> None:
        """One more iteration."""
        self._iterations.append(make)

    def take(self, n: int) -> U8:
        """The next `n` outputs."""
        end = len(self._rest)
        made = end + -(-max(0, n - end) // self.grain) * self.grain
        outputs = np.empty((made, *self.shape), np.uint8)
        outputs[:end] = self._rest
        while end < made:
            size = min(made - end, self.length - self._at)
            self._iterations[0](slice(self._at, self._at + size), outputs[end : end + size])
            end, self._at = end + size, self._at + size
            if self._at == self.length:
                self._iterations.popleft()
                self._at = 0
        self._rest = outputs[n:].copy()
        return outputs[:n]
