"""What a study has done so far, on the disk: what makes it go on after any end.

    <checksum> {"record":"head", ...}
    <checksum> {"record":"part", ...}         a start of the command
    <checksum> {"record":"image", ...}        an image that is done
    <checksum> {"record":"aggregate", ...}    of an aggregate policy, what was revealed at the end

Lines are only ever added, and each is on the disk before more work is handed out. A checksum is the
SHA-256, in 32 digits, of the checksum before it and of the line's JSON: a line that was changed,
taken out or put in is noticed. A crash may leave half a line, which has no end: it is dropped, and
said, when the journal is opened. The file holds results, names of files and, of an aggregate
policy, shares of scores: its owner alone may read it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from moiety.protocols.errors import BadArtifact, BadInput
from moiety.runtime.intake.picture import Identity
from moiety.runtime.intake.text import printable
from moiety.runtime.operation.files import sync_folder, unusable, write_all
from moiety.runtime.party.cohorts import AggregateResult
from moiety.runtime.program.atomic import OWNER_ALONE
from moiety.runtime.program.decoding import UNREADABLE
from moiety.runtime.results.record import ImageResult

NAME = "journal.jsonl"
PURPOSE = "a study's journal"
VERSION = 1
DIGITS = 32
START = "0" * DIGITS
UNUSED = b"\0"
"""What room on the disk is filled with."""


class Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag=str.lower):
    """All that follow."""


class Head(Record, frozen=True, kw_only=True):
    """What cannot change within a study. `program`: its digest; `bit_depth`: how deep pictures are
    read; `cohort`: 128 random bits in hex, by which the two parties call this study; `releases`,
    `machine`: software that began it, and where. `started`: UTC. `margin`: of equivalence, as it
    was said then.
    """

    format: str = "moiety-study"
    version: int = VERSION
    program: str
    bit_depth: int | None
    cohort: str
    started: str
    releases: dict[str, str]
    machine: str
    margin: float | None = None


class Part(Record, frozen=True, kw_only=True):
    """The command was started. `cohort`: SHA-256 of the list as it was then."""

    time: str
    cohort: str
    images: int
    sessions: int
    batch: int


class Image(Record, frozen=True, kw_only=True):
    """An image is done. `key`: `key_of` its identity; `elapsed`: seconds since its part began;
    `worker`: who ran it.
    """

    key: str
    elapsed: float
    worker: str
    result: ImageResult


class Aggregate(Record, frozen=True, kw_only=True):
    """What an aggregate policy has revealed, of the images and labels with the digest `cohort`."""

    cohort: str
    results: tuple[AggregateResult, ...]


AnyRecord = Head | Part | Image | Aggregate
_decoder = msgspec.json.Decoder(AnyRecord)


def image_of(identity: Identity) -> str:
    """Which image of a cohort this is, however it is shown: its pixels, and what is given beside
    them.
    """
    beside = f"+{identity.inputs_sha256}" if identity.inputs_sha256 else ""
    return identity.pixel_sha256 + beside


def key_of(identity: Identity) -> str:
    """What a study knows a result by: its image, and how that was shown. A header that was
    corrected since makes it another one.
    """
    shown = f"/{identity.shown_sha256}" if identity.shown_sha256 else ""
    return image_of(identity) + shown


@dataclass
class Journal:
    """An open journal, held by this process alone. images: by key, in the order of the file; wall:
    seconds of each part until its last image.
    """

    path: Path
    head: Head
    parts: list[Part] = field(default_factory=list)
    images: dict[str, Image] = field(default_factory=dict)
    wall: list[float] = field(default_factory=list)
    aggregate: Aggregate | None = None
    _descriptor: int = -1
    _size: int = 0
    _checksum: str = START

    @classmethod
    def open(cls, folder: Path, head: Head, say: Callable[[str], None]) -> Journal:
        """The journal of a folder, for writing; begun with `head` where there is none, and where
        another study was begun there that has no image, as after a wrong Program's file. Raises
        `BadInput` where another process has it or it cannot be written, `BadArtifact` where it is
        damaged.
        """
        path = folder / NAME
        descriptor = _locked(path)
        try:
            found = _read(path, descriptor)
            if found.torn:
                say(
                    f"{printable(path)}: the last line was not finished, as after a crash; it is "
                    "dropped, and its image is computed again"
                )
            if found.is_no_study_of(head):
                found = _Found(path)
            os.ftruncate(descriptor, found.size)
            journal = found.journal(head)
            journal._descriptor = descriptor
            if not found.records:
                journal._append(head)
                sync_folder(folder)
            return journal
        except OSError as error:
            os.close(descriptor)
            raise unusable(path, PURPOSE, error) from error
        except BaseException:
            os.close(descriptor)
            raise

    @classmethod
    def look(cls, folder: Path) -> Journal | None:
        """What a folder's journal holds, changing nothing; None where there is none yet. Raises
        `BadInput` and `BadArtifact`.
        """
        path = folder / NAME
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unusable(path, PURPOSE, error) from error
        try:
            found = _read(path, descriptor)
        finally:
            os.close(descriptor)
        return found.journal(found.records[0]) if found.records else None

    def add(self, record: Part | Image | Aggregate) -> None:
        """On the disk when this returns. Raises `BadInput`, and the journal is as it was."""
        try:
            self._append(record)
        except OSError as error:
            raise unusable(self.path, PURPOSE, error) from error
        self._take(record)

    @contextmanager
    def room(self, size: int) -> Iterator[None]:
        """Within it a record of so many bytes does not fail for want of room on the disk. Raises
        `BadInput` where there is none now.
        """
        try:
            os.posix_fallocate(self._descriptor, self._size, size)
        except OSError as error:
            raise unusable(self.path, PURPOSE, error) from error
        try:
            yield
        finally:
            os.ftruncate(self._descriptor, self._size)

    def forget_shares(self) -> None:
        """Writes the whole anew without this side's shares of scores, which are worth nothing once
        their aggregate is revealed. Raises `BadInput`, and the journal is as it was.
        """
        images = {
            key: msgspec.structs.replace(
                image, result=msgspec.structs.replace(image.result, kept=None)
            )
            for key, image in self.images.items()
        }
        try:
            self._rewrite(images)
        except OSError as error:
            raise unusable(self.path, PURPOSE, error) from error

    def _rewrite(self, images: dict[str, Image]) -> None:
        """The same records with these images, in a file that is held before it takes the place of
        the old one.
        """
        found = _read(self.path, self._descriptor)
        temporary = self.path.with_name(f".{NAME}.tmp")
        temporary.unlink(missing_ok=True)
        fresh = Journal(self.path, self.head, _descriptor=_locked(temporary))
        try:
            for record in found.records:
                fresh._append(images[record.key] if isinstance(record, Image) else record)
            temporary.replace(self.path)
            sync_folder(self.path.parent)
        except BaseException:
            os.close(fresh._descriptor)
            temporary.unlink(missing_ok=True)
            raise
        os.close(self._descriptor)
        self._descriptor, self._size = fresh._descriptor, fresh._size
        self._checksum, self.images = fresh._checksum, images

    def close(self) -> None:
        """Another process may have it then."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _append(self, record: AnyRecord) -> None:
        payload = msgspec.json.encode(record)
        checksum = _chained(self._checksum, payload)
        line = checksum.encode() + b" " + payload + b"\n"
        try:
            write_all(self._descriptor, line, self._size)
        except OSError:
            os.ftruncate(self._descriptor, self._size)  # a full disk: no half line stays behind
            raise
        self._size += len(line)
        self._checksum = checksum

    def _take(self, record: AnyRecord) -> None:
        match record:
            case Part():
                self.parts.append(record)
                self.wall.append(0.0)
            case Image():
                self.images[record.key] = record
                if self.wall:
                    self.wall[-1] = max(self.wall[-1], record.elapsed)
            case Aggregate():
                self.aggregate = record


