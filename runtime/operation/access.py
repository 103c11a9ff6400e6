"""Who may ask how much: the access file of a server, and what it allows.

    [clients.st-mary]
    fingerprint = "MFZWI3D-..."
    images-per-day = 200
    images-in-total = 5000
    cohorts-in-total = 4
    failed-checks-in-total = 3
    max-prepared = 64
    max-store-bytes = 50_000_000_000
    max-age-days = 7
    programs = ["5f0c9a..."]

Only `fingerprint` must be there: a limit that is left out does not limit, and without `programs`
(the beginnings of Programs' digests, as `moiety inspect` shows them) a client may ask for whatever
is served. `cohorts-in-total`: of how many cohorts it gets the aggregate, where the Program's policy
reveals no more. `failed-checks-in-total`: after how many failed checks of what it sent a client is
served no more, 3 where nothing is written; to serve it again, write a larger number. The next
three limit what is prepared for a client ahead of its images: how many items, how many bytes of
this side's disk, and after how many days an item is used no more.

The file is looked at all the time, and before every session and every run. One that cannot be read
changes nothing: the last good one stays in force, and the log says so.
"""

from __future__ import annotations

import logging
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Literal

import msgspec

from moiety.protocols.errors import BadInput
from moiety.runtime.operation.counters import Count, Counters, utc_today
from moiety.runtime.operation.fingerprint import Fingerprint
from moiety.runtime.program.decoding import NO_TOML

log = logging.getLogger("moiety.access")

Reason = Literal["unknown", "program", "quota", "deviating"]

FAILED_CHECKS = 3
"""After which a client is served no more. An honest one has none, but for faulty memory."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    """A client of the access file, as it is written there."""

    fingerprint: str
    images_per_day: int | None = None
    images_in_total: int | None = None
    cohorts_in_total: int | None = None
    failed_checks_in_total: int = FAILED_CHECKS
    max_prepared: int | None = None
    max_store_bytes: int | None = None
    max_age_days: float | None = None
    programs: tuple[str, ...] | None = None


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    clients: dict[str, Entry]


@dataclass(frozen=True)
class Admitted:
    """A client that may ask; `name` is the access file's."""

    name: str


