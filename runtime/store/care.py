"""What `moiety store` does: looks at a store, checks all of it, removes what is of no use."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from moiety.protocols.errors import BadArtifact, BadInput
from moiety.runtime.operation.audit import utc_text
from moiety.runtime.operation.files import unusable
from moiety.runtime.store.key import StoreKey
from moiety.runtime.store.ledger import NAME, Ledger, latest
from moiety.runtime.store.limits import UNLIMITED, Limits
from moiety.runtime.store.position import Signed
from moiety.runtime.store.store import Store


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Of one store. `prepared`: items that can be used, of `nbytes` bytes; `expired`: those too
    old, which still take their place; `counter`: records of the ledger; `peer_counter`: of the
    peer's, as last heard. `oldest`, `newest`: when items that can be used were prepared, in UTC.
    """

    folder: str
    role: str
    program: str
    commitment: str
    peer: str
    lineage: str
    prepared: int
    expired: int
    nbytes: int
    free_bytes: int
    used: int
    burned: int
    next: int
    counter: int
    peer_counter: int | None
    oldest: str | None
    newest: str | None


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """An item that was read and authenticated; `problem`: None where all of it is as written."""

    index: int
    nbytes: int
    problem: str | None


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """What was done: indices that were burned, for their age or for damage; files that were
    removed; bytes that the items had.
    """

    expired: tuple[int, ...]
    damaged: tuple[int, ...]
    files: tuple[str, ...]
    nbytes: int


def stores_in(folder: Path) -> list[Path]:
    """The folder itself, or the stores in it. Raises `BadInput` where there is none."""
    if (folder / NAME).exists():
        return [folder]
    try:
        found = sorted(each for each in folder.iterdir() if (each / NAME).exists())
    except OSError as error:
        raise unusable(folder, "a store", error) from error
    if not found:
        raise BadInput(f"{folder}: there is no store in it, nor in its folders")
    return found


def status(
    folder: Path, key: StoreKey, limits: Limits = UNLIMITED, clock: Callable[[], float] = time.time
) -> Status:
    """Changes nothing, and may be asked while another process has the store. Raises `BadInput`,
    and `BadArtifact` where the ledger is damaged.
    """
    ledger = Ledger.look(folder, key)
    ledger.close()
    binding, book = ledger.head.binding, ledger.book
    now = latest(clock(), book.items.values())
    usable = [each for each in book.items.values() if not limits.expired(each.time, now)]
    times = sorted(each.time for each in usable)
    met = Signed.decode(bytes.fromhex(book.met)).claim.counter if book.met else None
    return Status(
        folder=str(folder),
        role=binding.role,
        program=binding.program,
        commitment=binding.commitment,
        peer=binding.peer,
        lineage=binding.lineage,
        prepared=len(usable),
        expired=len(book.items) - len(usable),
        nbytes=book.size(),
        free_bytes=shutil.disk_usage(folder).free,
        used=book.used,
        burned=book.burned,
        next=book.next,
        counter=ledger.counter,
        peer_counter=met,
        oldest=_utc(times[0]) if times else None,
        newest=_utc(times[-1]) if times else None,
    )


def _utc(seconds: int) -> str:
    return utc_text(datetime.fromtimestamp(seconds, UTC))


def verify(store: Store, done: Callable[[Checked], None] = lambda checked: None) -> list[Checked]:
    """Reads and authenticates every item that can be used; `done` hears of each."""
    found = []
    for item in list(store.ledger.book.items.values()):
        problem = None
        try:
            with store.reader(item) as reader:
                reader.check()
        except BadArtifact as error:
            problem = str(error)
        found.append(Checked(index=item.index, nbytes=item.size, problem=problem))
        done(found[-1])
    return found


def prune(store: Store) -> Pruned:
    """Burns items that are too old by the store's limits, damaged, or from a day that has not come,
    as when a clock was ahead; and removes files that stand for nothing. The ledger says what became
    of each item. Raises `BadInput` where it cannot.
    """
    before = dict(store.ledger.book.items)
    expired = tuple(store.useless())
    damaged = tuple(
        each.index for each in verify(store) if each.problem and each.index not in expired
    )
    there = set(store.shelf.names())
    store.burn(expired, "expired")
    store.burn(damaged, "damaged")
    store.tidy()
    files = tuple(sorted(store.removed | (there - set(store.shelf.names()))))
    nbytes = sum(before[index].size for index in (*expired, *damaged))
    return Pruned(expired=expired, damaged=damaged, files=files, nbytes=nbytes)
