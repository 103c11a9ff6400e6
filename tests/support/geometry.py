"""Random geometries of convolutions, for the tests of ops and of passes that rewrite them."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

Pair = tuple[int, int]
Pads = tuple[int, int, int, int]


@dataclass(frozen=True)
class Geometry:
    """Of a convolution, or with `strides` as its factors of an upsampling one; `depth` and
    `filters` are those of one group, `pads` (top, left, bottom, right).
    """

    groups: int
    depth: int
    filters: int
    kernel: Pair
    strides: Pair
    dilations: Pair
    pads: Pads

    @property
    def channels(self) -> int:
        return self.groups * self.depth

    @property
    def outputs(self) -> int:
        return self.groups * self.filters

    @property
    def span(self) -> Pair:
        """Rows and columns from the first tap of the dilated kernel to its last."""
        rows, columns = (
            (taps - 1) * dilation + 1
            for taps, dilation in zip(self.kernel, self.dilations, strict=True)
        )
        return rows, columns

    @property
    def least_size(self) -> Pair:
        """The smallest image that one window fits into, its padding counted."""
        top, left, bottom, right = self.pads
        return max(1, self.span[0] - top - bottom), max(1, self.span[1] - left - right)


def pairs(least: int, most: int) -> st.SearchStrategy[Pair]:
    return st.tuples(st.integers(least, most), st.integers(least, most))


def geometries() -> st.SearchStrategy[Geometry]:
    """Few channels; taps, strides and dilations to 4, pads to 3."""
    few, some, pad = st.integers(1, 3), pairs(1, 4), st.integers(0, 3)
    return st.builds(Geometry, few, few, few, some, some, some, st.tuples(pad, pad, pad, pad))
