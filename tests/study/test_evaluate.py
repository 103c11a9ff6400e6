"""Whole studies of a small Program through real servers: results, resumption, kills, refusals."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from moiety.protocols.errors import BadInput
from moiety.runtime.party.executor import ServerExecutor
from moiety.runtime.party.server import ServerOptions
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.results.retry import Retries
from moiety.runtime.study import evaluate as study
from moiety.runtime.study.cohort import Columns
from moiety.runtime.study.journal import NAME, Image, Journal
from moiety.runtime.study.local import LocalWorker, LocalWorkers
from moiety.runtime.study.prepare import NOT_RUN, Prepared, StudyOptions, prepare
from moiety.runtime.study.runner import Unwatched
from moiety.runtime.study.session import SessionPlan
from moiety.runtime.study.statistics import analyse
from moiety.runtime.study.workers import Task, WorkerLost
from tests.support.command import COMMAND, ENVIRONMENT, moiety
from tests.support.serving import Running
from tests.support.studies import LABELS, SmallStudy, small_study

IMAGES = 12
KILLS = 2


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallStudy:
    return small_study(tmp_path_factory.mktemp("small"), IMAGES)


@pytest.fixture(scope="module")
def server(small: SmallStudy) -> Iterator[Running]:
    executor = ServerExecutor(small.program, small.weights)
    executor.prepare()
    running = Running(executor, ServerOptions(sessions=3))
    yield running
    running.end()


@pytest.fixture
def plan(small: SmallStudy, server: Running) -> SessionPlan:
    return SessionPlan(program=small.program, host="127.0.0.1", port=server.listener.port)


def prepared(plan: SessionPlan, small: SmallStudy, **options: Any) -> Prepared:
    return prepare(plan, small.list, StudyOptions(bootstrap=20, **options))


def expected(small: SmallStudy) -> np.ndarray:
    """By the cleartext executor, a row per image."""
    cleartext = CleartextExecutor(small.program, small.weights)
    return np.array([cleartext.run(np.load(file))["findings"] for file in small.files])


def run(made: Prepared, folder: Path, watcher: Unwatched | None = None) -> Journal:
    """The images that `folder` does not have; the journal, closed."""
    made, journal = study.begin(made, folder, print)
    try:
        workers = study.local_workers(made)
        study.run(made, journal, workers, Retries(first=0.01), watcher or Unwatched())
    finally:
        journal.close()
    return journal


def keys_in_order(folder: Path) -> list[str]:
    journal = Journal.look(folder)
    assert journal is not None
    return [*journal.images]


def test_two_sessions_give_what_the_program_means(
    small: SmallStudy, plan: SessionPlan, tmp_path: Path
) -> None:
    """Bit for bit, in the order of the list, whoever was first."""
    made = prepared(plan, small, sessions=2)
    journal = run(made, tmp_path)
    found = study.study_of(made, journal)
    assert found.table is not None
    assert (found.table.scores == expected(small)).all()
    assert found.table.labels == LABELS
    assert found.table.sites.tolist() == [f"site{n % 2}" for n in range(IMAGES)]
    assert found.table.patients.tolist() == [f"p{n // 2}" for n in range(IMAGES)]
    assert np.isnan(found.table.truth[4, 0])
    assert {image.worker for image in journal.images.values()} == {"session 1", "session 2"}
    resources = found.resources
    assert resources.sessions == 2
    assert (resources.sent > 0).all()
    assert resources.client_memory > 1 << 20
    assert resources.server_memory > 1 << 20
    assert resources.wall_seconds > 0
    assert set(resources.by_kind) >= {"linear", "relu"}


def test_a_limit_and_then_the_others(small: SmallStudy, plan: SessionPlan, tmp_path: Path) -> None:
    """Nothing is computed twice; the report of a part says how many are missing."""
    part = prepared(plan, small, limit=5)
    found = study.study_of(part, run(part, tmp_path))
    assert found.table is not None
    assert found.table.images == 5
    assert found.excluded == {NOT_RUN: 7}
    before = (tmp_path / NAME).read_bytes()
    rest = prepared(replace(plan, batch=4), small)
    journal = run(rest, tmp_path)
    assert (tmp_path / NAME).read_bytes().startswith(before)
    whole = study.study_of(rest, journal)
    assert whole.table is not None
    assert (whole.table.scores == expected(small)).all()
    assert whole.excluded == {}
    assert len(journal.parts) == 2
    run(rest, tmp_path)
    assert len(journal.parts) == 2, "a start with nothing to do is no part"


def children_of(pid: int) -> list[int]:
    """Of all its threads."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for each in lists for child in each.read_text().split()]


