"""What a run shows on the terminal while it goes on."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from moiety.runtime.cli import progress


def test_layer_names_are_not_markup() -> None:
    """They come from the vendor's Program and are shown on the hospital's terminal."""
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=200)
    with progress._bar(console, "inference") as watch:
        watch(1, 2, "conv[/b][link=file:///]x")
    assert "conv[/b][link=file:///]x" in shown.getvalue()


def test_lines_name_the_phase_and_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a pipe or a log file gets: whole lines, no control characters."""
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    watch = progress._lines("compiling")
    watch(3, 20, "calibrating, image")
    watch(0, 0, "planning")
    watch(1, 2, "name\x1b[31m\n")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "compiling: calibrating, image 3 of 20, 0 s",
        "compiling: planning, 0 s",
        "compiling: name?[31m? 1 of 2, 0 s",
    ]
