"""A block of layers as SVG: lanes of branches on the left, boxes, and bars of bytes and seconds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from moiety.runtime.cli import ui
from moiety.runtime.cli.page.elements import element
from moiety.runtime.cli.page.lanes import Branch
from moiety.runtime.cli.page.layers import Block, Cost, Layer

HEAD, ROW, BOX, LANE = 20, 30, 22, 8
"""Heights of the head, of a row and of the box in it, distance of lanes; pixels at 100 %."""
SPINE = 14
"""From the lanes to a layer's box, where a value goes to the next row."""
NAME, SHAPE, RINGS, BAR = 330, 105, 120, 150
GAP = 12
LONGEST_NAME, LONGEST_RINGS = 42, 18

COLOURED = {
    "linear": "linear",
    "product": "linear",
    "square": "linear",
    "truncate": "truncate",
    "gates": "gates",
    "relu": "gates",
    "maxpool": "maxpool",
    "extend": "truncate",
    "input": "end",
    "output": "end",
}
"""Kind of step -> class of its colour; all others only move or add what is there."""


def colour_of(kind: str) -> str:
    return f"kind-{COLOURED.get(kind, 'local')}"


@dataclass(frozen=True)
class Drawing:
    """most: the costliest layer, whose bars are longest. lanes: how many there are."""

    branches: Sequence[Branch]
    most_bytes: int
    most_seconds: float

    @property
    def lanes(self) -> int:
        return max((branch.lane for branch in self.branches), default=-1) + 1

    @property
    def left(self) -> int:
        """Where boxes begin."""
        return self.lanes * LANE + SPINE + 8

    @property
    def width(self) -> int:
        return self.left + NAME + SHAPE + RINGS + 2 * (BAR + GAP) + 60

    def block(self, block: Block) -> Element:
        """The rows of a block; branches run through it."""
        rows = range(block.layers[0].number, block.layers[-1].number + 1)
        height = HEAD + len(rows) * ROW
        drawn = element(
            "svg",
            element("g", *self._lanes(rows), class_="lanes"),
            *self._heads(),
            *(
                self._row(layer, block.short(layer), _top(layer.number, rows))
                for layer in block.layers
            ),
            viewBox=f"0 0 {self.width} {height}",
            width=self.width,
            height=height,
            role="img",
            aria_label=f"Drawing of {block.name}; the table below has the same figures",
        )
        return drawn

    def _lanes(self, rows: range) -> Iterator[Element]:
        """Of the branches that begin, end, are read, or pass here."""
        bottom = HEAD + len(rows) * ROW
        for branch in self.branches:
            if branch.end < rows.start or branch.source >= rows.stop:
                continue
            x = self._lane_x(branch.lane)
            top = 0 if branch.source < rows.start else self._out_y(branch.source, rows)
            end = bottom if branch.end >= rows.stop else self._in_y(branch.end, rows)
            read = [self._in_y(reader, rows) for reader in branch.readers if reader in rows]
            meets = read + ([top] if branch.source in rows else [])
            path = f"M{x} {top}V{end}" + "".join(f"M{x} {y}H{self.left}" for y in meets)
            dots = "".join(f"M{x} {y}h0" for y in meets)
            colour = f"lane-{branch.lane % 6}"
            yield element("path", d=path, class_=f"lane {colour}")
            yield element("path", d=dots, class_=f"lane dot {colour}")

    def _lane_x(self, lane: int) -> int:
        """Those of long branches, which begin first, are on the left."""
        return 6 + lane * LANE

    def _in_y(self, number: int, rows: range) -> float:
        return _top(number, rows) + ROW / 2 - 5

    def _out_y(self, number: int, rows: range) -> float:
        return _top(number, rows) + ROW / 2 + 5

    def _heads(self) -> Iterator[Element]:
        x = self.left + NAME
        for title, width in (
            ("shape", SHAPE),
            ("ring bits", RINGS),
            ("bytes: up, down", BAR + GAP),
        ):
            yield _text(x, HEAD - 6, title, "head")
            x += width
        yield _text(x, HEAD - 6, "time", "head")
        yield _text(x + BAR + GAP + 46, HEAD - 6, "flights", "head", text_anchor="end")

    def _row(self, layer: Layer, name: str, top: int) -> Element:
        middle = top + ROW // 2 + 4
        x = self.left
        parts = [
            *self._spine(layer, top),
            element("rect", x=x, y=top + 4, width=NAME - GAP, height=BOX, rx=4, class_="box"),
            element(
                "rect", x=x, y=top + 4, width=5, height=BOX, rx=2, class_=colour_of(layer.kind)
            ),
            _text(x + 12, middle, ui.shortened(name, LONGEST_NAME), "name"),
            _text(x := x + NAME, middle, shape(layer), "number"),
            _text(x := x + SHAPE, middle, ui.shortened(layer.rings, LONGEST_RINGS), "number"),
            *self._bytes(layer.cost, x := x + RINGS, top),
            *self._seconds(layer.cost, x := x + BAR + GAP, top),
            _text(
                x + BAR + GAP + 46,
                middle,
                str(layer.cost.flights or ""),
                "number",
                text_anchor="end",
            ),
        ]
        title = element("title", f"{layer.name}: {layer.details}")
        row = element("g", title, *parts, class_="layer", id=f"drawn-{layer.number}")
        return element("a", row, href=f"#layer-{layer.number}", tabindex=-1)

    def _spine(self, layer: Layer, top: int) -> Iterator[Element]:
        """From the row before, if that is a source."""
        if layer.number - 1 in layer.sources:
            x = self.left + 18
            yield element("path", d=f"M{x} {top - 4}V{top + 4}", class_="spine")

    def _bytes(self, cost: Cost, x: int, top: int) -> Iterator[Element]:
        if cost.bytes:
            up = BAR * 0.62 * cost.up / self.most_bytes
            down = BAR * 0.62 * cost.down / self.most_bytes
            yield _bar(x, top, up, "up")
            yield _bar(x + up, top, down, "down")
            yield _text(x + up + down + 5, top + ROW // 2 + 4, megabytes(cost.bytes), "number")

    def _seconds(self, cost: Cost, x: int, top: int) -> Iterator[Element]:
        if cost.time.total >= 5e-5:
            length = BAR * 0.62 * cost.time.total / self.most_seconds
            yield _bar(x, top, length, "time")
            yield _text(x + length + 5, top + ROW // 2 + 4, milliseconds(cost.time.total), "number")


def _top(number: int, rows: range) -> int:
    """Of a layer's row, in its block."""
    return HEAD + (number - rows.start) * ROW


def drawing_of(layers: Sequence[Layer], branches: Sequence[Branch]) -> Drawing:
    """Bars of all layers on one scale."""
    return Drawing(
        branches,
        max(1, *(layer.cost.bytes for layer in layers)),
        max(1e-9, *(layer.cost.time.total for layer in layers)),
    )


def shape(layer: Layer) -> str:
    """Of its result."""
    return "×".join(map(str, layer.result.shape)) or "scalar"


def megabytes(nbytes: int) -> str:
    """With the unit; blank for none."""
    return ui.megabytes(nbytes) if nbytes else ""


def milliseconds(seconds: float) -> str:
    """With the unit; in seconds from one on."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1e3 * seconds:.1f} ms"


def _bar(x: float, top: int, length: float, kind: str) -> Element:
    return element(
        "rect", x=round(x, 1), y=top + 10, width=max(round(length, 1), 0.5), height=10, class_=kind
    )


def _text(x: float, y: float, text: str, kind: str, **attributes: object) -> Element:
    return element("text", text, x=round(x, 1), y=y, class_=kind, **attributes)
