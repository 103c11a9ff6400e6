"""The ledger of a store: what became of every item, in the order in which it happened.

    <tag> {"record":"head", ...}        what the store is for, and the peer's key
    <tag> {"record":"prepared", ...}    an item is on the disk
    <tag> {"record":"used", ...}        written before the first byte of these items is read
    <tag> {"record":"burned", ...}      items that will never be used
    <tag> {"record":"met", ...}         where the peer said that it stands, with its signature

Lines are only ever added, and each is on the disk before what it stands for goes on. A tag is
HMAC-SHA256, with a key of this store alone, of the tag before it and of the line's JSON. A crash
may leave a line without an end, which stands for nothing: it is cut. Anything else that is not as
it was written is refused.

What no chain shows is that whole lines are missing at the end, as in a copy from a backup. The
number of lines is therefore the store's counter, which it tells its peer (`position.py`).
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal

import msgspec

from moiety.protocols.errors import BadArtifact, BadInput, ContractViolation
from moiety.runtime.operation.files import sync_folder, unusable, write_all
from moiety.runtime.program.atomic import OWNER_ALONE
from moiety.runtime.program.decoding import UNREADABLE
from moiety.runtime.store.binding import FORMAT, Binding
from moiety.runtime.store.key import StoreKey

NAME = "ledger"
PURPOSE = "a store's ledger"
LAST_INDEX = (1 << 48) - 1
TAG_DIGITS = 64
_START = bytes(32)

Why = Literal["skipped", "expired", "damaged"]


class Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag=str.lower):
    """All that follow."""


class Head(Record, frozen=True, kw_only=True):
    """`nonce`: by which this side's signing key is derived; `peer_public`: the peer's, in hex."""

    binding: Binding
    nonce: str
    peer_public: str


class Prepared(Record, frozen=True, kw_only=True):
    """`digest`: what both parties agree on for this item, in hex; `salt`: of its file's key;
    `size`: bytes of the file; `time`: seconds since 1970.
    """

    index: int
    digest: str
    salt: str
    size: int
    time: int


class Used(Record, frozen=True, kw_only=True):
    """Ascending."""

    indices: tuple[int, ...]


class Burned(Record, frozen=True, kw_only=True):
    """`count` indices from `index` on."""

    index: int
    count: int
    why: Why


class Met(Record, frozen=True, kw_only=True):
    """`signed`: the peer's claim and its signature (`position.Signed`), in hex."""

    signed: str


Event = Prepared | Used | Burned | Met
_head_decoder = msgspec.json.Decoder(Head)
_event = msgspec.json.Decoder(Event)
_encoder = msgspec.json.Encoder()


class Impossible(Exception):
    """A record that cannot follow those before it."""


@dataclass
class Book:
    """What the records come to. `items`: those that can be used, ascending; `next`: no item below
    it will be used; `fresh`: no item from there on was prepared; `met`: the peer's last claim.
    """

    items: dict[int, Prepared] = field(default_factory=dict)
    next: int = 0
    fresh: int = 0
    used: int = 0
    burned: int = 0
    met: str | None = None

    def take(self, event: Event) -> None:
        """Raises `Impossible`."""
        match event:
            case Prepared(index=index):
                _demand(self.fresh <= index <= LAST_INDEX and self.next <= index)
                _demand(event.size >= 0 and event.time >= 0)
                self.items[index] = event
                self.fresh = index + 1
            case Used(indices=indices):
                _demand(bool(indices) and all(a < b for a, b in pairwise(indices)))
                _demand(all(index in self.items for index in indices))
                for index in indices:
                    del self.items[index]
                self.used += len(indices)
                self.next = indices[-1] + 1
                _demand(next(iter(self.items), self.next) >= self.next)
            case Burned(index=index, count=count):
                _demand(count > 0 and index >= 0 and index + count <= LAST_INDEX + 1)
                gone = [each for each in self.items if index <= each < index + count]
                for each in gone:
                    del self.items[each]
                self.burned += len(gone)
                if index <= self.next:
                    self.next = max(self.next, index + count)
                self.fresh = max(self.fresh, self.next)
            case Met(signed=signed):
                self.met = signed

    def size(self) -> int:
        """Bytes of all items that can be used."""
        return sum(item.size for item in self.items.values())


def latest(clock: float, items: Iterable[Prepared]) -> float:
    """The time by which these items are too old or not: no earlier than any of them."""
    return max([clock, *(item.time for item in list(items))])


def _demand(holds: bool) -> None:
    if not holds:
        raise Impossible


