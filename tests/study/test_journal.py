"""The journal: any crash leaves it resumable, any change to it is noticed."""

from __future__ import annotations

import fcntl
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moiety.protocols.errors import BadArtifact, BadInput
from moiety.runtime.study.journal import NAME, Head, Image, Journal, Part
from tests.support.results import an_image

HEAD = Head(
    program="p" * 64,
    bit_depth=None,
    cohort="c" * 32,
    started="2026-11-26T00:00:00.000Z",
    releases={"moiety": "0.1.0"},
    machine="a machine",
)
PART = Part(time="2026-11-26T00:00:01.000Z", cohort="d" * 64, images=3, sessions=2, batch=1)


def an_entry(number: int) -> Image:
    return Image(
        key=f"{number}",
        elapsed=float(number),
        worker="session 1",
        result=an_image(f"image{number}.png"),
    )


def written(folder: Path, images: int = 3) -> bytes:
    """The bytes of a journal of so many images."""
    folder.mkdir(exist_ok=True)
    journal = Journal.open(folder, HEAD, print)
    journal.add(PART)
    for number in range(images):
        journal.add(an_entry(number))
    journal.close()
    return (folder / NAME).read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return written(tmp_path_factory.mktemp("journal"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], Path]:
    """A folder whose journal has these bytes; one at a time."""
    folder = tmp_path_factory.mktemp("place")

    def lay(data: bytes) -> Path:
        (folder / NAME).write_bytes(data)
        return folder

    return lay


def opened(folder: Path) -> tuple[Journal, list[str]]:
    said: list[str] = []
    return Journal.open(folder, HEAD, said.append), said


def test_what_is_added_is_read_back(tmp_path: Path) -> None:
    """By a reader and by the next writer; its owner alone may read it."""
    written(tmp_path)
    path = tmp_path / NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    seen = Journal.look(tmp_path)
    journal, said = opened(tmp_path)
    journal.close()
    for found in (seen, journal):
        assert found is not None
        assert (found.head, found.parts, found.wall) == (HEAD, [PART], [2.0])
        assert [*found.images.values()] == [an_entry(number) for number in range(3)]
    assert not said


def test_no_journal_is_no_study(tmp_path: Path) -> None:
    assert Journal.look(tmp_path) is None
    assert Journal.look(tmp_path / "nowhere") is None


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_beginning_of_it_goes_on(
    whole: bytes, place: Callable[[bytes], Path], data: st.DataObject
) -> None:
    """Killed within a write: whole lines count, half a line is dropped and said; what is added then
    makes the journal that it would have been.
    """
    length = data.draw(st.integers(0, len(whole)))
    folder = place(whole[:length])
    lines = whole[:length].count(b"\n")
    seen = Journal.look(folder)
    assert (seen is None) == (lines == 0)
    journal, said = opened(folder)
    try:
        assert bool(said) == (length > 0 and not whole[:length].endswith(b"\n"))
        assert len(journal.images) == max(0, lines - 2)
        if not journal.parts:
            journal.add(PART)
        for number in range(len(journal.images), 3):
            journal.add(an_entry(number))
    finally:
        journal.close()
    assert (folder / NAME).read_bytes() == whole


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_changed_byte_is_noticed(
    whole: bytes, place: Callable[[bytes], Path], data: st.DataObject
) -> None:
    """Refused with the number of its line; only of the very last one can the end be missed, which
    is dropped, and said.
    """
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[at] ^= data.draw(st.integers(1, 255))
    folder = place(bytes(changed))
    if at == len(whole) - 1:
        journal, said = opened(folder)
        journal.close()
        assert len(said) == 1
        assert len(journal.images) == 2
    else:
        line = whole.count(b"\n", 0, at) + 1
        for read in (opened, Journal.look):
            with pytest.raises(BadArtifact, match=f"line {line} is damaged"):
                read(folder)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_line_that_is_taken_out_is_noticed(
    whole: bytes, place: Callable[[bytes], Path], data: st.DataObject
) -> None:
    """Not the last one: that is what a shorter study looks like."""
    lines = whole.splitlines(keepends=True)
    at = data.draw(st.integers(0, len(lines) - 2))
    with pytest.raises(BadArtifact, match=f"line {at + 1} is damaged"):
        Journal.look(place(b"".join(lines[:at] + lines[at + 1 :])))


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path)
    with pytest.raises(BadInput, match="another process works on this study"):
        opened(tmp_path)
    assert Journal.look(tmp_path) is not None
    journal.close()
    opened(tmp_path)[0].close()


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, _ = opened(tmp_path)
    journal.add(PART)
    before = journal.path.read_bytes()

    def full(descriptor: int, data: bytes, at: int) -> None:
        (tmp_path / NAME).open("r+b").write(before + data[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("moiety.runtime.study.journal.write_all", full)
        with pytest.raises(BadInput, match="No space left"):
            journal.add(an_entry(0))
    assert journal.path.read_bytes() == before
    assert not journal.images
    journal.add(an_entry(0))
    journal.close()
    found = Journal.look(tmp_path)
    assert found is not None
    assert [*found.images] == ["0"]


def test_room_is_taken_before_it_is_needed(tmp_path: Path) -> None:
    """What is left of it is given back, at the end, and after a crash by who opens it next."""
    two, whole = written(tmp_path / "two", 2), written(tmp_path, 1)
    journal, _ = opened(tmp_path)
    with journal.room(1 << 16):
        laid = journal.path.read_bytes()
        journal.add(an_entry(1))
    journal.close()
    assert journal.path.read_bytes() == two
    assert laid == whole + bytes(1 << 16)
    journal.path.write_bytes(laid)
    journal, said = opened(tmp_path)
    journal.close()
    assert journal.path.read_bytes() == whole
    assert not said


def test_no_room_is_known_before_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, at: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    journal, _ = opened(tmp_path)
    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(BadInput, match="No space left"), journal.room(1 << 16):
        raise AssertionError
    journal.close()


def test_a_journal_that_is_replaced_while_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another process does when it forgets its shares: the old file is nobody's."""
    written(tmp_path)
    path, flock = tmp_path / NAME, fcntl.flock

    def replaced(descriptor: int, operation: int) -> None:
        copy = tmp_path / "copy"
        copy.write_bytes(path.read_bytes())
        copy.replace(path)
        flock(descriptor, operation)

    monkeypatch.setattr("fcntl.flock", replaced)
    with pytest.raises(BadInput, match="another process works on this study"):
        opened(tmp_path)
