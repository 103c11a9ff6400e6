"""The server's shares of cohorts that are under way, on disk, and which cohorts are over.

    DIR/CLIENT/lock                     held by whoever reads or writes below
    DIR/CLIENT/PROGRAM/COHORT.shares    a record of each image: its run's id, the share, a checksum
    DIR/CLIENT/PROGRAM/COHORT.spent     that its aggregate was revealed, or may have been

CLIENT is the fingerprint of the client's certificate, `anybody` over plain TCP, PROGRAM the
Program's digest. Folders and files are their owner's alone. A record is on the disk before the
client hears that its image is done. A crash may leave half a record at the end, which the next one
takes the place of; one that does not fit its checksum is never used.

A cohort is spent before anything of it is revealed, once and for all: first its marker is on the
disk, then its shares are removed. Markers stay, for they are also what cohorts are counted by.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moiety.protocols.arrays import U64
from moiety.protocols.errors import BadInput
from moiety.runtime.operation.files import (
    locked,
    make_folder,
    sync_folder,
    unusable,
    write_all,
)
from moiety.runtime.party.cohorts import ID_BYTES
from moiety.runtime.party.server.admission import Denied
from moiety.runtime.program import Program
from moiety.runtime.program.atomic import OWNER_ALONE
from moiety.runtime.program.policy import MAX_COHORT

PURPOSE = "the shares of a cohort"
SHARES, SPENT = ".shares", ".spent"
DAY = 24 * 3600.0
MOST_RECORDS = 4 * MAX_COHORT
"""Of one cohort: images that were run again after a failure leave shares that nobody asks for."""

_HEADER = struct.Struct("<20sI")
_MAGIC = b"moiety kept shares 1"
_CHECKSUM = 16
_FOLDER = 0o700


def check_shelves(program: Program, cohorts: Cohorts | None) -> None:
    """Raises `BadInput` where shares must be kept, and there is no place for them."""
    if not program.policy.tells_of_images and cohorts is None:
        raise BadInput(
            "this Program's policy is `aggregate`: shares of a client's images are kept until its "
            "cohort is complete, and no folder is given for them (--cohorts DIR)"
        )


@dataclass(frozen=True)
class Cohorts:
    """All of a server's. Those to which no image was added for `days` are removed."""

    root: Path
    days: float = 30.0

    @classmethod
    def at(cls, root: Path, days: float = 30.0) -> Cohorts:
        """The folder, made if it is missing, without what has expired. Raises `BadInput`."""
        made = cls(root, days)
        try:
            make_folder(root, _FOLDER)
            mode = stat.S_IMODE(root.stat().st_mode)
        except OSError as error:
            raise unusable(root, PURPOSE, error) from error
        if mode & 0o077:
            raise BadInput(
                f"{root}: others may read the shares of cohorts in it (mode {mode:04o}); run: "
                f"chmod 700 {root}"
            )
        made.expire()
        return made

    def of(self, client: str | None, program: str) -> Shelf:
        """What a client with this fingerprint has of the Program with this digest."""
        return Shelf(self, self.root / (client or "anybody"), program)

    def expire(self) -> None:
        """Removes shares that nobody has added to for so long, and what a crash has left of spent
        cohorts. Raises `BadInput`.
        """
        until = time.time() - self.days * DAY
        for folder in self.root.iterdir():
            if not folder.is_dir():
                continue
            with locked(folder / "lock", PURPOSE):
                for path in folder.glob(f"*/*{SHARES}"):
                    spent = path.with_suffix(SPENT).exists()
                    if spent or path.stat().st_mtime < until:
                        path.unlink()


