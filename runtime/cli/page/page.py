"""The whole page of a Program, as text."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

from moiety.runtime.cli.cost_tables import Prediction, headline
from moiety.runtime.cli.page import tables
from moiety.runtime.cli.page.drawing import Drawing, drawing_of, megabytes
from moiety.runtime.cli.page.elements import element, written
from moiety.runtime.cli.page.lanes import branches_of
from moiety.runtime.cli.page.layers import Block, Cost, blocks_of, layers_of
from moiety.runtime.intake.text import printable
from moiety.runtime.program import Program

HERE = Path(__file__).parent
STYLE, SCRIPT = ((HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))


def page(program: Program, predicted: Prediction) -> str:
    """One HTML file: no request, no script that it needs."""
    title = f"Program {printable(program.name)}"
    layers = layers_of(program, predicted)
    branches, left_out = branches_of(layers)
    blocks = blocks_of(layers)
    drawing = drawing_of(layers, branches)
    body = element(
        "body",
        element("h1", title),
        element("p", headline(predicted), class_="lead"),
        _figures(predicted),
        element("h2", "Facts", id="facts"),
        tables.facts(program),
        element("h2", "Totals", id="kinds"),
        tables.by_kind(predicted),
        element("h2", "Layers", id="layers"),
        element("p", _explained(left_out)),
        _tools(),
        element("div", *_blocks(blocks, drawing), id="drawing"),
        element("h2", "Disclosed about the weights", id="disclosed"),
        tables.disclosed(program),
        element("script", SCRIPT),
    )
    return written(element("html", _head(title), body, lang="en"))


def _head(title: str) -> Element:
    policy = (
        f"default-src 'none'; style-src '{_hash(STYLE)}'; script-src '{_hash(SCRIPT)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", STYLE),
    )


def _hash(text: str) -> str:
    """As a Content-Security-Policy names an inline text."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _figures(predicted: Prediction) -> Element:
    """The totals, large."""
    whole = Cost.of_whole(predicted.whole, predicted.time)
    up, down, flights, time = tables.cost_cells(whole)
    figures = ((time, "predicted, one image"), (up, "up"), (down, "down"), (flights, "flights"))
    return element(
        "div",
        *(element("p", element("b", value), element("span", what)) for value, what in figures),
        class_="figures",
    )


def _explained(left_out: int) -> str:
    text = (
        "From top to bottom. A layer is the steps of one name; its colour is that of the kind "
        "which sends most. A line on the left is a value that is read further down. Up is "
        "hospital to vendor. Flights of a row are its own; the whole has fewer, where a row goes "
        "on in the direction in which the one before ended. Every block opens and closes, and has "
        "its figures as a table."
    )
    return f"{text} {left_out} further branches are not drawn." if left_out else text


def _tools() -> Element:
    """Shown where the script runs."""

    def button(name: str, text: str, label: str) -> Element:
        return element("button", text, type="button", id=name, aria_label=label)

    search = element(
        "input", id="search", type="search", placeholder="a name, kind or shape", autocomplete="off"
    )
    return element(
        "div",
        element("label", "Search ", search),
        element("output", id="found", for_="search", aria_live="polite"),
        button("previous", "↑", "Previous found"),
        button("next", "↓", "Next found"),
        button("smaller", "−", "Smaller"),
        element("output", "100 %", id="zoom"),
        button("larger", "+", "Larger"),
        button("fit", "Fit", "Fit to the window's width"),
        button("open", "Open all", "Open all blocks"),
        button("close", "Close all", "Close all blocks"),
        id="tools",
        role="toolbar",
        aria_label="Search and zoom",
        hidden="hidden",
    )


def _blocks(blocks: Sequence[Block], drawing: Drawing) -> Iterator[Element]:
    for block in blocks:
        cost = Cost.of(block.lines)
        figures = ", ".join(filter(None, (_layers(len(block.layers)), *_in_words(cost))))
        summary = element(
            "summary",
            element("b", block.name),
            element("span", figures, class_="sum"),
        )
        table = element(
            "details", element("summary", "As a table"), tables.of_layers(block), class_="table"
        )
        picture = element("div", drawing.block(block), class_="scroll picture")
        yield element("details", summary, picture, table, class_="block", open="open")


def _layers(count: int) -> str:
    return f"{count} layer" if count == 1 else f"{count} layers"


def _in_words(cost: Cost) -> tuple[str, ...]:
    _, _, flights, time = tables.cost_cells(cost)
    return (
        megabytes(cost.bytes),
        f"{flights} flights" if flights else "",
        time,
    )
