"""What a run shows on the terminal while it goes on."""

from __future__ import annotations

import io

from rich.console import Console

from moiety.runtime.cli import progress


def test_layer_names_are_not_markup() -> None:
    """They come from the vendor's Program and are shown on the hospital's terminal."""
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=200)
    with progress._bar(console, "inference") as watch:
        watch(1, 2, "conv[/b][link=file:///]x")
    assert "conv[/b][link=file:///]x" in shown.getvalue()
