"""The tables of the page: facts, cost by kind of step, every layer, what is disclosed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.etree.ElementTree import Element

from moiety.runtime.cli.cost_tables import Line, Prediction
from moiety.runtime.cli.page.drawing import colour_of, megabytes, milliseconds, shape
from moiety.runtime.cli.page.elements import Child, element
from moiety.runtime.cli.page.layers import Block, Cost, Layer
from moiety.runtime.cli.program_tables import summary_rows
from moiety.runtime.intake.text import printable
from moiety.runtime.program import Program

COST = ("up", "down", "flights", "time")


def facts(program: Program) -> Element:
    """Name and value."""
    listed = element("dl")
    for name, value in summary_rows(program):
        listed.append(element("dt", name))
        listed.append(element("dd", value))
    return listed


def by_kind(predicted: Prediction) -> Element:
    """Those that send most first, with a bar, and the whole."""
    kinds: dict[str, list[Line]] = {}
    for line in predicted.lines:
        kinds.setdefault(line.kind, []).append(line)
    whole = Cost.of_whole(predicted.whole, predicted.time)
    costs = sorted(
        ((kind, len(lines), Cost.of(lines)) for kind, lines in kinds.items()),
        key=lambda each: (-each[2].bytes, -each[2].time.total),
    )
    rows = [
        _row(
            _head_of_kind(kind),
            str(count),
            *cost_cells(cost),
            f"{cost.bytes / max(1, whole.bytes):.1%}" if cost.bytes else "",
        )
        for kind, count, cost in costs
    ]
    last = _row(element("span", "one image"), "", *cost_cells(whole), "100 %")
    head = ("kind", "steps", *COST, "of the bytes")
    return _table("Cost of one image by kind of step", head, rows, last)


def _head_of_kind(kind: str) -> Element:
    square = element("span", class_=f"key {colour_of(kind)}")
    return element("span", square, kind)


def of_layers(block: Block) -> Element:
    """A row per layer."""
    head = ("layer", "steps", "reads", "what", "shape", "ring bits", *COST)
    rows = [_layer(layer, block.short(layer)) for layer in block.layers]
    return _table(f"Layers of {block.name}", head, rows, None, "layers")


def _layer(layer: Layer, name: str) -> Element:
    last = layer.first + len(layer.steps) - 1
    reads: list[Child] = []
    for source in layer.sources:
        reads += [*([", "] if reads else []), element("a", str(source), href=f"#layer-{source}")]
    row = _row(
        element("span", f"{layer.number} ", element("b", name)),
        f"{layer.first}–{last}" if last > layer.first else str(last),
        element("span", *reads),
        layer.details,
        shape(layer),
        layer.rings,
        *cost_cells(layer.cost),
    )
    row.set("id", f"layer-{layer.number}")
    return row


def cost_cells(cost: Cost) -> tuple[str, str, str, str]:
    """Under COST."""
    time = milliseconds(cost.time.total) if cost.time.total >= 5e-5 else ""
    return megabytes(cost.up), megabytes(cost.down), str(cost.flights or ""), time


def disclosed(program: Program) -> Element:
    """All that the Program tells of the weights, a list."""
    if not program.disclosed:
        return element("p", "Nothing but the architecture and the sizes above.")
    return element("ul", *(element("li", printable(entry)) for entry in program.disclosed))


def _table(
    caption: str, head: Sequence[str], rows: Iterable[Element], last: Element | None, kind: str = ""
) -> Element:
    titles = (element("th", title, scope="col") for title in head)
    parts = [
        element("caption", caption),
        element("thead", element("tr", *titles)),
        element("tbody", *rows),
        *([element("tfoot", last)] if last is not None else []),
    ]
    return element("div", element("table", *parts, class_=kind or None), class_="scroll")


def _row(first: Element, *cells: Child) -> Element:
    return element(
        "tr", element("th", first, scope="row"), *(element("td", cell) for cell in cells)
    )