@dataclass
class Ledger:
    """An open ledger. `tags`: of each line; there are as many as the counter says."""

    path: Path
    head: Head
    book: Book
    tags: list[bytes]
    _key: bytes = field(repr=False)
    _size: int
    _descriptor: int = -1

    @property
    def counter(self) -> int:
        return len(self.tags)

    @classmethod
    def create(cls, folder: Path, key: StoreKey, head: Head, replace: bool = False) -> Ledger:
        """Raises `BadInput` where there is one already, unless it is to `replace` that one."""
        path = folder / NAME
        temporary = folder / f".{NAME}.tmp"
        mac = mac_key(key, head.binding)
        tag, line = _line(mac, _START, head)
        try:
            temporary.unlink(missing_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(temporary, flags, OWNER_ALONE)
            try:
                write_all(descriptor, line, 0)
                (os.replace if replace else os.link)(temporary, path)
            except BaseException:
                os.close(descriptor)
                raise
            finally:
                temporary.unlink(missing_ok=True)
            sync_folder(folder)
        except OSError as error:
            raise unusable(path, PURPOSE, error) from error
        return cls(path, head, Book(), [tag], mac, len(line), descriptor)

    @classmethod
    def open(cls, folder: Path, key: StoreKey) -> Ledger:
        """For writing: a line that was torn is cut. Raises `BadInput` and `BadArtifact`."""
        return cls._opened(folder, key, os.O_RDWR)

    @classmethod
    def look(cls, folder: Path, key: StoreKey) -> Ledger:
        """For reading alone, also while another process writes it. Raises as `open`."""
        return cls._opened(folder, key, os.O_RDONLY)

    @classmethod
    def _opened(cls, folder: Path, key: StoreKey, mode: int) -> Ledger:
        path = folder / NAME
        try:
            descriptor = os.open(path, mode | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise BadInput(f"{folder}: there is no store in it") from None
        except OSError as error:
            raise unusable(path, PURPOSE, error) from error
        try:
            found = _read(path, descriptor, key)
            if mode == os.O_RDWR and os.fstat(descriptor).st_size != found._size:
                os.ftruncate(descriptor, found._size)
                os.fsync(descriptor)
            found._descriptor = descriptor
            return found
        except OSError as error:
            os.close(descriptor)
            raise unusable(path, PURPOSE, error) from error
        except BaseException:
            os.close(descriptor)
            raise

    def append(self, *events: Event) -> None:
        """All of them; they are on the disk when this returns. Raises `BadInput` where they cannot
        be written, and the ledger is as it was.
        """
        tags, lines = [self.tags[-1]], b""
        for event in events:
            tag, line = _line(self._key, tags[-1], event)
            tags.append(tag)
            lines += line
        self._check(events)
        try:
            write_all(self._descriptor, lines, self._size)
        except OSError as error:
            self._cut(error)
        self._size += len(lines)
        self.tags += tags[1:]
        for event in events:
            self.book.take(event)

    def _check(self, events: Sequence[Event]) -> None:
        trial = Book(dict(self.book.items), self.book.next, self.book.fresh)
        try:
            for event in events:
                trial.take(event)
        except Impossible:
            raise ContractViolation(f"{events} cannot follow what is in {self.path}") from None

    def _cut(self, error: OSError) -> None:
        """No half line stays behind, and no whole one that was not confirmed; where even that
        fails, nothing more is written.
        """
        try:
            os.ftruncate(self._descriptor, self._size)
            os.fsync(self._descriptor)
        except OSError:
            self.close()
        raise unusable(self.path, PURPOSE, error) from error

    def _follows(self, line: bytes) -> bytes | None:
        """The tag of a line that comes next as it was written."""
        tag = _tag(self._key, self.tags[-1], line[TAG_DIGITS + 1 :])
        right = hmac.compare_digest(line[: TAG_DIGITS + 1], tag.hex().encode() + b" ")
        return tag if right else None

    def _read(self, number: int, line: bytes) -> None:
        tag = self._follows(line)
        if tag is None:
            why = "it is not as it was written, or lines before it are gone"
            raise _damaged(self.path, number, why)
        try:
            self.book.take(_event.decode(line[TAG_DIGITS + 1 :]))
        except UNREADABLE as error:
            why = f"another release wrote it ({error})"
            raise _damaged(self.path, number, why) from error
        except Impossible:
            raise _damaged(self.path, number, "it cannot follow the lines before it") from None
        self.tags.append(tag)
        self._size += len(line) + 1

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def mac_key(key: StoreKey, binding: Binding) -> bytes:
    """Of one store's ledger."""
    return key.derive(b"ledger", binding.digest())


def _tag(key: bytes, before: bytes, payload: bytes) -> bytes:
    return hmac.digest(key, before + payload, "sha256")


def _line(key: bytes, before: bytes, record: Head | Event) -> tuple[bytes, bytes]:
    payload = _encoder.encode(record)
    tag = _tag(key, before, payload)
    return tag, tag.hex().encode() + b" " + payload + b"\n"


def _read(path: Path, descriptor: int, key: StoreKey) -> Ledger:
    with open(descriptor, "rb", closefd=False) as file:
        file.seek(0)
        head, mac, tag, size = _head(path, next(file, b""), key)
        found = Ledger(path, head, Book(), [tag], mac, size)
        for number, line in enumerate(file, 2):
            if not line.endswith(b"\n"):
                if found._follows(line[:-1]):
                    raise _damaged(path, number, "its end is not as it was written")
                break  # torn: it stands for nothing
            found._read(number, line[:-1])
    return found


def _head(path: Path, line: bytes, key: StoreKey) -> tuple[Head, bytes, bytes, int]:
    """The first line: what it says names the key by which it is then checked."""
    payload = line[TAG_DIGITS + 1 :].rstrip(b"\n")
    try:
        head = _head_decoder.decode(payload)
        bytes.fromhex(head.nonce + head.peer_public)
        mac = mac_key(key, head.binding)
    except (*UNREADABLE, ValueError, OverflowError) as error:
        raise _damaged(path, 1, "it is not the first line of a ledger") from error
    tag, whole = _line(mac, _START, head)
    if not hmac.compare_digest(whole, line):
        raise _damaged(
            path,
            1,
            "it was changed, or the store was made with another key (store.key beside the "
            "identity key)",
        )
    if head.binding.format != FORMAT:
        raise BadArtifact(
            f"{path}: has format {head.binding.format}, this Moiety reads {FORMAT}; use what is "
            "prepared with the release that prepared it, or remove the folder"
        )
    return head, mac, tag, len(line)


def _damaged(path: Path, number: int, why: str) -> BadArtifact:
    return BadArtifact(
        f"{path}: line {number} is damaged: {why}. Nothing in this store can be used any more: "
        "remove the folder, and prepare anew"
    )
