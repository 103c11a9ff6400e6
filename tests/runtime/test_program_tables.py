"""What `moiety inspect` shows of a Program whose words are an enemy's."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console, RenderableType

from moiety.runtime import program as ir
from moiety.runtime.cli import cost_tables, program_tables
from tests.support.programs import make_program

WORDS = "lung\x1b]0;x\x07\x1b[2J[/left][red]\nnodule"
SHOWN = r"lung\x1b]0;x\x07\x1b[2J[/left][red]\nnodule"


@pytest.fixture(scope="module")
def program() -> ir.Program:
    """Everything in it that people read, and that `check` lets be any text."""
    source = ir.Input(inputs=(), shape=(2,), bits=20, scale=1.0, name=WORDS)
    relu = ir.Relu(inputs=(0,), shape=(2,), bits=20, affine=False, name=WORDS)
    tree = json.loads(make_program(source, relu, disclosed=(WORDS,)).encode())
    tree["steps"][-1]["name"] = WORDS
    tree["expression"] = {
        "operations": [{"op": "unary", "inputs": [0], "function": "exp"}],
        "results": [{"name": WORDS, "value": 1, "labels": [WORDS, "b"]}],
    }
    return ir.Program.decode(json.dumps(tree).encode())


def shown(*what: RenderableType) -> str:
    text = io.StringIO()
    console = Console(file=text, width=1000, force_terminal=True, color_system=None)
    for each in what:
        console.print(each)
    return text.getvalue()


def test_words_are_neither_markup_nor_orders_to_the_terminal(program: ir.Program) -> None:
    predicted = cost_tables.prediction(program, "lan", "auto", None)
    text = shown(
        program_tables.summary(program),
        *program_tables.report(program, steps=True),
        *cost_tables.report(program, predicted, layers=True),
    )
    assert WORDS not in text
    assert "\x1b]" not in text
    assert "\x07" not in text
    assert text.count(SHOWN) >= 9
