"""All that can be known before anything is sent: the cohort is read, every image judged, labels,
reference scores and policy checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from moiety.protocols.errors import BadInput
from moiety.runtime.intake.admission import Intake, admit
from moiety.runtime.intake.text import printable
from moiety.runtime.intake.verdicts import Skipped
from moiety.runtime.study.cohort import CohortList, Columns, Listed, read_cohort
from moiety.runtime.study.journal import Journal, image_of, key_of
from moiety.runtime.study.reference import Reference, read_reference
from moiety.runtime.study.scores import Scored
from moiety.runtime.study.session import SessionPlan
from moiety.runtime.study.uids import files_of_uids

REFUSED = "refused by the intake"
TWICE = "the same image as an earlier line"
NOT_RUN = "not run"


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """columns: how the list names things. images: the folder that its files, or UIDs, are in; None:
    the list's own. result: the Program's result to study; None: the first with labels. reference:
    a list of cleartext scores; reference_labels: label -> its column there, where it is another.
    keep_going: a refused image ends itself alone. limit: at most so many images of the list are
    run. sessions: at a time. name, margin, bootstrap, seed: of the report (table.Study); the name
    is the model's where none is given.
    """

    columns: Columns = field(default_factory=Columns)
    images: Path | None = None
    result: str | None = None
    reference: Path | None = None
    reference_labels: Mapping[str, str] = field(default_factory=dict)
    keep_going: bool = True
    limit: int | None = None
    sessions: int = 1
    name: str = ""
    margin: float = 0.01
    bootstrap: int = 2000
    seed: int = 0


@dataclass(frozen=True)
class Prepared:
    """A cohort that may be run. lines: those with an image that is accepted; keys: of these, what a
    journal knows them by. intake: the verdicts. excluded: reason -> number of images left out.
    """

    plan: SessionPlan
    options: StudyOptions
    scored: Scored
    cohort: CohortList
    reference: Reference | None
    intake: Intake
    lines: tuple[Listed, ...]
    keys: tuple[str, ...]
    excluded: Mapping[str, int]

    def pending(self, journal: Journal | None) -> list[tuple[int, Path]]:
        """Of the images within the limit, those that a journal does not have: number and file."""
        done = journal.images if journal else {}
        return [
            (number, line.file)
            for number, line in enumerate(self.lines[: self.options.limit])
            if self.keys[number] not in done
        ]

    def is_whole(self, journal: Journal) -> bool:
        """Whether it has all images, those beyond the limit, too."""
        return journal.images.keys() >= {*self.keys}


def prepare(
    plan: SessionPlan,
    cohort_file: Path,
    options: StudyOptions,
    judged: Callable[[int, int], None] = lambda done, total: None,
) -> Prepared:
    """`judged(n, total)`: so many files are read. Raises `BadInput`."""
    if options.reference and not plan.program.policy.tells_of_images:
        raise BadInput(
            "--reference: this Program's policy is to reveal aggregates, so there are no scores of "
            "images to compare with; leave it away"
        )
    if options.reference_labels and options.reference is None:
        raise BadInput(
            "--reference-label names columns of --reference SCORES.csv, which is not given"
        )
    scored = Scored.of(plan.program, options.result)
    locate = partial(files_of_uids, folder=options.images)
    cohort = read_cohort(cohort_file, scored.labels, options.columns, options.images, locate)
    reference = (
        read_reference(options.reference, cohort, options.reference_labels, scored.kind)
        if options.reference
        else None
    )
    plan = replace(plan, rows=tuple((file, tuple(rows)) for file, rows in cohort.rows.items()))
    files = [line.file for line in cohort.lines]
    intake = admit(files, plan.reader(), options.keep_going, lambda done: judged(done, len(files)))
    lines, keys = _distinct(cohort, intake)
    excluded = {
        REFUSED: len(intake.refused),
        TWICE: len(cohort.lines) - len(intake.refused) - len(lines),
    }
    excluded = {reason: count for reason, count in excluded.items() if count}
    return Prepared(plan, options, scored, cohort, reference, intake, lines, keys, excluded)


def _distinct(cohort: CohortList, intake: Intake) -> tuple[tuple[Listed, ...], tuple[str, ...]]:
    """The lines whose image is accepted, each image once, and their keys; the others are skipped.
    Raises `BadInput` where two lines say different things of one image.
    """
    accepted = {each.path: each.identity for each in intake.accepted}
    skipped = {each.path: each.identity for each in intake.skipped if each.identity}
    first: dict[str, Listed] = {}
    for line in cohort.lines:
        identity = accepted.get(line.file) or skipped.get(line.file)
        if identity is None:
            continue
        known = first.setdefault(image_of(identity), line)
        if _what_is_said(known) != _what_is_said(line):
            raise BadInput(
                f"{cohort.place(line)}: the same image as in line {known.line} "
                f"({printable(known.entry)}), with another label, site or patient; which is right?"
            )
        if known is not line and line.file not in skipped:
            why = f"the same pixels as {printable(known.file)}, counted once"
            intake.skipped.append(Skipped(line.file, why, identity))
    return tuple(first.values()), tuple(key_of(accepted[line.file]) for line in first.values())


def _what_is_said(line: Listed) -> str:
    return repr((line.truth, line.site, line.patient))  # as text, because NaN is not NaN
