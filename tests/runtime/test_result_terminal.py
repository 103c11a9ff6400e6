"""What a person sees of results: narrow terminals, terminals without Unicode, closed ones."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from moiety.runtime.cli import ui
from moiety.runtime.cli.result_tables import (
    largest,
    left_out_lines,
    number,
    result_table,
    verdict_line,
)
from moiety.runtime.intake.picture import Warned
from moiety.runtime.results.record import LeftOut, Results
from tests.support.results import an_image, an_output, some_results

LONG = (
    "/a/very/long/path/to/the/images/of/the/cohort/of/last/year/" + "x" * 60 + "/radiograph-17.png"
)


def shown(results: Results, width: int, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace")
    console = Console(file=stream, width=width)
    console.print(result_table(results, console))
    stream.flush()
    return raw.getvalue().decode(encoding)


def words(text: str) -> list[str]:
    return text.replace("│", " ").replace("|", " ").replace(",", " ").split()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_values_are_never_cut_and_names_keep_their_end(width: int) -> None:
    outputs = [
        an_output([0.9912, 0.0871, 0.5], ("covid19", "no_finding", "pneumonia"), "probabilities"),
        an_output([4.34, -123456.789, 1e12], name="bare"),
    ]
    text = shown(some_results(an_image(LONG, outputs)), width)
    assert max(map(cell_len, text.splitlines())) <= width
    for value in ("0.9912", "0.0871", "0.5000", "4.3400", "-123456.7890", "1.0000e+12"):
        assert value in words(text)
    assert "17.png" in text
    for word in ("covid19:", "probabilities:", "bare:"):
        assert word in words(text)


def test_bare_values_have_a_name() -> None:
    assert (
        largest(an_output([1.0, 2.0, 4.34]))
        == "output 2: 4.3400, output 1: 2.0000, output 0: 1.0000"
    )
    assert largest(an_output([4.34])) == "output 0: 4.3400"
    places = an_output([2, 0], ("cat", "dog", "owl"), kind="integer", chosen=("owl", "cat"))
    assert largest(places) == "output 0: owl, output 1: cat"
    assert largest(an_output([float(i) for i in range(9)])).endswith(", ...")
    decisions = an_output([0, 1, 0, 1, 1, 1, 1, 1, 0], kind="boolean")
    assert largest(decisions).count(": 1") == 6  # all that is true
    assert largest(decisions).endswith("output 7: 1, ...")
    assert "output 2: 4.34" in shown(some_results(an_image("a.png")), 80)


def test_large_numbers_stay_short() -> None:
    assert number(0.12345) == "0.1235"
    assert max(len(number(value)) for value in (1e300, -1e300, 999999.99999, -1e-300)) <= 14


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_every_terminal_shows_every_name(encoding: str) -> None:
    outputs = [an_output([1.0], ("naïve 肺炎",))]
    text = shown(some_results(an_image("röntgen-肺-\x1b[2J.png", outputs)), 80, encoding)
    assert "output" not in text
    assert "1.0000" in text
    assert "\x1b[2J" not in text  # a name clears no screen
    assert ("\\u80ba" in text) == (encoding != "utf-8")


@given(st.text(), st.integers(8, 60))
def test_a_shortened_name_fits(text: str, width: int) -> None:
    short = ui.shortened(text, width)
    assert cell_len(short) <= max(width, 0)
    if cell_len(text) <= width:
        assert short == text
    else:
        assert ui.CUT in short


def test_left_out_files_are_counted_and_named() -> None:
    assert left_out_lines("skipped", []) == []
    files = [LeftOut(f"{i}.txt", "not a type read here") for i in range(7)]
    lines = left_out_lines("skipped", files)
    assert lines[0] == "7 skipped:"
    assert lines[1] == "  0.txt: not a type read here"
    assert lines[-1] == "  and 2 more"


def test_one_image_is_no_images() -> None:
    assert verdict_line(some_results(an_image("a.png", warned=True))).startswith("1 image, ")


def test_what_was_said_before_the_run_is_counted_after_it() -> None:
    """Notes are no reason to doubt an image."""
    noted = an_image("c.png")
    noted.warnings = (Warned("lossy-compression", "it was compressed", note=True),)
    results = some_results(an_image("a.png", warned=True), an_image("b.png"), noted)
    assert verdict_line(results) == "3 images, 1 with warnings, 1 refused, 1 skipped"
    assert "low-peak" not in shown(results, 200)


SHOW = """
from moiety.runtime.cli import ui
from moiety.runtime.cli.result_tables import result_table
from tests.support.results import an_image, some_results
def app():
    ui.show(result_table(some_results(an_image("r\\u00f6ntgen-\\u80ba.png")), ui.console()))
    ui.say("the end")
ui.run(app)
"""


def run_show(stdout: int, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SHOW],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
        check=False,
    )


@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "ascii"}, {"LANG": "C", "LC_ALL": "C"}, {"COLUMNS": "40"}]
)
def test_any_environment(environment: dict[str, str]) -> None:
    done = run_show(subprocess.PIPE, **environment)
    assert done.returncode == 0, done.stderr
    assert "4.3400" in done.stdout
    assert done.stderr == "the end\n"
    if "COLUMNS" in environment:
        assert max(map(len, done.stdout.splitlines())) <= 40


def test_a_terminal_that_is_gone_fails_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        for stdout, why in ((writing, "Broken pipe"), (full, "No space left")):
            done = run_show(stdout)
            assert done.returncode == 0
            assert done.stderr.splitlines()[-1] == "the end"
            assert why in done.stderr
            assert "Traceback" not in done.stderr
            assert "Exception" not in done.stderr
    finally:
        os.close(writing)
        os.close(full)
