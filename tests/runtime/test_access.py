"""The access file, and the counts behind its quotas: crashes, clocks, copies, many processes."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import re
import signal
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moiety.protocols.errors import BadInput
from moiety.runtime.operation.access import AccessList, Admitted, Denied
from moiety.runtime.operation.counters import Count, Counters
from moiety.runtime.operation.fingerprint import Fingerprint

CLIENT, OTHER = (hashlib.sha256(name).hexdigest() for name in (b"client", b"other"))
PROGRAM = "5f" * 32
DAY = date(2026, 3, 1)


def access_file(folder: Path, *lines: str) -> Path:
    file = folder / "access.toml"
    text = f'[clients.st-mary]\nfingerprint = "{Fingerprint(bytes.fromhex(CLIENT))!s}"\n'
    file.write_text(text + "\n".join(lines) + "\n")
    return file


# --- fingerprints ---------------------------------------------------------------------------------


def test_a_fingerprint_of_syncthing_has_the_same_check_characters() -> None:
    known = "P56IOI7-MZJNU2Y-IQGDREY-DM2MGTI-MGL3BXN-PQ6W5BM-TBBZ4TJ-XZWICQ2"
    assert str(Fingerprint.parse(known)) == known


@given(st.binary(min_size=32, max_size=32))
def test_both_spellings_of_a_fingerprint_are_read(digest: bytes) -> None:
    shown = str(Fingerprint(digest))
    assert re.fullmatch(r"([A-Z2-7]{7}-){7}[A-Z2-7]{7}", shown)
    for spelling in (shown, shown.lower(), shown.replace("-", " "), digest.hex(":").upper()):
        assert Fingerprint.parse(spelling).digest == digest


@given(st.binary(min_size=32, max_size=32), st.integers(0, 55), st.integers(1, 31))
def test_one_wrong_character_is_found(digest: bytes, place: int, by: int) -> None:
    plain = str(Fingerprint(digest)).replace("-", "")
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    wrong = letters[(letters.index(plain[place]) + by) % 32]
    with pytest.raises(BadInput, match="check character"):
        Fingerprint.parse(plain[:place] + wrong + plain[place + 1 :])


@pytest.mark.parametrize("text", ["", "abc", "0" * 63, "A" * 55 + "!"])
def test_what_is_no_fingerprint_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="not a fingerprint"):
        Fingerprint.parse(text)


# --- who may ask ----------------------------------------------------------------------------------


def test_clients_are_known_by_their_certificates(tmp_path: Path) -> None:
    access = AccessList.at(access_file(tmp_path))
    assert access.admit(CLIENT, PROGRAM) == Admitted("st-mary")
    unknown = access.admit(OTHER, PROGRAM)
    assert isinstance(unknown, Denied)
    assert unknown.reason == "unknown"
    assert str(Fingerprint(bytes.fromhex(OTHER))) in unknown.message
    assert isinstance(access.admit(None, PROGRAM), Denied)


def test_a_client_may_be_held_to_programs(tmp_path: Path) -> None:
    access = AccessList.at(access_file(tmp_path, f'programs = ["{PROGRAM[:8]}"]'))
    assert isinstance(access.admit(CLIENT, PROGRAM), Admitted)
    denied = access.admit(CLIENT, "aa" * 32)
    assert isinstance(denied, Denied)
    assert (denied.reason, "aaaaaaaaaaaaaaaa" in denied.message) == ("program", True)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("images-per-dya = 3", "images-per-dya"),
        ("images-per-day = -1", "images-per-day is -1"),
        ('images-in-total = "many"', "int"),
        ("failed-checks-in-total = -1", "failed-checks-in-total is -1"),
        ("failed-checks-in-total = 0", "is 0, by which the client would never be served; write 1"),
        ('programs = ["5f"]', "at least 8"),
        ('[clients.twin]\nfingerprint = "' + CLIENT + '"', "st-mary and twin"),
        ('[clients.twin]\nfingerprint = "abc"', "twin: 'abc' is not a fingerprint"),
        ("[clients.twin]", "fingerprint"),
        ("[others]", "others"),
        ("= 3", "not an access file"),
    ],
)
def test_a_wrong_access_file_is_refused(lines: str, message: str, tmp_path: Path) -> None:
    file = access_file(tmp_path, lines)
    with pytest.raises(BadInput, match=re.escape(message)) as refused:
        AccessList.at(file)
    assert str(refused.value).startswith(f"{file}: ")


def test_an_access_file_that_all_may_write_is_refused(tmp_path: Path) -> None:
    file = access_file(tmp_path)
    file.chmod(0o666)
    with pytest.raises(BadInput, match="chmod o-w"):
        AccessList.at(file)


def test_a_missing_access_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot read the access file"):
        AccessList.at(tmp_path / "access.toml")


def test_changes_count_from_the_next_question_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = access_file(tmp_path, "images-in-total = 1")
    access = AccessList.at(file)
    assert access.take(CLIENT, 1) is None
    assert access.take(CLIENT, 1) is not None
    access_file(tmp_path, "images-in-total = 2")
    assert access.take(CLIENT, 1) is None
    caplog.set_level(logging.ERROR)
    file.write_text("clients = 3 and more")
    assert isinstance(access.admit(CLIENT, PROGRAM), Admitted)
    assert "stays in force" in caplog.text
    file.write_text(f'[clients.other]\nfingerprint = "{OTHER}"\n')
    denied = access.take(CLIENT, 1)
    assert denied is not None
    assert denied.reason == "unknown"


# --- how much -------------------------------------------------------------------------------------


def test_a_refusal_names_the_limit_and_when_it_resets(tmp_path: Path) -> None:
    file = access_file(tmp_path, "images-per-day = 3", "images-in-total = 5")
    counters = Counters(tmp_path / "counts.json", today=lambda: DAY)
    access = AccessList(file, counters)
    assert access.take(CLIENT, 2) is None
    denied = access.take(CLIENT, 2)
    assert denied is not None
    assert "3 images a day, of which 1 are left" in denied.message
    assert access.take(CLIENT, 1) is None  # what was refused was not counted
    tomorrow = AccessList(file, Counters(counters.path, today=lambda: DAY + timedelta(days=1)))
    assert tomorrow.take(CLIENT, 2) is None
    denied = tomorrow.take(CLIENT, 1)
    assert denied is not None
    assert denied.reason == "quota"
    assert "5 images in total, of which 0 are left; it does not reset" in denied.message


def test_what_is_left(tmp_path: Path) -> None:
    """Of images the limit that is reached first; of cohorts the limit alone."""
    file = access_file(
        tmp_path, "images-per-day = 3", "images-in-total = 5", "cohorts-in-total = 2"
    )
    counters = Counters(tmp_path / "counts.json", today=lambda: DAY)
    access = AccessList(file, counters)
    assert (access.images_left(CLIENT), access.cohorts(CLIENT)) == (3, 2)
    assert access.take(CLIENT, 3) is None
    assert access.images_left(CLIENT) == 0
    tomorrow = AccessList(file, Counters(counters.path, today=lambda: DAY + timedelta(days=1)))
    assert tomorrow.images_left(CLIENT) == 2
    assert (access.images_left(OTHER), access.cohorts(OTHER)) == (0, 0)
    unlimited = AccessList.at(access_file(tmp_path))
    assert (unlimited.images_left(CLIENT), unlimited.cohorts(CLIENT)) == (None, None)


def test_the_day_resets_at_the_next_midnight_of_utc(tmp_path: Path) -> None:
    access = AccessList.at(access_file(tmp_path, "images-per-day = 0"))
    denied = access.take(CLIENT, 1)
    assert denied is not None
    assert re.search(r"resets at \d{4}-\d\d-\d\d 00:00 UTC", denied.message)


def test_counts_survive_the_process_and_a_new_name(tmp_path: Path) -> None:
    file = access_file(tmp_path, "images-in-total = 2")
    assert AccessList.at(file).take(CLIENT, 2) is None
    file.write_text(file.read_text().replace("st-mary", "saint-mary"))
    denied = AccessList.at(file).take(CLIENT, 1)
    assert denied is not None
    assert "saint-mary" in denied.message


def test_a_clock_that_goes_back_gives_nothing(tmp_path: Path) -> None:
    today = DAY
    counters = Counters(tmp_path / "counts.json", today=lambda: today)
    counters.take(CLIENT, 3, lambda count: True)
    today = DAY - timedelta(days=400)
    assert counters.of(CLIENT) == Count(total=3, day=DAY, today=3)
    assert counters.of(OTHER).day == DAY
    assert counters.forget_later_days()
    assert counters.of(CLIENT) == Count(total=3, day=today, today=3)
    assert not counters.forget_later_days()
    today += timedelta(days=1)
    assert counters.of(CLIENT) == Count(total=3, day=today, today=0)


def spend(path: Path, times: int) -> None:
    access = AccessList.at(path)
    for _ in range(times):
        access.take(CLIENT, 1)


def test_many_processes_count_exactly(tmp_path: Path) -> None:
    """Four processes ask 8 times each for one image, of 25 that there are."""
    file = access_file(tmp_path, "images-in-total = 25")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=spend, args=(file, 8)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert AccessList.at(file).counters.of(CLIENT).total == 25


def test_a_kill_after_counting_leaves_the_image_counted(tmp_path: Path) -> None:
    """Between the count and the run: the broken run costs one."""
    file = access_file(tmp_path, "images-in-total = 2")
    AccessList.at(file)
    child = os.fork()
    if child == 0:
        AccessList.at(file).take(CLIENT, 1)
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    access = AccessList.at(file)
    assert access.take(CLIENT, 1) is None
    assert access.take(CLIENT, 1) is not None


# --- damage ---------------------------------------------------------------------------------------


@pytest.fixture
def counted(tmp_path: Path) -> Counters:
    counters = Counters(tmp_path / "access.counts.json", today=lambda: DAY)
    for _ in range(3):
        counters.take(CLIENT, 1, lambda count: True)
    return counters


def refused(counters: Counters, message: str) -> None:
    for ask in (counters.check, lambda: counters.take(CLIENT, 1, lambda count: True)):
        with pytest.raises(BadInput, match=message):
            ask()


def test_files_are_for_their_owner_alone(counted: Counters) -> None:
    assert counted.path.stat().st_mode & 0o777 == 0o600
    assert counted.lock.stat().st_mode & 0o777 == 0o600


def test_counts_that_were_edited_are_refused(counted: Counters) -> None:
    counted.path.write_text(counted.path.read_text().replace('"total": 3', '"total": 1'))
    refused(counted, "checksum")


def test_half_a_counts_file_is_refused(counted: Counters) -> None:
    counted.path.write_bytes(counted.path.read_bytes()[:100])
    refused(counted, "cannot be read")


def test_an_older_copy_is_refused(counted: Counters) -> None:
    older = counted.path.read_bytes()
    counted.take(CLIENT, 1, lambda count: True)
    counted.path.write_bytes(older)
    refused(counted, "older copy")


def test_counts_that_are_gone_are_refused(counted: Counters) -> None:
    counted.path.unlink()
    refused(counted, "is gone")


def test_a_damaged_lock_file_is_refused(counted: Counters) -> None:
    counted.lock.write_text("many")
    refused(counted, "holds no number")


def test_a_crash_between_the_two_files_is_no_damage(counted: Counters) -> None:
    """The counts are written first: they are ahead of the lock file by one."""
    mark = counted.lock.read_bytes()
    counted.take(CLIENT, 1, lambda count: True)
    counted.lock.write_bytes(mark)
    assert counted.of(CLIENT).total == 4
    counted.take(CLIENT, 1, lambda count: True)
    assert counted.lock.read_text() == "00000000000000000005\n"


def test_counts_that_cannot_be_written_are_an_error(tmp_path: Path) -> None:
    refused(Counters(tmp_path / "none" / "counts.json"), "cannot be used as the counts of images")
