"""The report's files: report.html, report.json, tables/*.csv."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from moiety.protocols.errors import BadInput
from moiety.runtime.intake.text import legible
from moiety.runtime.program.atomic import OWNER_ALONE, write_atomically
from moiety.runtime.program.policy import Policy
from moiety.runtime.study.report import summary
from moiety.runtime.study.report.page import Page, Section, render
from moiety.runtime.study.report.sections import (
    agreement,
    cohort,
    decisions,
    discrimination,
    methods,
    resources,
    scores,
)
from moiety.runtime.study.statistics.analysis import Analysis
from moiety.runtime.study.table import Study

FORMAT = "moiety-study-report"
VERSION = 1
SECTIONS = (
    cohort.section,
    discrimination.section,
    decisions.section,
    agreement.section,
    scores.section,
    resources.section,
    methods.section,
    methods.reproduction,
)
"""In the report's order. One that has nothing to say of a study returns None."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """report.json: all that the page says, as numbers (docs/report.md)."""

    format: str = FORMAT
    version: int = VERSION
    name: str
    policy: Policy
    facts: Mapping[str, str]
    summary: tuple[str, ...]
    analysis: Analysis


def write_report(study: Study, analysis: Analysis, folder: Path) -> None:
    """Into `folder`, which is made where it is not there; each file is replaced whole and readable
    by its owner alone. Tables of an earlier report that this one has not are removed. Raises
    `BadInput` where a file cannot be written.
    """
    files = contents(study, analysis)
    try:
        (folder / "tables").mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            write_atomically(folder / name, data, OWNER_ALONE)
        for path in (folder / "tables").glob("*.csv"):
            if f"tables/{path.name}" not in files:
                path.unlink()
    except OSError as error:
        what = os.strerror(error.errno) if error.errno else str(error)
        raise BadInput(f"the report cannot be written to {folder}: {what}") from error


def contents(study: Study, analysis: Analysis) -> dict[str, bytes]:
    """Every file by its name in the folder: a function of its arguments alone."""
    sections = [made for each in SECTIONS if (made := each(study, analysis)) is not None]
    page = _page(study, analysis, sections)
    report = Report(
        name=legible(study.name),
        policy=study.policy,
        facts={legible(name): legible(text) for name, text in study.facts.items()},
        summary=tuple(page.findings),
        analysis=analysis,
    )
    tables = [table for section in sections for table in section.tables()]
    return {
        "report.html": render(page),
        "report.json": msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n",
        **{f"tables/{table.key}.csv": table.as_csv() for table in tables},
    }


def _page(study: Study, analysis: Analysis, sections: list[Section]) -> Page:
    return Page(
        title=study.name,
        kicker=f"Study report · policy: {analysis.policy}",
        findings=summary.findings(analysis),
        numbers=summary.numbers(analysis),
        verdicts=summary.verdicts(analysis),
        sections=sections,
    )