def test_what_is_killed_on_either_side_is_replaced(
    small: SmallStudy, server: Running, plan: SessionPlan, tmp_path: Path
) -> None:
    """A session's process, and later the server's ends of all."""
    made = prepared(plan, small, sessions=2)
    workers = LocalWorkers(made.plan, 2)

    class Killing(Unwatched):
        def image(self, image: Image) -> None:
            if len(journal.images) == 2:
                os.kill(workers.roster.started[-1].pid, signal.SIGKILL)
            if len(journal.images) == 7:
                for child in children_of(server.pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)

    said: list[str] = []
    made, journal = study.begin(made, tmp_path, print)
    study.run(made, journal, workers, Retries(first=0.01, say=said.append), Killing())
    journal.close()
    assert len(journal.images) == IMAGES
    assert "is gone (killed by SIGKILL); trying again" in said[0]
    assert len(said) >= 2
    assert not any("SIGKILL" in each for each in said[1:]), said
    table = study.study_of(made, journal).table
    assert table is not None
    assert (table.scores == expected(small)).all()


def test_a_session_ends_with_the_study(small: SmallStudy, plan: SessionPlan) -> None:
    """Closed while it runs, its process is gone, and no pipe to it is left; no new one starts."""
    made = prepared(plan, small)
    before = len(os.listdir("/proc/self/fd"))
    workers = LocalWorkers(made.plan)
    workers.start().close()
    worker = workers.start()
    assert isinstance(worker, LocalWorker)
    workers.close()
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)
    with pytest.raises(WorkerLost, match="exit code 143"):
        worker.run(Task((0,), (small.files[0],)))
    with pytest.raises(WorkerLost):
        workers.start()


def started(small: SmallStudy, server: Running, folder: Path) -> subprocess.Popen[str]:
    arguments = [small.public, small.list, "-o", folder, "--sessions", "2", "--bootstrap", "20"]
    address = f"127.0.0.1:{server.listener.port}"
    return subprocess.Popen(
        [*COMMAND, "evaluate", *map(str, arguments), "--connect", address],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
    )


def imports(pid: int) -> bool:
    """Whether a session's process is as far as NumPy."""
    try:
        command, maps = (Path(f"/proc/{pid}/{name}").read_text() for name in ("cmdline", "maps"))
    except OSError:
        return False
    return "session_process" in command and "numpy" in maps


def test_ctrl_c_ends_a_study_in_one_line(
    small: SmallStudy, server: Running, tmp_path: Path
) -> None:
    """A terminal sends it to all that the command has started, too, here while they begin."""
    process = started(small, server, tmp_path / "study")
    while process.poll() is None and not any(map(imports, children_of(process.pid))):
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert said.endswith("the same command goes on with the others\nstopped by SIGINT\n")


def killed(
    process: subprocess.Popen[str],
    journal: Path,
    lines: int,
    seconds: float,
    number: signal.Signals = signal.SIGKILL,
) -> None:
    """By a signal, so long after the journal has so many lines."""
    until = time.monotonic() + 30
    while not journal.exists() or journal.read_bytes().count(b"\n") < lines:
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.002)
    time.sleep(seconds)
    process.send_signal(number)
    process.communicate(timeout=30)