@dataclass(frozen=True)
class Denied:
    """Why it may not. `message` is for the client, and tells nothing of others."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class Standing:
    """What a client may ask for and has had. fingerprint: hexadecimal; failures: checks of what it
    sent that have failed.
    """

    name: str
    fingerprint: str
    entry: Entry
    count: Count
    failures: int


def read(path: Path) -> dict[str, tuple[str, Entry]]:
    """Fingerprint (hexadecimal) -> name and entry. Raises `BadInput` that names file and client."""
    try:
        if path.stat().st_mode & 0o002:
            raise BadInput(f"{path}: everybody may write to it; run chmod o-w {path}")
        file = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _File)
    except OSError as error:
        raise BadInput(f"{path}: cannot read the access file: {error.strerror}") from error
    except (*NO_TOML, msgspec.ValidationError) as error:
        raise BadInput(f"{path}: not an access file: {error}") from error
    found: dict[str, tuple[str, Entry]] = {}
    for name, entry in file.clients.items():
        key = _checked(path, name, entry)
        if key in found:
            raise BadInput(f"{path}: {found[key][0]} and {name} have the same fingerprint")
        found[key] = name, entry
    return found


def _checked(path: Path, name: str, entry: Entry) -> str:
    """The fingerprint of an entry that makes sense."""
    limits = {
        "images-per-day": entry.images_per_day,
        "images-in-total": entry.images_in_total,
        "cohorts-in-total": entry.cohorts_in_total,
        "failed-checks-in-total": entry.failed_checks_in_total,
        "max-prepared": entry.max_prepared,
        "max-store-bytes": entry.max_store_bytes,
        "max-age-days": entry.max_age_days,
    }
    for limit, value in limits.items():
        if value is not None and not value >= 0:  # nan is a number of TOML's
            raise BadInput(f"{path}: {name}: {limit} is {value}; write 0 or more")
    if entry.failed_checks_in_total == 0:
        raise BadInput(
            f"{path}: {name}: failed-checks-in-total is 0, by which the client would never be "
            "served; write 1 to serve it no more after its first failed check, or take it out of "
            "the file"
        )
    for program in entry.programs or ():
        if not re.fullmatch(r"[0-9a-f]{8,64}", program):
            raise BadInput(
                f"{path}: {name}: '{program}' in programs is not the beginning of a Program's "
                "digest: write at least 8 of the hexadecimal digits that `moiety inspect` shows"
            )
    try:
        return Fingerprint.parse(entry.fingerprint).digest.hex()
    except BadInput as error:
        raise BadInput(f"{path}: {name}: {error}") from error


@dataclass
class AccessList:
    """The access file at `path` in force, and the counters of the images of its clients. Several
    processes may use the same two.
    """

    path: Path
    counters: Counters
    _seen: tuple[int, ...] = ()
    _clients: Mapping[str, tuple[str, Entry]] = field(default_factory=dict)

    @classmethod
    def at(cls, path: Path, counts: Path | None = None) -> AccessList:
        """`counts`: where images are counted; beside the access file otherwise. Raises `BadInput`,
        also where the counts are damaged.
        """
        made = cls(path, Counters(counts or path.with_suffix(".counts.json")))
        made._seen, made._clients = made._stamp(), read(path)
        made.counters.check()
        return made

    def admit(self, fingerprint: str | None, program: str) -> Admitted | Denied:
        """Whether the client with this certificate may ask for the Program with this digest. Raises
        `BadInput` where a check of what it sends that fails could not be counted: it must not be
        served.
        """
        if fingerprint is None:
            return Denied(
                "unknown", "this server serves clients by their certificates; connect with TLS"
            )
        found = self._find(fingerprint)
        if found is None:
            return Denied(
                "unknown",
                f"this server does not know the client {Fingerprint(bytes.fromhex(fingerprint))}; "
                "have the vendor add it to the access file",
            )
        name, entry = found
        if entry.programs is not None and not program.startswith(entry.programs):
            return Denied("program", f"{name} may not ask for the Program {program[:16]}...")
        self.counters.check_writable()
        return self._trusted(fingerprint, name, entry) or Admitted(name)

    def deviated(self, fingerprint: str) -> int:
        """Counts a check that has failed, and returns how many there are by now. Raises `BadInput`
        where it cannot be counted.
        """
        return self.counters.fail(fingerprint)

    def _trusted(self, fingerprint: str, name: str, entry: Entry) -> Denied | None:
        """None unless too many of its checks have failed."""
        failed = self.counters.failures(fingerprint)
        if failed < entry.failed_checks_in_total:
            return None
        return Denied(
            "deviating",
            f"{failed} checks of what {name} sent have failed, and it is served no more: its "
            "software was changed, or its memory is faulty. Settle it with the vendor, who may "
            "allow more in the access file (failed-checks-in-total)",
        )

    def take(self, fingerprint: str, images: int) -> Denied | None:
        """Counts `images` that are about to be run together, all or none; a run that breaks stays
        counted. Raises `BadInput` where they cannot be counted: then nothing may be run.
        """
        found = self._find(fingerprint)
        if found is None:
            return Denied("unknown", "the vendor has taken this client from the access file")
        name, entry = found
        if (distrusted := self._trusted(fingerprint, name, entry)) is not None:
            return distrusted
        denied: list[Denied] = []

        def allowed(count: Count) -> bool:
            denied.extend(_over(name, entry, count, images))
            return not denied

        self.counters.take(fingerprint, images, allowed)
        return denied[0] if denied else None

    def images_left(self, fingerprint: str) -> int | None:
        """How many images the client may ask for today; None: no limit. Raises `BadInput` where
        the counts are damaged.
        """
        found = self._find(fingerprint)
        if found is None:
            return 0
        count, entry = self.counters.of(fingerprint), found[1]
        limits = ((entry.images_in_total, count.total), (entry.images_per_day, count.today))
        return min((max(0, most - had) for most, had in limits if most is not None), default=None)

    def entry(self, fingerprint: str) -> Entry | None:
        """What the file says of the client; None where it is not in it."""
        found = self._find(fingerprint)
        return None if found is None else found[1]

    def cohorts(self, fingerprint: str) -> int | None:
        """Of how many cohorts in all the client gets the aggregate; None: no limit."""
        found = self._find(fingerprint)
        return 0 if found is None else found[1].cohorts_in_total

    def standing(self) -> list[Standing]:
        """Of every client, in the order of the file."""
        return [
            Standing(name, key, entry, self.counters.of(key), self.counters.failures(key))
            for key, (name, entry) in self._current().items()
        ]

    def refresh(self) -> None:
        """Looks at the file, so that what is in force is the last good one at this time: processes
        that are forked off later start from it.
        """
        self._current()

    def _find(self, fingerprint: str) -> tuple[str, Entry] | None:
        return self._current().get(fingerprint)

    def _current(self) -> Mapping[str, tuple[str, Entry]]:
        stamp = self._stamp()
        if stamp != self._seen:
            self._seen = stamp
            try:
                self._clients = read(self.path)
                log.info("%s: read again, %d clients", self.path, len(self._clients))
            except BadInput as error:
                log.error("%s; the access file as it was before stays in force", error)
        return self._clients

    def _stamp(self) -> tuple[int, ...]:
        try:
            status = self.path.stat()
        except OSError:
            return ()
        return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def _over(name: str, entry: Entry, count: Count, images: int) -> list[Denied]:
    """The limits that `images` more would break, the one that lasts first."""
    found = []
    if entry.images_in_total is not None and count.total + images > entry.images_in_total:
        left = max(0, entry.images_in_total - count.total)
        found.append(
            f"the limit is {entry.images_in_total} images in total, of which {left} are left; it "
            "does not reset: ask the vendor"
        )
    if entry.images_per_day is not None and count.today + images > entry.images_per_day:
        left = max(0, entry.images_per_day - count.today)
        found.append(
            f"the limit is {entry.images_per_day} images a day, of which {left} are left; it "
            f"resets at {_next_day(count)}"
        )
    asked = f"{images} image{'s' * (images > 1)}"
    return [Denied("quota", f"{name} asks for {asked}: {what}") for what in found]


def _next_day(count: Count) -> str:
    """When the day of a count is over, in UTC."""
    day = max(count.day, utc_today()) + timedelta(days=1)
    return f"{datetime.combine(day, time()):%Y-%m-%d %H:%M} UTC"
