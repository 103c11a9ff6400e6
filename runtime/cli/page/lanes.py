"""Where branches run in the drawing: one layer a row, from top to bottom; a value that is read
further down than in the next row runs in a lane of its own until its last reader.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from moiety.runtime.cli.page.layers import Layer

MOST_LANES = 32
"""A branch beyond is not drawn."""


@dataclass(frozen=True)
class Branch:
    """The value of the layer `source`, in a lane, and who reads it there, in order."""

    source: int
    lane: int
    readers: tuple[int, ...]

    @property
    def end(self) -> int:
        return self.readers[-1]


def branches_of(layers: Sequence[Layer]) -> tuple[list[Branch], int]:
    """The branches that are drawn, and how many are not. Two whose rows overlap have different
    lanes.
    """
    readers: dict[int, list[int]] = {}
    for layer in layers:
        for source in layer.sources:
            if layer.number - source > 1:
                readers.setdefault(source, []).append(layer.number)
    free = list(range(MOST_LANES))
    running: list[tuple[int, int]] = []
    found: list[Branch] = []
    left_out = 0
    for source, rows in sorted(readers.items()):
        while running and running[0][0] <= source:
            heapq.heappush(free, heapq.heappop(running)[1])
        if not free:
            left_out += 1
            continue
        branch = Branch(source, heapq.heappop(free), tuple(rows))
        heapq.heappush(running, (branch.end, branch.lane))
        found.append(branch)
    return found, left_out
