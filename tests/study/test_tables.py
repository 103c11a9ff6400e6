"""What the terminal shows of a study."""

from __future__ import annotations

import pytest
from rich.console import Console

from moiety.runtime.cli.study_tables import money, result_table
from tests.support.analyses import Made


@pytest.mark.parametrize("reference", [False, True])
def test_a_comparison_fits_80_columns(reference: bool) -> None:
    """Each label in one line, each head in one word."""
    labels = ("Cardiomegaly", "Effusion")
    console = Console(width=80)
    with console.capture() as shown:
        console.print(result_table(Made(labels=labels, reference=reference).analysis()))
    text = shown.get()
    assert len(text.splitlines()) == 1 + 3 + len(labels) + 1, text


def test_a_price_is_never_shown_as_nothing() -> None:
    assert [money(each) for each in (0, 0.00123, 0.5, 1234.5)] == [
        "0.00",
        "0.0012",
        "0.50",
        "1,234.50",
    ]