@dataclass(frozen=True)
class Shelf:
    """One client's cohorts of one Program. All methods raise `BadInput` where the disk fails them,
    and `Denied` with words for the client.
    """

    cohorts: Cohorts
    folder: Path
    program: str

    def keep(self, cohort: str, runs: Sequence[bytes], shares: U64) -> None:
        """Adds this side's shares, uint64 `(images, L)`, of these runs; they are on the disk when
        it returns.
        """
        header = _HEADER.pack(_MAGIC, shares.shape[1])
        records = [
            _record(header, run, share.astype("<u8").tobytes())
            for run, share in zip(runs, shares, strict=True)
        ]
        path = self._path(cohort, SHARES)
        if not path.exists():
            self.cohorts.expire()
        with self._held():
            self.check_open(cohort)
            new = not path.exists()
            with locked(path, PURPOSE) as descriptor:
                size = os.fstat(descriptor).st_size
                whole = max(0, size - len(header)) // len(records[0])
                if whole + len(records) > MOST_RECORDS:
                    raise Denied(f"the cohort has {whole} images already; begin a new one")
                if size < len(header):
                    write_all(descriptor, header, 0)
                elif os.pread(descriptor, len(header), 0) != header:
                    raise _damaged(path)
                start = len(header) + whole * len(records[0])
                write_all(descriptor, b"".join(records), start)
            if new:
                sync_folder(path.parent)

    def load(self, cohort: str, runs: Sequence[bytes]) -> U64:
        """The shares of these runs, uint64 `(n, L)`, in this order. `Denied` unless all of them are
        there, each asked for once.
        """
        if len(set(runs)) < len(runs):
            raise Denied("a run of the cohort is named twice")
        with self._held():
            self.check_open(cohort)
            kept = self._read(cohort)
        missing = sum(run not in kept for run in runs)
        if missing:
            raise Denied(
                f"of {missing} of the {len(runs)} images of the cohort no share is kept here: they "
                f"were run with another server or Program, or over {self.cohorts.days:g} days ago; "
                "run them again"
            )
        return np.stack([kept[run] for run in runs])

    def count(self) -> tuple[int, int]:
        """How many cohorts the client has spent: of this Program, and of all."""
        with self._held():
            return self._count()

    def spend(
        self,
        cohort: str,
        of_program: int | None,
        of_all: int | None,
        record: Callable[[], None] = lambda: None,
    ) -> None:
        """The cohort is over from now on, whatever happens; its marker counts. `record` runs
        before, when nothing denies it any more. `Denied` where it is over already, or so many
        cohorts of the Program, or of all Programs, were all that the client may ask for.
        """
        with self._held():
            self.check_open(cohort)
            spent = self._count()
            if none_left(spent, of_program, of_all):
                raise Denied(NO_COHORT_LEFT)
            record()
            marker = self._path(cohort, SPENT)
            try:
                descriptor = os.open(marker, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ALONE)
                os.fsync(descriptor)
                os.close(descriptor)
                sync_folder(marker.parent)
                self._path(cohort, SHARES).unlink(missing_ok=True)
                sync_folder(marker.parent)
            except OSError as error:
                raise unusable(marker, PURPOSE, error) from error

    def check_open(self, cohort: str) -> None:
        """`Denied` where the cohort is over."""
        if self._path(cohort, SPENT).exists():
            raise Denied(
                "this cohort's aggregate was revealed, or may have been, and a cohort has one; its "
                "shares are destroyed. Begin a new study"
            )

    def _count(self) -> tuple[int, int]:
        everywhere = [path.parent.name for path in self.folder.glob(f"*/*{SPENT}")]
        return everywhere.count(self.program), len(everywhere)

    def _read(self, cohort: str) -> dict[bytes, U64]:
        """Run -> share, of all records that fit their checksums."""
        path = self._path(cohort, SHARES)
        try:
            data = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise unusable(path, PURPOSE, error) from error
        if len(data) < _HEADER.size:
            return {}
        header = data[: _HEADER.size]
        magic, labels = _HEADER.unpack(header)
        if magic != _MAGIC:
            raise _damaged(path)
        size = ID_BYTES + 8 * labels + _CHECKSUM
        kept = {}
        for start in range(_HEADER.size, len(data) - size + 1, size):
            record = data[start : start + size]
            run, share = record[:ID_BYTES], record[ID_BYTES:-_CHECKSUM]
            if record == _record(header, run, share):
                kept[run] = np.frombuffer(share, "<u8").astype(np.uint64)
        return kept

    @contextmanager
    def _held(self) -> Iterator[None]:
        try:
            for folder in (self.folder, self.folder / self.program):
                make_folder(folder, _FOLDER)
        except OSError as error:
            raise unusable(self.folder, PURPOSE, error) from error
        with locked(self.folder / "lock", PURPOSE):
            yield

    def _path(self, cohort: str, suffix: str) -> Path:
        return self.folder / self.program / f"{cohort}{suffix}"


NO_COHORT_LEFT = "this client has had all the aggregates that it may ask for; ask the vendor"


def none_left(spent: tuple[int, int], of_program: int | None, of_all: int | None) -> bool:
    """Whether so many spent cohorts, of the Program and of all, are as many as may be."""
    return cohorts_left(spent, of_program, of_all) == 0


def cohorts_left(spent: tuple[int, int], of_program: int | None, of_all: int | None) -> int | None:
    """How many there may still be; None: there is no limit."""
    limits = zip((of_program, of_all), spent, strict=True)
    return min((max(0, most - had) for most, had in limits if most is not None), default=None)


def _record(header: bytes, run: bytes, share: bytes) -> bytes:
    digest = hashlib.sha256(header + run + share).digest()
    return run + share + digest[:_CHECKSUM]


def _damaged(path: Path) -> BadInput:
    return BadInput(
        f"{path}: damaged: the shares in it do not fit their checksums. Remove the file; its "
        "cohort has to be run again"
    )
