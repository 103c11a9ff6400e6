"""What must be on the disk before anybody hears of it: the order of counting, writing down, running
and answering, as a machine that loses its power at that moment would show it.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moiety.protocols.aggregate.auroc import reveal
from moiety.protocols.errors import BadInput
from moiety.protocols.ot.generators import NEVER_SILENT
from moiety.runtime.intake.loader import Reader
from moiety.runtime.operation.access import AccessList
from moiety.runtime.operation.audit import AuditLog
from moiety.runtime.operation.counters import Counters
from moiety.runtime.operation.files import write_all
from moiety.runtime.operation.recorder import Recorder
from moiety.runtime.party import cohorts
from moiety.runtime.party.client import Client, Connection
from moiety.runtime.party.cohorts import run_ids
from moiety.runtime.party.executor import ClientExecutor, ServerExecutor
from moiety.runtime.party.server import ServerOptions
from moiety.runtime.party.server.cohorts import Cohorts
from moiety.runtime.party.server.operation import Watch
from moiety.runtime.party.server.visit import Visit
from moiety.runtime.program.atomic import OWNER_ALONE, replacing, write_atomically
from moiety.runtime.results.inference import Cohort, run_files, started
from moiety.runtime.results.outputs import Outputs, open_outputs
from moiety.runtime.study.journal import Aggregate, Journal
from tests.runtime.test_operated_server import CLIENT, KnownDoor
from tests.study.test_journal import HEAD, PART, an_entry
from tests.support.disk import Disk
from tests.support.kept import BATCH, Study, keeping
from tests.support.runnable import save_images, small
from tests.support.serving import Running
from tests.support.two_party import run_two_party

COHORT, PROGRAM = "ab" * 16, "12" * 32


def count(folder: Path) -> None:
    counters = Counters(folder / "counts.json", today=lambda: date(2026, 3, 1))
    counters.take(CLIENT, 2, lambda had: True)


def log(folder: Path) -> None:
    AuditLog(folder / "audit.jsonl").append({"event": "test"})


def keep(folder: Path) -> None:
    shelf = Cohorts.at(folder / "of" / "all" / "cohorts").of(CLIENT, PROGRAM)
    shelf.keep(COHORT, run_ids(b"binding", 0, 3), np.ones((3, 2), np.uint64))


def spend(folder: Path) -> None:
    keep(folder)
    Cohorts.at(folder / "of" / "all" / "cohorts").of(CLIENT, PROGRAM).spend(COHORT, None, None)


def begin_study(folder: Path) -> None:
    Journal.open(folder, HEAD, print).close()


def go_on(folder: Path) -> None:
    journal = Journal.open(folder, HEAD, print)
    journal.add(PART)
    journal.add(an_entry(len(journal.images)))
    journal.close()


def forget(folder: Path) -> None:
    go_on(folder)
    journal = Journal.open(folder, HEAD, print)
    journal.add(Aggregate(cohort="c", results=()))
    journal.forget_shares()
    journal.close()


@pytest.mark.parametrize("act", [count, log, keep, spend, begin_study, go_on, forget])
def test_what_is_done_stays_done(
    act: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first time, with folders and files that are new, and again."""
    disk = Disk(tmp_path, monkeypatch)
    act(tmp_path)
    assert disk.lost() == []
    if act is not spend:
        act(tmp_path)
        assert disk.lost() == []


def test_the_disk_of_these_tests_forgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(tmp_path, monkeypatch)
    file = tmp_path / "file"
    file.write_text("a")
    assert disk.lost() == ["file is not there"]
    with file.open() as opened:
        os.fsync(opened.fileno())
    folder = os.open(tmp_path, os.O_RDONLY)
    os.fsync(folder)
    assert disk.lost() == []
    file.write_text("b")
    assert disk.lost() == ["file is not as it was"]
    file.unlink()
    assert disk.lost() == ["file is there again"]
    os.fsync(folder)
    os.close(folder)
    assert disk.lost() == []


# --- a cohort is over before it is revealed -------------------------------------------------------


