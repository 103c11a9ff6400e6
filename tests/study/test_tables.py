"""What the terminal shows of a study."""

from __future__ import annotations

import pytest
from rich.console import Console

from moiety.runtime.cli.study_tables import money, result_table
from moiety.runtime.program.policy import Reveal
from tests.support.analyses import Made


@pytest.mark.parametrize("reveal", ["scores", "decision", "top-1"])
@pytest.mark.parametrize("reference", [False, True])
def test_results_fit_80_columns(reveal: Reveal, reference: bool) -> None:
    """Each label in one line, each head in one word."""
    labels = ("Cardiomegaly", "Effusion")
    console = Console(width=80)
    made = Made(labels=labels, reference=reference, reveal=reveal)
    with console.capture() as shown:
        console.print(result_table(made.analysis()))
    text = shown.get()
    assert len(text.splitlines()) == 1 + 3 + len(labels) + 1, text


def test_a_price_is_never_shown_as_nothing() -> None:
    assert [money(each) for each in (0, 0.00123, 0.5, 1234.5)] == [
        "0.00",
        "0.0012",
        "0.50",
        "1,234.50",
    ]
