"""How many images each client has had, and how many checks of what it sent have failed: counts on
disk that no crash and no second process undoes.

Two files beside each other. `X.counts.json` has the counts under a checksum, and a serial number
that rises with every change; it is replaced as a whole. `X.counts.lock` is locked while that
happens, and holds the serial number once more. The counts are on the disk before `take` returns,
and before the lock file is written. So counts that lag behind the lock file are an older copy that
was put back, and are refused; a crash leaves them ahead, which is no harm.

Days are days of UTC. When the clock goes back, counts stay with the latest day that was ever seen:
nobody gets images by setting a clock.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import msgspec

from moiety.protocols.errors import BadInput
from moiety.runtime.operation.files import locked, sync_folder, unusable
from moiety.runtime.program.atomic import OWNER_ALONE, replacing
from moiety.runtime.program.decoding import UNREADABLE

PURPOSE = "the counts of images"


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """Of one client: images ever, and on the last `day` on which it had any."""

    total: int = 0
    day: date = date.min
    today: int = 0

    def on(self, day: date) -> Count:
        """The same on `day`, or on the later day that it was counted on."""
        return self if self.day >= day else Count(total=self.total, day=day)

    def plus(self, images: int) -> Count:
        return Count(total=self.total + images, day=self.day, today=self.today + images)


class _State(msgspec.Struct, kw_only=True):
    """`day`: the latest on which anything was counted. `clients`, `failures`: by fingerprint. The
    latter are not there until there are any, so that files of earlier releases keep their checksum.
    """

    format: str = "moiety-counts"
    version: int = 1
    serial: int = 0
    day: date = date.min
    clients: dict[str, Count] = {}
    failures: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
    sha256: str = ""

    def checksum(self) -> str:
        blank = msgspec.structs.replace(self, sha256="")
        return hashlib.sha256(msgspec.json.encode(blank, order="sorted")).hexdigest()


_decoder = msgspec.json.Decoder(_State)


def utc_today() -> date:
    return datetime.now(UTC).date()


@dataclass(frozen=True)
class Counters:
    """The counts in a file, `today` being where the date comes from."""

    path: Path
    today: Callable[[], date] = utc_today

    @property
    def lock(self) -> Path:
        return self.path.with_suffix(".lock")

    def check(self) -> None:
        """Raises `BadInput` where the files are damaged."""
        with self._held():
            pass

    def check_writable(self) -> None:
        """Writes the counts as they are. Raises as `fail`, which could count nothing then."""
        with self._held() as (descriptor, state):
            self._write(descriptor, state)

    def of(self, client: str) -> Count:
        """What a client has had by today. Raises as `check`."""
        with self._held() as (_, state):
            return self._count(state, client)

    def take(self, client: str, images: int, allowed: Callable[[Count], bool]) -> bool:
        """Counts `images` for a client if its count so far is `allowed` them, as one act that no
        other process comes between; they are on the disk when this returns. Raises `BadInput`.
        """
        with self._held() as (descriptor, state):
            count = self._count(state, client)
            if not allowed(count):
                return False
            count = count.plus(images)
            state.clients, state.day = state.clients | {client: count}, count.day
            self._write(descriptor, state)
            return True

    def failures(self, client: str) -> int:
        """How many checks of what a client sent have failed. Raises as `check`."""
        with self._held() as (_, state):
            return (state.failures or {}).get(client, 0)

    def fail(self, client: str) -> int:
        """Counts one more, and returns how many there are; they are on the disk then. Raises
        `BadInput`.
        """
        with self._held() as (descriptor, state):
            failures = state.failures or {}
            count = failures.get(client, 0) + 1
            state.failures = failures | {client: count}
            self._write(descriptor, state)
            return count

    def forget_later_days(self) -> bool:
        """Takes a clock that was ahead for what it was: what was counted on days that have not come
        is counted today. False where there is none.
        """
        today = self.today()
        with self._held() as (descriptor, state):
            if state.day <= today:
                return False
            clients = {
                name: msgspec.structs.replace(count, day=min(count.day, today))
                for name, count in state.clients.items()
            }
            state.clients, state.day = clients, today
            self._write(descriptor, state)
            return True

    def _count(self, state: _State, client: str) -> Count:
        return state.clients.get(client, Count()).on(max(self.today(), state.day))

    @contextmanager
    def _held(self) -> Iterator[tuple[int, _State]]:
        with locked(self.lock, PURPOSE) as descriptor:
            yield descriptor, self._read(os.pread(descriptor, 64, 0))

    def _read(self, mark: bytes) -> _State:
        try:
            serial = int(mark or b"0")
        except ValueError as error:
            raise self._damaged(f"{self.lock} holds no number") from error
        if not self.path.exists():
            if serial:
                raise self._damaged(f"{self.path} is gone")
            return _State()
        try:
            state = _decoder.decode(self.path.read_bytes())
        except UNREADABLE as error:
            raise self._damaged(f"{self.path} cannot be read ({error})") from error
        if state.sha256 != state.checksum():
            raise self._damaged(f"{self.path} was changed: its checksum does not fit")
        if state.serial < serial:
            raise self._damaged(
                f"{self.path} is an older copy: it was written {state.serial} times, and {serial} "
                "times were counted"
            )
        return state

    def _damaged(self, what: str) -> BadInput:
        return BadInput(
            f"{what}. No image is counted or served until this is settled: put the right copy "
            f"back, or remove {self.path} and {self.lock} and every client begins at zero"
        )

    def _write(self, descriptor: int, state: _State) -> None:
        state.serial += 1
        state.sha256 = state.checksum()
        data = msgspec.json.format(msgspec.json.encode(state), indent=1) + b"\n"
        try:
            with replacing(self.path, OWNER_ALONE) as temporary:
                temporary.write_bytes(data)
            sync_folder(self.path.parent)
        except OSError as error:
            raise unusable(self.path, PURPOSE, error) from error
        os.pwrite(descriptor, b"%020d\n" % state.serial, 0)
