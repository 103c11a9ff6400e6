"""What the terminal shows of a study."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from moiety.runtime.cli.study_tables import cohort_lines, money, result_table
from moiety.runtime.program.policy import Reveal
from moiety.runtime.study.prepare import StudyOptions, prepare
from moiety.runtime.study.session import SessionPlan
from tests.support.analyses import Made
from tests.support.studies import small_study


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


def test_an_image_without_a_patient_is_said(tmp_path: Path) -> None:
    """One empty cell makes all images count as independent."""
    small = small_study(tmp_path, 4)
    plan = SessionPlan(program=small.program, host="127.0.0.1", port=1)
    assert list(cohort_lines(prepare(plan, small.list, StudyOptions()))) == []
    small.list.write_text(small.list.read_text().replace(",p1,", ",,", 1))
    (line,) = cohort_lines(prepare(plan, small.list, StudyOptions()))
    assert line.startswith("1 image of 4 without a patient: all images count as independent")