def test_killed_at_random_moments_the_report_is_the_same(
    small: SmallStudy, server: Running, plan: SessionPlan, tmp_path: Path
) -> None:
    """kill -9, twice, the moments drawn anew in each run of the test, and a SIGTERM. Journals only
    grow, nothing is in them twice, and what a report is made from is the same as of a study that
    nobody disturbed, but for resources.
    """
    random, folder = np.random.default_rng(), tmp_path / "killed"
    before, lines = b"", 0
    for _ in range(KILLS):
        # A head, a line for the part, and perhaps an image or two more than the last time.
        lines += 1 + int(random.integers(0, 3))
        killed(started(small, server, folder), folder / NAME, lines, random.uniform(0, 0.03))
        now = (folder / NAME).read_bytes()
        whole = before[: before.rfind(b"\n") + 1]
        assert now.startswith(whole)
        before, lines = now, now.count(b"\n") + 1
    stopped = started(small, server, folder)
    killed(stopped, folder / NAME, lines, 0, signal.SIGTERM)
    assert stopped.returncode == 128 + signal.SIGTERM
    made = prepared(plan, small)
    resumed, undisturbed = run(made, folder), run(made, tmp_path / "whole")
    assert len(keys_in_order(folder)) == IMAGES
    assert results_of(made, resumed) == results_of(made, undisturbed)


def results_of(made: Prepared, journal: Journal) -> tuple[bytes, Mapping[str, str]]:
    """All that a report is made from, but resources."""
    found = study.study_of(made, journal)
    nothing = replace(found.resources, by_kind={}, wall_seconds=0.0, sessions=0)
    numbers = msgspec.to_builtins(analyse(replace(found, resources=nothing)))
    del numbers["resources"]
    return msgspec.json.encode(numbers), found.facts


def test_the_report_says_whose_margin_it_is(
    small: SmallStudy, plan: SessionPlan, tmp_path: Path
) -> None:
    """One that was chosen when the results were known is said to be that; -1 likewise."""
    begun = prepared(plan, small, limit=2)
    journal = run(begun, tmp_path)
    name = "Margin of equivalence"
    facts = study.study_of(begun, journal).facts
    assert facts[name] == "±0.01 in AUROC, from the beginning of the study"
    assert facts["Uncertain labels (-1)"] == "none"
    later = study.study_of(prepared(plan, small, limit=2, margin=0.05), journal).facts
    assert later[name] == "±0.05 in AUROC, chosen later: the study was begun with ±0.01"
    doubted = small.list.with_name("doubted.csv")
    doubted.write_text(small.list.read_text().replace(",1,", ",-1,", 1))
    options = StudyOptions(columns=Columns(uncertain="negative"), limit=2)
    facts = study.study_of(prepare(plan, doubted, options), journal).facts
    assert facts["Uncertain labels (-1)"] == "1, taken as negative"


def test_a_dry_run_sends_nothing(small: SmallStudy, tmp_path: Path) -> None:
    """It needs no server, makes no folder, and says what the study would take."""
    prices = ("--price-per-hour", 3600, "--price-per-gb", 1000)
    done = moiety(
        "evaluate", small.public, small.list, "-o", tmp_path / "s", "--dry-run", *prices
    ).check()
    assert "images to run     12" in done.stdout
    assert "MB sent" in done.stdout
    assert "cost" in done.stdout
    assert "Effusion" in done.stderr
    assert not (tmp_path / "s").exists()


