"""`moiety inspect --html`: the page of a Program, read without a browser (tests/extras has one)."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moiety.runtime.cli.cost_tables import prediction
from moiety.runtime.cli.page.lanes import MOST_LANES, branches_of
from moiety.runtime.cli.page.layers import Layer, blocks_of, layers_of
from moiety.runtime.cli.page.page import page
from moiety.runtime.program import Program
from moiety.runtime.program.artifacts import load_program
from tests.support.command import Compiled, moiety

HOSTILE = "</title><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


class Page(HTMLParser):
    """What a browser would find: tags, text, ids, links, and attributes that run or fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.doubtful: list[tuple[str, str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name == "href":
                self.links.append(value or "")
            if name.startswith("on") or name in ("src", "style", "srcset", "action"):
                self.doubtful.append((tag, name, value))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def program(compiled: Compiled) -> Program:
    return load_program(compiled.public)


def made(program: Program) -> str:
    return page(program, prediction(program, "lan", "silent", None))


def test_every_layer_is_drawn_and_has_its_row(program: Program) -> None:
    found = Page(made(program))
    layers = layers_of(program, prediction(program, "lan", "silent", None))
    assert sum(len(layer.steps) for layer in layers) == len(program.steps)
    assert len(found.ids) == len(set(found.ids))
    for layer in layers:
        assert {f"drawn-{layer.number}", f"layer-{layer.number}"} <= set(found.ids)
    assert all(link.removeprefix("#") in found.ids and link[0] == "#" for link in found.links)
    assert not found.doubtful
    assert found.tags.count("script") == found.tags.count("style") == 1
    text = " ".join(found.words)
    assert program.digest() in text
    assert "cat, dog, owl" in text


def test_totals_are_those_of_the_prediction(program: Program) -> None:
    predicted = prediction(program, "wan", "softspoken", None)
    layers = layers_of(program, predicted)
    keys = predicted.lines[0].wire.total
    assert keys + sum(layer.cost.bytes for layer in layers) == predicted.whole.total
    blocks = blocks_of(layers)
    assert [layer for block in blocks for layer in block.layers] == layers
    assert f"{predicted.whole.up / 1e6:,.2f} MB" in page(program, predicted)


def test_names_in_a_program_are_text(program: Program) -> None:
    """Of steps, labels, the model, and what it discloses."""
    steps = tuple(msgspec.structs.replace(step, name=HOSTILE) for step in program.steps[:-1])
    last = msgspec.structs.replace(program.steps[-1], name=f"/a/{HOSTILE}/b")
    hostile = msgspec.structs.replace(
        program, name=HOSTILE, model_version=HOSTILE, disclosed=(HOSTILE,), steps=(*steps, last)
    )
    found, honest = Page(made(hostile)), Page(made(program))
    assert not found.doubtful
    assert set(found.tags) <= set(honest.tags)
    assert found.tags.count("script") == 1
    assert " ".join(found.words).count(HOSTILE) >= 4


def test_the_pages_policy_allows_its_own_style_and_script_alone(program: Program) -> None:
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', made(program))
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert policy.count("sha256-") == 2
    assert "unsafe" not in policy
    assert "http:" not in made(program)
    assert "https:" not in made(program)


@given(st.lists(st.sets(st.integers(1, 12), max_size=3), max_size=80))
def test_branches_that_meet_have_different_lanes(back: list[set[int]]) -> None:
    layers = [
        Layer(row, row, (), (), tuple(sorted(row - by for by in jumps if by <= row)))
        for row, jumps in enumerate(back)
    ]
    branches, left_out = branches_of(layers)
    jumping = {source for layer in layers for source in layer.sources if layer.number - source > 1}
    assert len(branches) + left_out == len(jumping)
    assert all(branch.lane < MOST_LANES for branch in branches)
    for one in branches:
        for other in branches:
            if one.source < other.source < one.end:
                assert one.lane != other.lane


def test_the_command(compiled: Compiled, tmp_path: Path) -> None:
    file = tmp_path / "program.html"
    done = moiety("inspect", compiled.public, "--html", file, "--network", "wan").check()
    assert done.stdout == ""
    assert "40 ms" in file.read_text()
    absent = tmp_path / "absent" / "program.html"
    moiety("inspect", compiled.public, "--html", absent).refused(5, "cannot write")