def test_the_marker_is_there_before_the_shares_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recorded, then marked, then destroyed: whatever comes between, no cohort has two answers."""
    keep(tmp_path)
    shelf = Cohorts.at(tmp_path / "of" / "all" / "cohorts").of(CLIENT, PROGRAM)
    disk = Disk(tmp_path, monkeypatch)
    marker = shelf.folder / PROGRAM / f"{COHORT}.spent"
    shares, unlink, order = marker.with_suffix(".shares"), Path.unlink, []

    def record() -> None:
        assert shares.exists()
        assert not marker.exists()
        order.append("recorded")

    def removing(path: Path, missing_ok: bool = False) -> None:
        assert path == shares
        assert marker.exists()
        assert disk.lost() == []
        assert stat.S_IMODE(marker.stat().st_mode) == 0o600
        order.append("destroyed")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", removing)
    shelf.spend(COHORT, None, None, record)
    assert order == ["recorded", "destroyed"]
    assert disk.lost() == []


def test_what_cannot_be_recorded_spends_nothing(tmp_path: Path) -> None:
    keep(tmp_path)
    shelf = Cohorts.at(tmp_path / "of" / "all" / "cohorts").of(CLIENT, PROGRAM)

    def full() -> None:
        raise BadInput("no room for the audit log")

    with pytest.raises(BadInput, match="no room"):
        shelf.spend(COHORT, None, None, full)
    assert shelf.count() == (0, 0)
    assert len(shelf.load(COHORT, run_ids(b"binding", 0, 3))) == 3


# --- files that are replaced whole ----------------------------------------------------------------


def test_a_file_is_whole_on_the_disk_before_it_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its content is synced under its other name; a reader of the old file has that to the end."""
    disk, path, renamed = Disk(tmp_path, monkeypatch), tmp_path / "results.json", Path.replace
    write_atomically(path, b"old", OWNER_ALONE)
    reader, moves = path.open("rb"), []

    def move(temporary: Path, target: Any) -> Path:
        assert not disk.unsynced(temporary)
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
        moves.append((temporary.read_bytes(), Path(target)))
        return renamed(temporary, target)

    monkeypatch.setattr(Path, "replace", move)
    write_atomically(path, b"new and longer", OWNER_ALONE)
    assert moves == [(b"new and longer", path)]
    with reader:
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new and longer"
    assert [*tmp_path.iterdir()] == [path]


