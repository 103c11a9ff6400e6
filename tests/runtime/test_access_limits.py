"""Limits of the access file held against a restatement of what they mean, and the file itself
against whoever edits it.
"""

from __future__ import annotations

import os
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moiety.protocols.errors import BadInput
from moiety.runtime.operation.access import AccessList, Admitted, Denied
from moiety.runtime.operation.counters import Count, Counters, utc_today
from tests.runtime.test_access import CLIENT, OTHER, PROGRAM, access_file

DAY = date(2126, 3, 1)

limits = st.none() | st.integers(0, 12)
asking = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 8)), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(per_day=limits, in_total=limits, asked=asking)
def test_a_client_gets_what_its_limits_say(
    per_day: int | None, in_total: int | None, asked: list[tuple[int, int]]
) -> None:
    """Runs of several images, over several days: all of a run's images or none of them."""
    lines = [
        f"{name} = {value}"
        for name, value in (("images-per-day", per_day), ("images-in-total", in_total))
        if value is not None
    ]
    with tempfile.TemporaryDirectory() as folder:
        day, today, total = DAY, 0, 0
        file = access_file(Path(folder), *lines)
        access = AccessList(file, Counters(Path(folder) / "counts.json", lambda: day))
        for later, images in asked:
            day, today = day + timedelta(days=later), 0 if later else today
            left = min(
                (
                    most - had
                    for most, had in ((per_day, today), (in_total, total))
                    if most is not None
                ),
                default=None,
            )
            assert access.images_left(CLIENT) == left
            may = left is None or images <= left
            assert (access.take(CLIENT, images) is None) == may
            today, total = today + images * may, total + images * may
            assert access.counters.of(CLIENT) == Count(total=total, day=max(day, DAY), today=today)
        assert access.counters.of(OTHER).total == 0


def test_the_day_that_is_told_is_the_next(tmp_path: Path) -> None:
    file = access_file(tmp_path, "images-per-day = 1")
    access = AccessList(file, Counters(tmp_path / "counts.json", lambda: DAY))
    denied = access.take(CLIENT, 2)
    assert denied is not None
    assert "resets at 2126-03-02 00:00 UTC" in denied.message


@pytest.mark.parametrize("zone", ["Etc/GMT+12", "Etc/GMT-14"])
def test_days_are_of_utc(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At any moment it is another day in one of these zones."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert utc_today() == date(1970, 1, 1) + timedelta(days=time.time() // 86400)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("programs", "asked", "admitted"),
    [
        ([], PROGRAM, False),
        (["5f5f5f5f"], PROGRAM, True),
        (["aaaaaaaa", "5f5f5f5f"], PROGRAM, True),
        (["aaaaaaaa"], PROGRAM, False),
        (["5f5f5f5f"], "a" + PROGRAM[1:], False),
        (["5f5f5f5f5f5f5f50"], PROGRAM, False),
        ([PROGRAM], PROGRAM, True),
        ([PROGRAM], PROGRAM[:-1] + "0", False),
    ],
)
def test_programs_are_known_by_their_beginnings(
    programs: list[str], asked: str, admitted: bool, tmp_path: Path
) -> None:
    """A list that names none lets a client ask for none."""
    named = ", ".join(f'"{each}"' for each in programs)
    access = AccessList.at(access_file(tmp_path, f"programs = [{named}]"))
    assert isinstance(access.admit(CLIENT, asked), Admitted if admitted else Denied)


def test_who_is_taken_off_is_out_whatever_the_clock_of_the_file_says(tmp_path: Path) -> None:
    """An editor, or a copy that keeps times: of the same size, with the time of before."""
    file = access_file(tmp_path, "images-per-day = 5")
    access = AccessList.at(file)
    before = file.stat()
    text = file.read_text()
    assert access.take(CLIENT, 1) is None
    file.write_text(text.replace("images-per-day = 5", "images-per-day = 0"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    denied = access.take(CLIENT, 1)
    assert denied is not None
    assert "0 images a day" in denied.message
    assert access.images_left(CLIENT) == 0
    other = tmp_path / "other.toml"
    other.write_text(f'[clients.other]\nfingerprint = "{OTHER}"\n')
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)
    for asked in (access.admit(CLIENT, PROGRAM), access.take(CLIENT, 1)):
        assert isinstance(asked, Denied)
        assert asked.reason == "unknown"
    assert (access.images_left(CLIENT), access.cohorts(CLIENT)) == (0, 0)


def test_a_server_does_not_begin_on_damaged_counts(tmp_path: Path) -> None:
    file = access_file(tmp_path)
    access = AccessList.at(file)
    access.take(CLIENT, 1)
    access.counters.path.write_text("{}")
    with pytest.raises(BadInput, match="No image is counted or served"):
        AccessList.at(file)
