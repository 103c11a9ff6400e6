"""The calibration images as they are divided. All of them say how far values reach; most say all
else that a plan is chosen by, on a few of which sensitivities are measured; and a few are held out
from that, for the error to be measured on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Final

from moiety.compiler.ir.graph import Graph
from moiety.compiler.planning.ranges import checked_feeds
from moiety.compiler.planning.responses import IMAGES
from moiety.protocols.arrays import F32
from moiety.runtime.program import Case

Feeds = Mapping[str, F32]
"""An image's tensors, by the inputs' names."""

HELD_OUT: Final = 8
"""Images that are held out, at most."""

HELD_OUT_OF: Final = 4
"""One image of so many is held out."""

ENOUGH: Final = 16
"""Of fewer images none is held out: means need them all."""


class Samples:
    """Images float `(C,H,W)`, or tensors by the inputs' names, read once, when this is iterated
    over: it yields them by the inputs' names. ranged: the numbers of those that only ranges may
    follow from, evenly spaced; none where their number is not known. After that, held_out: these
    images; kept: some of the others, evenly spaced where their number is known, else the first.

    BadInput for an image that does not fit the Graph's inputs, or with NaN or infinity.
    """

    def __init__(self, images: Iterable[Case], graph: Graph) -> None:
        self.images, self.graph = images, graph
        self.total = len(images) if isinstance(images, Sized) else 0
        self.kept: list[Feeds] = []
        self.held_out: list[Feeds] = []
        self.ranged = _spread(self.total)

    def __len__(self) -> int:
        return self.total

    def __iter__(self) -> Iterator[Feeds]:
        step, seen = max(1, (self.total - len(self.ranged)) // IMAGES), 0
        for number, given in enumerate(self.images):
            feeds = checked_feeds(number, given, self.graph)
            image = {name: tensor[0] for name, tensor in feeds.items()}
            if number in self.ranged:
                self.held_out.append(image)
            else:
                if seen % step == 0 and len(self.kept) < IMAGES:
                    self.kept.append(image)
                seen += 1
            yield image

    @property
    def measured(self) -> list[Feeds]:
        """What the error is measured on: the images held out, or else those kept."""
        return self.held_out or self.kept


def _spread(total: int) -> frozenset[int]:
    """The numbers of the images to hold out."""
    count = min(HELD_OUT, total // HELD_OUT_OF) if total >= ENOUGH else 0
    return frozenset((2 * i + 1) * total // (2 * count) for i in range(count))
