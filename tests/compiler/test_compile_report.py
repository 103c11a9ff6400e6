"""What `moiety compile` says at its end: a row for each thing, none against another, in order."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from moiety.compiler.compile import Compiled, CompileOptions, compile_graph
from moiety.compiler.compile_report import client_rows, plan_warnings, promise_rows, say
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.planning.report import PlanReport
from moiety.runtime import program as ir
from moiety.runtime.program.expression.axes import Arg
from tests.support.graphs import GraphMaker

OPTIONS = PlanOptions(activation_bits=12, weight_bits=12, overflow_probability=1e-3)


def compiled(options: PlanOptions = OPTIONS) -> Compiled:
    maker = GraphMaker(2, 8, 8, seed=1)
    maker.conv(maker.affine_relu(maker.conv("x", 3)), 3)
    return compile_graph(maker.graph(), maker.images(16), CompileOptions(options))


def a_report(**fields: object) -> PlanReport:
    return msgspec.structs.replace(compiled().report, **fields)


def test_all_of_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """In 80 columns, without markup of anybody's names."""
    monkeypatch.setenv("COLUMNS", "80")
    made = compiled()
    say(made, Path("out[bold]"))
    lines = capsys.readouterr().err.splitlines()
    assert max(map(len, lines)) <= 80
    names = [line.split("  ")[0] for line in lines if not line.startswith(" ")]
    order = ["Program", "one image", "error", "headroom", "revealed", "disclosed", "next"]
    assert names == order
    assert made.program.digest()[:16] in lines[0]
    assert any("give out[bold]/" in line for line in lines)


def test_what_images_would_save_is_not_said_beside_the_warning_that_they_are_missing() -> None:
    enough, few = a_report(overflow_probability=1e-3), a_report(overflow_probability=5e-3)
    for report, short in ((enough, False), (few, True)):
        report = msgspec.structs.replace(report, images_wanted=99)
        rows = " ".join(value for _, value in promise_rows(report))
        assert ("with 99 calibration images or more" in rows) is not short
        warned = [each for each in plan_warnings(report) if "too-few-images" in each]
        assert len(warned) == short


def test_images_save_nothing_of_margins_that_were_given() -> None:
    made = compiled(PlanOptions(activation_bits=12, weight_bits=12, margin_bits=3))
    report = msgspec.structs.replace(made.report, images_wanted=99)
    assert [name for name, _ in promise_rows(report)] == ["error", "headroom", ""]


def test_without_spread_there_is_no_headroom_row() -> None:
    assert "headroom" not in dict(promise_rows(a_report(overflow_probability=None)))


def test_what_the_client_is_shown_and_computes() -> None:
    program = compiled().program
    expression = ir.Expression(
        operations=(Arg(inputs=(0,), function="max", axis=1, keepdims=False),),
        results=(ir.Result(name="class", value=1),),
    )
    rows = list(client_rows(msgspec.structs.replace(program, expression=expression)))
    assert [name for name, _ in rows] == ["revealed", "", "computes", "disclosed"]
    assert "expected within" in rows[0][1]
    assert rows[1][1] == "which tells more than class (docs/security.md)"
    assert rows[2][1].startswith("class = argmax(")
