"""The server's shares of cohorts on disk: whole after any crash, used once, counted, its owner's
alone.
"""

from __future__ import annotations

import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from moiety.protocols.arrays import U64
from moiety.protocols.errors import BadInput
from moiety.runtime.party.cohorts import run_ids
from moiety.runtime.party.server.admission import Denied
from moiety.runtime.party.server.cohorts import DAY, Cohorts, Shelf, cohorts_left

COHORT, OTHER = "ab" * 16, "cd" * 16
PROGRAM = "12" * 32


def shelf(folder: Path, client: str | None = None, program: str = PROGRAM) -> Shelf:
    return Cohorts.at(folder / "cohorts").of(client, program)


def runs(count: int, connection: str = "a") -> list[bytes]:
    return run_ids(connection.encode(), 0, count)


def shares(count: int) -> U64:
    return np.random.default_rng(count).integers(0, 1 << 63, (count, 3), np.uint64)


def file_of(folder: Path, cohort: str = COHORT) -> Path:
    return folder / "cohorts" / "anybody" / PROGRAM / f"{cohort}.shares"


def test_shares_come_back_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    shelf(tmp_path).keep(COHORT, runs(5), shares(5))
    shelf(tmp_path).keep(COHORT, runs(1, "b"), shares(1))
    asked = [*runs(1, "b"), *reversed(runs(4))]
    found = shelf(tmp_path).load(COHORT, asked)
    assert np.array_equal(found, np.concatenate([shares(1), shares(5)[3::-1]]))
    for path in (tmp_path / "cohorts").rglob("*"):
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_runs_have_ids_of_their_own() -> None:
    ids = {*run_ids(b"a" * 32, 0, 50), *run_ids(b"b" * 32, 0, 50), *run_ids(b"a" * 32, 50, 50)}
    assert len(ids) == 150
    assert run_ids(b"a" * 32, 20, 3) == run_ids(b"a" * 32, 0, 50)[20:23]


def test_clients_and_programs_and_cohorts_are_apart(tmp_path: Path) -> None:
    shelf(tmp_path).keep(COHORT, runs(2), shares(2))
    for other, cohort in (
        (shelf(tmp_path, "ef" * 32), COHORT),
        (shelf(tmp_path, None, "34" * 32), COHORT),
        (shelf(tmp_path), OTHER),
    ):
        with pytest.raises(Denied, match="of 2 of the 2 images"):
            other.load(cohort, runs(2))


def test_a_crash_costs_the_record_that_was_being_written(tmp_path: Path) -> None:
    """Whatever of the last record is on the disk, the header included."""
    kept = shelf(tmp_path)
    kept.keep(COHORT, runs(3), shares(3))
    whole = file_of(tmp_path).read_bytes()
    size = (len(whole) - 24) // 3
    for length in (*range(25), 24 + size - 1, 24 + size, *range(24 + 2 * size, len(whole), 7)):
        file_of(tmp_path).write_bytes(whole[:length])
        left = max(0, length - 24) // size
        if left:
            assert np.array_equal(kept.load(COHORT, runs(left)), shares(3)[:left])
        with pytest.raises(Denied, match="no share is kept"):
            kept.load(COHORT, runs(left + 1))
        kept.keep(COHORT, runs(1, "b"), shares(1))
        again = kept.load(COHORT, [*runs(left), *runs(1, "b")])
        assert np.array_equal(again, np.concatenate([shares(3)[:left], shares(1)]))


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    kept = shelf(tmp_path)
    kept.keep(COHORT, runs(2), shares(2))
    whole = file_of(tmp_path).read_bytes()
    for at in range(len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 1
        file_of(tmp_path).write_bytes(changed)
        with pytest.raises((BadInput, Denied)):
            kept.load(COHORT, runs(2))


def test_a_record_that_was_never_whole_costs_no_other(tmp_path: Path) -> None:
    """As a machine without power leaves one behind: its image was never said to be done."""
    kept = shelf(tmp_path)
    kept.keep(COHORT, runs(2), shares(2))
    whole = file_of(tmp_path).read_bytes()
    size = (len(whole) - 24) // 2
    file_of(tmp_path).write_bytes(whole[:-size] + bytes(size))
    kept.keep(COHORT, runs(1, "b"), shares(1))
    again = kept.load(COHORT, [*runs(1), *runs(1, "b")])
    assert np.array_equal(again, np.concatenate([shares(2)[:1], shares(1)]))
    with pytest.raises(Denied, match="of 1 of the 2 images"):
        kept.load(COHORT, runs(2))


def test_another_kind_of_file_is_not_added_to(tmp_path: Path) -> None:
    kept = shelf(tmp_path)
    kept.keep(COHORT, runs(2), shares(2))
    with pytest.raises(BadInput, match="do not fit their checksums"):
        kept.keep(COHORT, runs(1, "b"), np.zeros((1, 5), np.uint64))


def test_several_processes_add_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(shelf(tmp_path).keep, COHORT, runs(3, str(number)), shares(3))
            for number in range(16)
        ]
    for job in jobs:
        job.result()
    for number in range(16):
        found = shelf(tmp_path).load(COHORT, runs(3, str(number)))
        assert np.array_equal(found, shares(3))


