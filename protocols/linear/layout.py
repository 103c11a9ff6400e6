"""Coefficient packing of a convolution into RLWE ciphertexts: which value sits at which
coefficient. Pure integers, public.

Channel c, row y, column x of a padded tile is coefficient `c*S + y*P + x` (pitch P, channel size
S). The tap `(c, dy, dx)` is the monomial `X^-(c*S + dy*P + dx)`, so output `(y, x)` of filter block
m' is coefficient `m'*B + y*P + x` of the answer, `B = cp*S` (Cheetah, USENIX Security 2022,
section 3, with several filters per polynomial).

Padding is shared where both sides of it are zero: the right pad of a row with the left pad of the
next one when a tile has the full width, the bottom pad of a channel with the top pad of the next
one when it has the full height. What is read past the last channel is a pad of the first one, or a
coefficient without message, also around the end of the polynomial.

Several images of one run share a plane (`Geometry.flat`): as further pixels of a row where the
kernel is 1x1, otherwise stacked with rows of zeros between that serve both neighbours as padding.
Outputs on those rows mean nothing and are never sent.

Groups are joined into *bundles* of equal size, so that a ciphertext may hold channels, and an
answer filters, of several groups; bundles are independent dense convolutions with
block-diagonal weights.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from moiety.protocols.errors import BadPlan
from moiety.protocols.linear.parameters import Noise, answer_noise


@dataclass(frozen=True)
class Geometry:
    """A stride-1 convolution of one image, done for `images` of them at once. `flat` is the single
    plane in which they lie.

    in_shape `(C, H, W)` and out_shape `(M, H', W')` are one image's; pads top, left, bottom, right.
    """

    in_shape: tuple[int, int, int]
    out_shape: tuple[int, int, int]
    kernel: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilations: tuple[int, int]
    groups: int
    images: int = 1

    def __post_init__(self) -> None:
        channels, height, width = self.in_shape
        filters, rows, columns = self.out_shape
        top, left, bottom, right = self.pads
        reach_y, reach_x = self.reach
        if (
            min(self.pads) < 0
            or min(self.kernel) < 1
            or min(self.dilations) < 1
            or self.groups < 1
            or self.images < 1
        ):
            raise BadPlan(
                "a linear layer needs kernel, dilations, groups and images >= 1 and pads >= 0: "
                f"{self}"
            )
        if channels % self.groups or filters % self.groups:
            raise BadPlan(
                f"{channels} input and {filters} output channels cannot be split into "
                f"{self.groups} groups"
            )
        if (rows, columns) != (
            height + top + bottom - reach_y,
            width + left + right - reach_x,
        ) or min(rows, columns) < 1:
            raise BadPlan(
                f"output {self.out_shape} does not follow from input {self.in_shape}, "
                f"kernel {self.kernel} and pads {self.pads}"
            )

    @property
    def reach(self) -> tuple[int, int]:
        """Rows and columns that a tile's input has more than its output."""
        return (self.kernel[0] - 1) * self.dilations[0], (self.kernel[1] - 1) * self.dilations[1]

    @property
    def terms(self) -> int:
        """Products that make one output."""
        return self.in_shape[0] // self.groups * self.kernel[0] * self.kernel[1]

    @property
    def inputs(self) -> int:
        """Of all images."""
        return self.images * self.in_shape[0] * self.in_shape[1] * self.in_shape[2]

    @property
    def outputs(self) -> int:
        """Of all images."""
        return self.images * self.out_shape[0] * self.out_shape[1] * self.out_shape[2]

    @property
    def pointwise(self) -> bool:
        """A 1x1 kernel without padding: no two-dimensional structure."""
        return self.kernel == (1, 1) and not any(self.pads)

    @property
    def period(self) -> int:
        """Distance in rows of two stacked images: outputs do not meet, and the rows between
        pad both.
        """
        return max(self.in_shape[1] + max(self.pads[0], self.pads[2]), self.out_shape[1])

    def tiles(self, tile: tuple[int, int]) -> int:
        """How many tiles of such a size the plane is cut into, at most; nothing as large is
        made.
        """
        _, height, width = self.flat.out_shape
        return -(-height // tile[0]) * -(-width // tile[1])

    @cached_property
    def flat(self) -> Geometry:
        """One plane for all images: of a single row where the layer is pointwise, else the images
        below one another.

        For one image it is the same in memory.
        """
        channels, height, width = self.in_shape
        filters, rows, columns = self.out_shape
        if self.pointwise:
            pixels = self.images * height * width
            return Geometry(
                (channels, 1, pixels),
                (filters, 1, pixels),
                self.kernel,
                self.pads,
                (1, 1),
                self.groups,
            )
        if self.images == 1:
            return self
        above = (self.images - 1) * self.period
        stacked_in, stacked_out = (
            (channels, above + height, width),
            (filters, above + rows, columns),
        )
        return Geometry(
            stacked_in, stacked_out, self.kernel, self.pads, self.dilations, self.groups
        )

    def holds_output(self, row: int) -> bool:
        """Whether a row of the flat plane's output belongs to an image."""
        return self.pointwise or row % self.period < self.out_shape[1]

    def noise(self, degree: int, weight_bits: int, mp: int) -> Noise:
        """Noise of this layer's answers (parameters.answer_noise)."""
        return answer_noise(degree, weight_bits, self.terms, mp, self.outputs)


@dataclass(frozen=True)
class Window:
    """One tile: region `[y0, y1) x [x0, x1)` of the plane; outputs are on `rows`, increasing, of
    that region.
    """

    y0: int
    y1: int
    x0: int
    x1: int
    rows: tuple[int, ...]

    @property
    def pixels(self) -> int:
        return len(self.rows) * (self.x1 - self.x0)


@dataclass(frozen=True)
class Layout:
    """Where everything goes. `geometry` is as given; all other numbers refer to its flat form.
    Raises `BadPlan` if a tile does not fit.
    """

    geometry: Geometry
    degree: int
    cp: int
    mp: int
    tile: tuple[int, int]

    def __post_init__(self) -> None:
        if self.cp < 1 or self.mp < 1 or min(self.tile) < 1:
            raise BadPlan(
                f"packing needs positive numbers: cp={self.cp}, mp={self.mp}, tile={self.tile}"
            )
        if self.mp * self.block > self.degree:
            raise BadPlan(
                f"{self.cp} channels x {self.mp} filters x {self.channel_size} coefficients "
                f"do not fit into degree {self.degree}"
            )

    @staticmethod
    def unit(geometry: Geometry, tile: tuple[int, int]) -> Layout:
        """One channel and one filter per polynomial of unlimited degree: for sizing a tile."""
        return Layout(geometry, sys.maxsize, 1, 1, tile)

    @cached_property
    def flat(self) -> Geometry:
        return self.geometry.flat

    def noise(self, weight_bits: int) -> Noise:
        """Of the answers, under the worst weights of so many bits."""
        return self.geometry.noise(self.degree, weight_bits, self.mp)

    @cached_property
    def windows(self) -> tuple[Window, ...]:
        _, height, width = self.flat.out_shape
        th, tw = self.tile
        found = []
        for y in range(0, height, th):
            end = min(y + th, height)
            if rows := tuple(filter(self.geometry.holds_output, range(y, end))):
                found += [Window(y, end, x, min(x + tw, width), rows) for x in range(0, width, tw)]
        return tuple(found)

    @cached_property
    def pitch(self) -> int:
        _, left, _, right = self.flat.pads
        if self.tile[1] >= self.flat.out_shape[2]:
            return self.flat.in_shape[2] + max(left, right)
        return self.tile[1] + self.flat.reach[1]

    @cached_property
    def rows(self) -> int:
        top, _, bottom, _ = self.flat.pads
        if self.tile[0] >= self.flat.out_shape[1]:
            return self.flat.in_shape[1] + max(top, bottom)
        return self.tile[0] + self.flat.reach[0]

    @property
    def channel_size(self) -> int:
        """S."""
        return self.rows * self.pitch

    @property
    def block(self) -> int:
        """B = cp * S: distance of two filters' outputs in an answer."""
        return self.cp * self.channel_size

    @cached_property
    def sent(self) -> tuple[int, int]:
        """Coefficients of b that answers depend on, and the client sends: the first of these
        numbers, and as many last ones as the second says.

        The block of filter m'' reads `(m'' - m')*B + tap + pixel` for all m', modulo N.
        """
        th, tw = (
            min(size, whole) for size, whole in zip(self.tile, self.flat.out_shape[1:], strict=True)
        )
        last = self.block - self.channel_size + self.tap_offsets[-1] + (th - 1) * self.pitch + tw
        head, tail = (self.mp - 1) * self.block + last, (self.mp - 1) * self.block
        return (head, tail) if head + tail < self.degree else (self.degree, 0)

    @cached_property
    def bundle(self) -> int:
        """Groups per bundle: the smallest divisor of `groups` that fills a ciphertext's channels
        and an answer's filters.
        """
        channels, filters, groups = self.flat.in_shape[0], self.flat.out_shape[0], self.flat.groups
        for size in range(1, groups):
            enough = size * channels >= self.cp * groups and size * filters >= self.mp * groups
            if groups % size == 0 and enough:
                return size
        return groups

    @property
    def bundles(self) -> int:
        return self.flat.groups // self.bundle

    @property
    def bundle_channels(self) -> int:
        return self.flat.in_shape[0] // self.bundles

    @property
    def bundle_filters(self) -> int:
        return self.flat.out_shape[0] // self.bundles

    @property
    def ciphertexts(self) -> int:
        """Per bundle and tile."""
        return -(-self.bundle_channels // self.cp)

    @property
    def answers(self) -> int:
        """Per bundle and tile."""
        return -(-self.bundle_filters // self.mp)

    @property
    def ciphertexts_per_tile(self) -> int:
        return self.bundles * self.ciphertexts

    @property
    def answers_per_tile(self) -> int:
        return self.bundles * self.answers

    @cached_property
    def tap_offsets(self) -> tuple[int, ...]:
        """Coefficient offset of every kernel position within a channel, row-major."""
        (kh, kw), (dy, dx) = self.flat.kernel, self.flat.dilations
        return tuple(y * dy * self.pitch + x * dx for y in range(kh) for x in range(kw))

    def input_slices(self, window: Window) -> tuple[slice, slice, slice, slice]:
        """(rows, columns of the image) that go to (rows, columns of the tile); the rest of the tile
        is zero.
        """
        _, height, width = self.flat.in_shape
        top, left, _, _ = self.flat.pads
        image: list[slice] = []
        inside: list[slice] = []
        for start, stop, reach, before, size in (
            (window.y0, window.y1, self.flat.reach[0], top, height),
            (window.x0, window.x1, self.flat.reach[1], left, width),
        ):
            low, high = max(start - before, 0), max(min(stop + reach - before, size), 0)
            high = max(low, high)
            image.append(slice(low, high))
            inside.append(slice(low - start + before, high - start + before))
        return image[0], image[1], inside[0], inside[1]


def tile_sizes(geometry: Geometry, limit: int) -> Iterator[tuple[int, int]]:
    """Tiles worth trying: balanced cuts into as few pieces as fit `limit` coefficients per channel,
    and multiples of that.
    """
    flat = geometry.flat
    _, rows, columns = flat.out_shape
    seen: set[tuple[int, int]] = set()
    for down in _cuts(rows):
        for across in _cuts(columns):
            tile = (-(-rows // down), -(-columns // across))
            size = (tile[0] + flat.reach[0]) * (tile[1] + flat.reach[1])
            if tile not in seen and size <= 2 * limit:
                seen.add(tile)
                yield tile


def _cuts(size: int) -> Iterator[int]:
    """Numbers of pieces: all up to 16, then in steps of about an eighth."""
    pieces = 1
    while pieces <= size:
        yield pieces
        pieces += max(1, pieces // 8)