@dataclass
class _Found:
    """What a file holds: whole records up to `size`; `torn`: something without an end follows, that
    is more than room which was set aside.
    """

    path: Path
    records: list[AnyRecord] = field(default_factory=list)
    size: int = 0
    checksum: str = START
    torn: bool = False

    def is_no_study_of(self, head: Head) -> bool:
        """Of another Program or reading, and without an image that would be lost."""
        first = self.journal(head).head
        other = (first.program, first.bit_depth) != (head.program, head.bit_depth)
        return other and not any(isinstance(each, Image) for each in self.records)

    def journal(self, head: AnyRecord) -> Journal:
        first = self.records[0] if self.records else head
        assert isinstance(first, Head)
        made = Journal(self.path, first, _size=self.size, _checksum=self.checksum)
        for record in self.records[1:]:
            made._take(record)
        return made


def _locked(path: Path) -> int:
    """A descriptor that no other process of this kind has."""
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, OWNER_ALONE)
    except OSError as error:
        raise unusable(path, PURPOSE, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(descriptor), path.stat()):
            raise BlockingIOError  # another process has put a new file there meanwhile
    except OSError as error:
        os.close(descriptor)
        raise BadInput(
            f"{printable(path.parent)}: another process works on this study; wait for it, or take "
            "another folder"
        ) from error
    return descriptor


def _read(path: Path, descriptor: int) -> _Found:
    """All records of a file. Raises `BadArtifact` that names the first line which is wrong."""
    with open(descriptor, "rb", closefd=False) as file:
        file.seek(0)
        data = file.read()
    *lines, torn = data.split(b"\n")
    found = _Found(path, torn=bool(torn.strip(UNUSED)))
    for number, line in enumerate(lines, 1):
        checksum, _, payload = line.partition(b" ")
        if checksum != _chained(found.checksum, payload).encode():
            raise _damaged(path, number, "it is not as it was written, or lines before it are gone")
        try:
            record = _decoder.decode(payload)
        except UNREADABLE as error:
            raise _damaged(path, number, f"another release wrote it ({error})") from error
        if isinstance(record, Head) != (number == 1):
            raise _damaged(path, number, "it is no record that belongs there")
        if isinstance(record, Head) and record.version != VERSION:
            raise BadArtifact(
                f"{printable(path)}: has version {record.version}, this Moiety reads {VERSION}; "
                "finish the study with the release that began it"
            )
        found.records.append(record)
        found.checksum = checksum.decode()
        found.size += len(line) + 1
    return found


def _chained(before: str, payload: bytes) -> str:
    return hashlib.sha256(before.encode() + payload).hexdigest()[:DIGITS]


def _damaged(path: Path, number: int, why: str) -> BadArtifact:
    return BadArtifact(
        f"{printable(path)}: line {number} is damaged: {why}. Bring the file back from a copy, or "
        f"cut it before line {number}: images from there on are computed again"
    )
