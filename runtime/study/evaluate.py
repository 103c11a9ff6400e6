"""A study from its list to its report, and from its journal to the report again."""

from __future__ import annotations

import os
import platform
import secrets
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from moiety.protocols.errors import BadInput
from moiety.runtime.intake import extras
from moiety.runtime.intake.text import printable
from moiety.runtime.operation.events import Started
from moiety.runtime.operation.files import make_folder, unusable
from moiety.runtime.party.handshake import package_version
from moiety.runtime.results.record import utc_now
from moiety.runtime.results.retry import Retries
from moiety.runtime.study.aggregate import ask, check_policy, check_unrevealed
from moiety.runtime.study.assemble import facts_of, finished_of, resources_of, table_of
from moiety.runtime.study.journal import NAME, Head, Journal, Part
from moiety.runtime.study.local import LocalWorkers
from moiety.runtime.study.prepare import NOT_RUN, Prepared, StudyOptions, prepare
from moiety.runtime.study.runner import Runner, Unwatched, Watcher, tasks_of
from moiety.runtime.study.session import SessionPlan
from moiety.runtime.study.table import Study
from moiety.runtime.study.workers import Workers

if TYPE_CHECKING:  # it needs the extra `study`, which the rest does not
    from moiety.runtime.study.statistics.analysis import Analysis

STATISTICS = "moiety.runtime.study.statistics"
REPORT = "moiety.runtime.study.report"
LIBRARIES = ("jinja2", "matplotlib", "scipy", "sklearn", "statsmodels")
"""That statistics and report load when the images are run."""
FOLDER_MODE = 0o700
RECORD_BYTES = 16 << 10
"""Of an image in the journal, at most; usually a third of it."""
REPORT_BYTES = 32 << 20

DEFAULTS, AS_USUAL, UNWATCHED = StudyOptions(), Retries(), Unwatched()


def evaluate(
    plan: SessionPlan,
    cohort: Path,
    folder: Path,
    options: StudyOptions = DEFAULTS,
    retries: Retries = AS_USUAL,
    workers: Callable[[SessionPlan], Workers] | None = None,
    watcher: Watcher = UNWATCHED,
    say: Callable[[str], None] = lambda message: None,
) -> Study:
    """Runs the cohort's list through the server of `plan`, as far as the journal in `folder` does
    not have it yet, and writes the report there. workers: who runs images, made by the plan; None:
    `options.sessions` processes of this machine. `say`: of what should be known on the way.

    Raises `BadInput` for what is wrong with list, images, scores or folder, before anything is
    sent; later as `Client.connect` and `Connection.infer_batch`: then all images that were finished
    are in the journal, and the same call goes on with the others.
    """
    require_extras()
    prepared = prepare(plan, cohort, options)
    check_folder(prepared, folder)
    prepared, journal = begin(prepared, folder, say)
    try:
        made = workers(prepared.plan) if workers else local_workers(prepared)
        run(prepared, journal, made, retries, watcher)
        if aggregate_is_due(prepared, journal):
            ask(prepared, journal, retries)
        study = study_of(prepared, journal)
        write(study, folder)
    finally:
        journal.close()
    return study


def require_extras() -> None:
    """Raises `BadInput`, with the command that installs it, where a library of the report is
    absent.
    """
    extras.require(LIBRARIES, "the report of a study")


def local_workers(
    prepared: Prepared, on_wait: Callable[[str, int], None] = lambda name, ahead: None
) -> Workers:
    """Processes of this machine."""
    return LocalWorkers(prepared.plan, prepared.options.sessions, on_wait)


def check_folder(prepared: Prepared, folder: Path) -> Journal | None:
    """What the journal holds that is there already. Raises `BadInput` where the policy reveals
    nothing of this cohort, where the study cannot be kept in `folder`, and where another one is.
    Changes nothing.
    """
    check_policy(prepared)
    _check_place(folder)
    found = Journal.look(folder)
    if found is not None:
        _check_same(prepared, found, folder)
    elif folder.is_dir() and any(each.name != NAME for each in folder.iterdir()):
        raise BadInput(
            f"{printable(folder)}: holds other files and no study; give a new or an empty folder"
        )
    _check_room(folder, len(prepared.pending(found)))
    return found


def _check_place(folder: Path) -> None:
    """That it is a folder, or may become one."""
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{printable(folder)}: is a file; give a folder for the study")
    for each in (folder, *folder.parents):
        if each.is_symlink() and not each.exists():
            raise BadInput(
                f"{printable(each)}: is a link to {printable(each.readlink())}, which is not "
                "there; give a folder for the study"
            )


