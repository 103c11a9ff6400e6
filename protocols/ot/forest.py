"""What the rows of one iteration of a silent generator, or of two side by side, are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from moiety.protocols.arrays import U8

_LINE = 64
"""Bytes of a cache line: seeds that lie side by side must not lie in two."""
_BLOCK = np.complex128
"""A type of 16 bytes, which NumPy copies as one."""


@dataclass(frozen=True)
class Forest:
    """What the rows of one iteration, or of two side by side, are made of.

    trees: the arrays that the kernel takes an element of for each tree; of two iterations the trees
    alternate. seeds: uint8 `(K, 16)`, of two iterations `(K, 32)`. code: its key, uint8 `(16,)`.
    """

    trees: tuple[npt.NDArray[Any], ...]
    seeds: U8
    code: U8

    @property
    def side(self) -> int:
        """Iterations."""
        return self.seeds.shape[1] // 16

    def at(self, trees: slice) -> tuple[npt.NDArray[Any], ...]:
        """Some trees of each iteration."""
        part = slice(self.side * trees.start, self.side * trees.stop)
        return tuple(array[part] for array in self.trees)

    @classmethod
    def side_by_side(cls, forests: Sequence[Forest], count: int) -> Forest:
        """The first `count` trees of each, of one code."""
        if len(forests) == 1:
            only = forests[0]
            return cls(only.at(slice(0, count)), only.seeds, only.code)
        trees = (
            np.stack([array[:count] for array in arrays], axis=1)
            for arrays in zip(*(forest.trees for forest in forests), strict=True)
        )
        seeds = _aligned(len(forests[0].seeds), 16 * len(forests))
        for i, forest in enumerate(forests):
            seeds.view(_BLOCK)[:, i] = forest.seeds.view(_BLOCK)[:, 0]
        return cls(
            tuple(array.reshape(-1, *array.shape[2:]) for array in trees), seeds, forests[0].code
        )


def _aligned(rows: int, columns: int) -> U8:
    """An array uint8 `(rows, columns)` that begins with a cache line."""
    buffer = np.empty(rows * columns + _LINE - 1, np.uint8)
    start = -buffer.ctypes.data % _LINE
    return buffer[start : start + rows * columns].reshape(rows, columns)