REFUSALS: Sequence[tuple[Sequence[object], int, str]] = (
    (("--reference", "nowhere.csv"), 5, "cannot read a list of reference scores"),
    (("--status", "--dry-run"), 5, "exclude each other"),
    (("--report-only",), 5, "there is no study yet"),
    (("--connect", "127.0.0.1:1"), 8, "refused"),
    (("--reference-label", "Edema=x"), 5, "names columns of --reference SCORES.csv, which is not"),
    (("--cluster", "local", "--store", "s"), 5, "--store: what is prepared lies on this machine"),
    (("--cluster", "local", "--sessions", 2), 5, "--sessions is of this machine; --cluster has --"),
    (("--pairs", 2), 5, "--pairs: for workers that --cluster places; give that, too"),
    (("--worker-cpus", 2), 5, "--worker-cpus: for workers that --cluster places; give that, too"),
)


@pytest.mark.parametrize(("arguments", "code", "said"), REFUSALS)
def test_what_is_wrong_is_said(
    small: SmallStudy, tmp_path: Path, arguments: Sequence[object], code: int, said: str
) -> None:
    done = moiety("evaluate", small.public, small.list, "-o", tmp_path / "s", *arguments)
    done.refused(code, said)
    assert "Fatal Python error" not in done.stderr


def test_a_folder_keeps_one_study(small: SmallStudy, plan: SessionPlan, tmp_path: Path) -> None:
    """Another Program, another cohort, another reading or other files there are refused, and what
    differs is said; images may be added.
    """
    folder = tmp_path / "study"
    made = prepared(plan, small, limit=2)
    run(made, folder)
    other = small_study(tmp_path / "other", 3)
    with pytest.raises(BadInput, match="study of another Program: "):
        study.check_folder(prepared(replace(plan, program=other.program), small), folder)
    with pytest.raises(BadInput, match="study of another reading of its pictures: --bit-depth uns"):
        study.check_folder(prepared(replace(plan, bit_depth=12), small), folder)
    lines = small.list.read_text().splitlines(keepends=True)
    shorter = small.list.with_name("shorter.csv")
    shorter.write_text("".join([lines[0], *lines[2:]]))
    with pytest.raises(BadInput, match="another cohort: 1 of its 2 finished images"):
        study.check_folder(prepare(plan, shorter, StudyOptions()), folder)
    found = study.check_folder(prepared(plan, small), folder)
    assert found is not None
    assert len(found.images) == 2
    with pytest.raises(BadInput, match="holds other files and no study"):
        study.check_folder(made, tmp_path)
    with pytest.raises(BadInput, match="is a file"):
        study.check_folder(made, small.list)
    (tmp_path / "broken").symlink_to("nowhere")
    with pytest.raises(BadInput, match="broken: is a link to nowhere, which is not there; give"):
        study.check_folder(made, tmp_path / "broken")


def test_a_study_without_an_image_is_begun_anew(small: SmallStudy, tmp_path: Path) -> None:
    """A server refuses the wrong Program when the folder is made already: it is free again."""
    other = small_study(tmp_path / "other", 3)
    folder = tmp_path / "study"
    for each in (other, small):
        made = prepared(SessionPlan(program=each.program, host="127.0.0.1", port=1), each)
        study.check_folder(made, folder)
        study.begin(made, folder, print)[1].close()
        journal = Journal.look(folder)
        assert journal is not None
        assert journal.head.program == each.program.digest()


def test_one_image_in_two_lines(small: SmallStudy, plan: SessionPlan, tmp_path: Path) -> None:
    """Counted once where both lines say the same of it, refused where they do not."""
    lines = small.list.read_text().splitlines()
    copied = small.list.parent / "images" / "copy.npy"
    copied.write_bytes(small.files[0].read_bytes())
    again = small.list.with_name("again.csv")
    same = lines[1].replace("image0.npy", "copy.npy")
    again.write_text("\n".join([*lines, same]))
    made = prepare(plan, again, StudyOptions())
    assert len(made.lines) == IMAGES
    assert made.excluded == {"the same image as an earlier line": 1}
    again.write_text("\n".join([*lines, same.replace("site0", "site1")]))
    with pytest.raises(BadInput, match=r"line 14: the same image as in line 2 \(images/image0"):
        prepare(plan, again, StudyOptions())