def _check_same(prepared: Prepared, found: Journal, folder: Path) -> None:
    """The journal is of this Program and of these images, of which there may be more by now; or it
    has no image, and may be begun anew.
    """
    if not found.images:
        return
    program, depth = prepared.plan.program.digest(), prepared.plan.bit_depth
    here = f"{printable(folder)} has a study of another"
    if found.head.program != program:
        raise BadInput(
            f"{here} Program: {found.head.program[:16]}..., not {program[:16]}...; give another "
            "folder, or the Program that it was begun with"
        )
    if found.head.bit_depth != depth:
        raise BadInput(
            f"{here} reading of its pictures: --bit-depth {found.head.bit_depth or 'unsaid'}, not "
            f"{depth or 'unsaid'}; give the same, or another folder"
        )
    absent = found.images.keys() - set(prepared.keys)
    if absent:
        some = printable(
            next(found.images[key].result.file for key in found.images if key in absent)
        )
        raise BadInput(
            f"{here} cohort: {len(absent)} of its {len(found.images)} finished images are not in "
            f"this list, or have changed (the first is {some}). Images may be added to a study, "
            "not taken away; give another folder"
        )
    check_unrevealed(prepared, found)


def _check_room(folder: Path, images: int) -> None:
    place = next(each for each in (folder, *folder.absolute().parents) if each.is_dir())
    needed = images * RECORD_BYTES + REPORT_BYTES
    if not os.access(place, os.W_OK | os.X_OK):
        raise BadInput(f"{printable(folder)}: {printable(place)} cannot be written to")
    free = shutil.disk_usage(place).free
    if free < needed:
        raise BadInput(
            f"{printable(folder)}: {free >> 20} MiB are free there, and a study of {images} images "
            f"may take {needed >> 20} MiB"
        )


def begin(prepared: Prepared, folder: Path, say: Callable[[str], None]) -> tuple[Prepared, Journal]:
    """The journal, for writing, and the cohort with what the two parties call it; the folder is
    made where there is none. Raises as `Journal.open` and `check_folder`.
    """
    try:
        make_folder(folder, FOLDER_MODE)
    except OSError as error:
        raise unusable(folder, "a study's folder", error) from error
    journal = Journal.open(folder, _head(prepared), say)
    try:
        _check_same(prepared, journal, folder)
    except BaseException:
        journal.close()
        raise
    if not prepared.plan.program.policy.tells_of_images:
        prepared = replace(prepared, plan=replace(prepared.plan, cohort=journal.head.cohort))
    return prepared, journal


def _head(prepared: Prepared) -> Head:
    return Head(
        program=prepared.plan.program.digest(),
        bit_depth=prepared.plan.bit_depth,
        cohort=secrets.token_hex(16),
        started=utc_now(),
        releases={
            "moiety": package_version(),
            "python": platform.python_version(),
            "numpy": np.__version__,
        },
        margin=prepared.options.margin,
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
    )


def run(
    prepared: Prepared,
    journal: Journal,
    workers: Workers,
    retries: Retries = AS_USUAL,
    watcher: Watcher = UNWATCHED,
) -> None:
    """What the journal does not have yet. Raises as `Runner.run`."""
    pending = prepared.pending(journal)
    if not pending:
        workers.close()
        return
    plan = prepared.plan
    plan.recorder().record(Started(release=package_version()))
    journal.add(
        Part(
            time=utc_now(),
            cohort=prepared.cohort.digest(),
            images=len(prepared.lines),
            sessions=workers.wanted,
            batch=plan.batch,
        )
    )
    runner = Runner(workers, journal, prepared.keys, retries, watcher)
    runner.run(tasks_of(pending, plan.batch))


def aggregate_is_due(prepared: Prepared, journal: Journal) -> bool:
    """Whether nothing else is left to do; not where a limit leaves images for another time."""
    return not prepared.plan.program.policy.tells_of_images and prepared.is_whole(journal)


def study_of(prepared: Prepared, journal: Journal) -> Study:
    """Of the images that the journal has. Raises `BadInput` where it has none."""
    finished = finished_of(prepared.lines, prepared.keys, journal)
    if not finished.lines:
        raise BadInput(f"{printable(journal.path)}: no image is finished; there is no report yet")
    program = prepared.plan.program
    revealed = program.policy.tells_of_images
    if not revealed and journal.aggregate is None:
        raise BadInput(
            f"{printable(journal.path)}: the aggregate is not revealed before all images are "
            f"finished, and {len(finished.lines)} of {len(prepared.lines)} are; there is no report "
            "yet"
        )
    options, excluded = prepared.options, dict(prepared.excluded)
    if left := len(prepared.lines) - len(finished.lines):
        excluded[NOT_RUN] = left
    return Study(
        name=options.name or printable(program.name),
        policy=program.policy,
        facts=facts_of(prepared, journal),
        resources=resources_of(finished, journal),
        table=table_of(finished, prepared.cohort, prepared.scored, prepared.reference)
        if revealed
        else None,
        aggregate=journal.aggregate.results if journal.aggregate else None,
        excluded=excluded,
        margin=options.margin,
        bootstrap=options.bootstrap,
        seed=options.seed,
    )


def write(study: Study, folder: Path) -> Analysis:
    """The report of a study, in its folder; returns the numbers in it. Raises `BadInput` where it
    cannot be written.
    """
    analysis: Analysis = extras.load(STATISTICS, "the report of a study").analyse(study)
    extras.load(REPORT, "the report of a study").write_report(study, analysis, folder)
    return analysis