def test_a_file_that_was_not_finished_takes_no_place(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_atomically(path, b"old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"old"
    assert [*tmp_path.iterdir()] == [path]


def test_a_disk_that_takes_a_few_bytes_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, real = Disk(tmp_path, monkeypatch), os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda at, data, where: real(at, data[:3], where))
    file = tmp_path / "file"
    file.write_bytes(b"before")
    with file.open("r+b") as opened:
        write_all(opened.fileno(), b"0123456789", 6)
    assert file.read_bytes() == b"before0123456789"
    assert not disk.unsynced(file)


# --- a server -------------------------------------------------------------------------------------


def counted(folder: Path) -> int:
    (count,) = json.loads((folder / "access.counts.json").read_text())["clients"].values()
    return int(count["total"])


class Noted:
    """What the process that serves finds on the disk, at the moment before it goes on."""

    def __init__(self, folder: Path, notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder, self._notes = folder, notes
        self._disk = Disk(folder, monkeypatch)

    def before(self, what: str, act: Callable[..., Any]) -> Callable[..., Any]:
        """The same act, noted first."""

        def noted(*arguments: Any, **options: Any) -> Any:
            with self._notes.open("a") as file:
                file.write(json.dumps([what, *self._found()]) + "\n")
            return act(*arguments, **options)

        return noted

    def _found(self) -> list[Any]:
        """What would be lost, but for what the server's own process writes to the log meanwhile;
        images counted; runs and aggregates written down; cohorts that have shares, and that are
        over.
        """
        log = (self._folder / "audit.jsonl").read_text()
        return [
            [each for each in self._disk.lost() if each != "audit.jsonl is not as it was"],
            counted(self._folder),
            log.count('"event":"begun"'),
            log.count('"event":"aggregated"'),
            sum(path.stat().st_size > 24 for path in self._folder.rglob("*.shares")),
            len([*self._folder.rglob("*.spent")]),
        ]

    def told(self) -> list[list[Any]]:
        return [json.loads(line) for line in self._notes.read_text().splitlines()]


def test_counted_then_written_down_then_run_then_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And of a cohort: kept, then answered; recorded and over, then revealed."""
    executor = ServerExecutor(*keeping(), batches=(1, BATCH))
    executor.prepare()
    folder = tmp_path / "vendor"
    folder.mkdir()
    file = folder / "access.toml"
    file.write_text(f'[clients.st-mary]\nfingerprint = "{CLIENT}"\nimages-per-day = 100\n')
    recorder = Recorder("server", executor.program.digest(), AuditLog(folder / "audit.jsonl"))
    door = KnownDoor(recorder, AccessList.at(file))
    noted = Noted(folder, tmp_path / "notes", monkeypatch)
    monkeypatch.setattr(
        ServerExecutor, "run_keeping", noted.before("run", ServerExecutor.run_keeping)
    )
    monkeypatch.setattr(Visit, "_served", noted.before("answer", Visit._served))
    monkeypatch.setattr(cohorts, "reveal", noted.before("reveal", reveal))
    server = Running(
        executor,
        ServerOptions(),
        admission=door,
        recorder=Watch(recorder),
        cohorts=Cohorts.at(folder / "cohorts"),
    )
    monkeypatch.setattr(cohorts, "reveal", reveal)  # the client's, in this process
    study = Study.of(16)
    try:
        with Client(executor.program, batch=BATCH).join(server.connect()) as connection:
            study.run(connection, 16)
            study.aggregate(connection)
    finally:
        server.end()
    assert noted.told() == [
        ["run", [], 8, 1, 0, 0, 0],
        ["answer", [], 8, 1, 0, 1, 0],
        ["run", [], 16, 2, 0, 1, 0],
        ["answer", [], 16, 2, 0, 1, 0],
        ["reveal", [], 16, 2, 1, 0, 1],
        ["answer", [], 16, 2, 1, 0, 1],
    ]


# --- a client -------------------------------------------------------------------------------------


def test_a_client_writes_down_then_sends_and_keeps_then_goes_on(
    executor: ServerExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each run it is in the audit log, and the results of the runs before it are kept."""
    folder = tmp_path / "hospital"
    files, program = save_images(folder, 3), executor.program
    disk, infer = Disk(folder, monkeypatch), Connection.infer_batch
    log, output, seen = folder / "audit.jsonl", folder / "results.json", []

    def noting(connection: Connection, cases: Any) -> Any:
        kept = len(json.loads(output.read_text())["images"]) if output.exists() else 0
        lost = [each for each in disk.lost() if not each.startswith("results.json")]
        whole = not output.exists() or not disk.unsynced(output)
        seen.append((lost, whole, kept, log.read_text().count('"event":"begun"')))
        return infer(connection, cases)

    monkeypatch.setattr(Connection, "infer_batch", noting)
    server = Running(executor, ServerOptions())
    recorder = Recorder("client", program.digest(), AuditLog(log))
    try:
        with Client(program).join(server.connect()) as connection:
            cohort, outputs = Cohort(files), Outputs(open_outputs([str(output)]))
            results = started(connection, cohort)
            run_files(connection, results, files, outputs, Reader.of(program), recorder=recorder)
    finally:
        server.end()
    assert seen == [([], True, 0, 1), ([], True, 1, 2), ([], True, 2, 3)]
    assert [each.file for each in results.images] == [str(file) for file in files]


# --- and what is never there ----------------------------------------------------------------------

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND


def test_a_session_writes_nothing_down() -> None:
    """No share, key or correlation of either party: neither opens a file to write in, so after a
    crash there is nothing to repeat.
    """
    opened: list[object] = []
    watching = True

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event == "open" and arguments[2] & WRITING:
            opened.append(arguments[0])

    program, weights = small()
    server, image = ServerExecutor(program, weights), np.zeros((2, 8, 8), np.float32)
    server.prepare()
    sys.addaudithook(note)  # there for as long as this process
    try:
        for silent_from in (1, NEVER_SILENT):
            ask = partial(ClientExecutor(program).run, case=image)
            run_two_party(server.run, ask, silent_from=silent_from)
        assert opened == []
        with open(os.devnull, "w"):
            assert opened == [os.devnull]
    finally:
        watching = False