# --- once -----------------------------------------------------------------------------------------


def test_a_cohort_is_spent_once(tmp_path: Path) -> None:
    kept = shelf(tmp_path)
    kept.keep(COHORT, runs(2), shares(2))
    kept.spend(COHORT, None, None)
    assert not file_of(tmp_path).exists()
    for again in (
        lambda: kept.spend(COHORT, None, None),
        lambda: kept.load(COHORT, runs(2)),
        lambda: kept.keep(COHORT, runs(2), shares(2)),
    ):
        with pytest.raises(Denied, match="a cohort has one"):
            again()


def test_a_marker_alone_ends_a_cohort(tmp_path: Path) -> None:
    """As after a crash between the two acts."""
    kept = shelf(tmp_path)
    kept.keep(COHORT, runs(2), shares(2))
    file_of(tmp_path).with_suffix(".spent").touch()
    with pytest.raises(Denied, match="a cohort has one"):
        kept.load(COHORT, runs(2))


def test_shares_that_are_put_back_are_not_used(tmp_path: Path) -> None:
    """And they are removed when the server starts, as those that a crash has left are."""
    kept = shelf(tmp_path)
    kept.keep(COHORT, runs(2), shares(2))
    before = file_of(tmp_path).read_bytes()
    kept.spend(COHORT, None, None)
    file_of(tmp_path).write_bytes(before)
    for again in (lambda: kept.load(COHORT, runs(2)), lambda: kept.spend(COHORT, None, None)):
        with pytest.raises(Denied, match="a cohort has one"):
            again()
    shelf(tmp_path)
    assert not file_of(tmp_path).exists()
    assert kept.count() == (1, 1)


@pytest.mark.parametrize(
    ("of_program", "of_all", "left"),
    [(None, None, None), (2, None, 1), (None, 2, 0), (5, 3, 1), (1, 9, 0), (0, 0, 0)],
)
def test_cohorts_left(of_program: int | None, of_all: int | None, left: int | None) -> None:
    """One of this Program is spent, two of all."""
    assert cohorts_left((1, 2), of_program, of_all) == left


def test_the_last_cohort_is_denied_to_the_next(tmp_path: Path) -> None:
    """And what is denied is not recorded."""
    kept = shelf(tmp_path)
    recorded: list[str] = []
    kept.spend(COHORT, 2, 2, lambda: recorded.append("first"))
    shelf(tmp_path, program="34" * 32).spend(COHORT, 2, 2)
    assert kept.count() == (1, 2)
    for cohort, words in ((OTHER, "all the aggregates that it may ask for"), (COHORT, "has one")):
        with pytest.raises(Denied, match=words):
            kept.spend(cohort, 2, 2, lambda: recorded.append("denied"))
    kept.spend(OTHER, 2, None, lambda: recorded.append("last"))
    assert kept.count() == (2, 3)
    assert recorded == ["first", "last"]


# --- the folder -----------------------------------------------------------------------------------


def test_unused_cohorts_expire(tmp_path: Path) -> None:
    shelf(tmp_path).keep(COHORT, runs(2), shares(2))
    shelf(tmp_path, "ef" * 32).spend(OTHER, None, None)
    old = time.time() - 31 * DAY
    for path in (tmp_path / "cohorts").rglob("*"):
        os.utime(path, (old, old))
    shelf(tmp_path, "99" * 32).cohorts.of(None, PROGRAM).keep(OTHER, runs(1), shares(1))
    assert not file_of(tmp_path).exists()
    assert file_of(tmp_path, OTHER).exists()
    assert shelf(tmp_path, "ef" * 32).count() == (1, 1)


def test_others_must_not_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "cohorts"
    folder.mkdir()
    folder.chmod(0o750)
    with pytest.raises(BadInput, match="chmod 700"):
        Cohorts.at(folder)
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="cannot be used as the shares of a cohort"):
        Cohorts.at(tmp_path / "file" / "cohorts")
