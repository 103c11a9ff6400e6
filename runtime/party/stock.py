"""What a client and a server have prepared together, at either of them: which item serves the next
run, and how one more is made. Both do the same, in the same order; who speaks first is the client.

Each side has one store for runs of so many images (runtime/store). What is used next follows from
both positions, which are exchanged once a connection and again with each use: an item is marked at
both sides, and each has seen the other's mark, before a byte of it is read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from moiety.protocols.errors import BadArtifact, NetworkFailure
from moiety.runtime.operation.fingerprint import Fingerprint
from moiety.runtime.party.framing import Line
from moiety.runtime.party.prepared import ItemSink, item_digest
from moiety.runtime.program import Program
from moiety.runtime.store.binding import KEYLESS, Founding, Offer, Role, Terms
from moiety.runtime.store.item import DamagedItem, ItemReader
from moiety.runtime.store.key import StoreKey
from moiety.runtime.store.ledger import NAME as LEDGER
from moiety.runtime.store.limits import UNLIMITED, Limits
from moiety.runtime.store.position import ENTRIES, Position
from moiety.runtime.store.reconcile import reconcile
from moiety.runtime.store.store import Store

Make = Callable[[ItemSink], bytes]
"""Writes this side's half of an item; gives what both parties agree on besides its number."""


class ItemLost(NetworkFailure):
    """This side's half of item `index` is damaged, or has become too old. It ends a run, and so the
    connection, like a line that broke; a new one goes on with the next item.
    """

    exit_code = BadArtifact.exit_code

    def __init__(self, message: str, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index


class NewStore(Enum):
    """Whether a client wants new stores at both sides."""

    NEVER = "never"
    IF_NOTHING_IS_LOST = "if nothing is lost"
    """Where there is none, or none that goes with the peer's, and no item that can be used."""
    ANEW = "anew"
    """In any case, and what is prepared is given up."""


@dataclass(frozen=True)
class Cellar:
    """All stores of a party: one in `root` for each Program, peer, and number of images in a run;
    `key` is that of all of them.
    """

    root: Path
    key: StoreKey
    limits: Limits = UNLIMITED

    def terms(self, role: Role, program: Program, line: Line) -> Terms:
        """What a store for the peer at the other end of `line` is for. Raises `BadInput` for a
        Program that is not bound to weights.
        """
        terms = Terms(
            role=role,
            program=program.digest(),
            commitment=program.commitment,
            own=_digits(line.own),
            peer=_digits(line.peer),
        )
        terms.check()
        return terms

    def folder(self, terms: Terms, images: int) -> Path:
        """Of the store for runs of so many images."""
        folder = terms.folder_in(self.root)
        return folder if images == 1 else folder.with_name(f"{folder.name}-{images}")

    def found(self, terms: Terms, images: int) -> Store | None:
        """The store that is there; None where there is none. Raises as `Store.open`."""
        folder = self.folder(terms, images)
        if not (folder / LEDGER).exists():
            return None
        return Store.open(folder, self.key, terms, self.limits)

    def check_place(self, terms: Terms, images: int) -> None:
        """That one can be created. Raises `BadInput`."""
        Store.check_place(self.folder(terms, images))

    def create(
        self, founding: Founding, images: int, peer: Offer, old: Store | None = None
    ) -> Store:
        """A new one, in the place of the `old` one, if there is one. Raises as `Store.create` and
        `Store.succeeded`.
        """
        if old is not None:
            return old.succeeded(founding, peer)
        folder = self.folder(founding.terms, images)
        return Store.create(folder, self.key, founding, peer, self.limits)


def _digits(fingerprint: Fingerprint | None) -> str:
    return fingerprint.digest.hex() if fingerprint else KEYLESS


@dataclass
class Stock:
    """An open store whose peer was met on the connection of this `binding`. `indices`: the items
    that serve the next runs, of so many images each; `given_up`: how many were when they met.
    """

    store: Store
    images: int
    binding: bytes
    indices: deque[int] = field(default_factory=deque)
    fresh: int = 0
    given_up: int = 0

    def meet(self, position: bytes, skip_to: int = 0) -> None:
        """Takes the peer's position, when it has this side's. Items before `skip_to` are given up
        now, at both sides: they take no place, and are not there again the next time. Raises as
        `Store.meet` and `reconcile`, and then gives nothing up; `NetworkFailure` for a position
        that does not list what there is; `BadInput` where this cannot be written down.
        """
        peer = self.store.meet(position)
        if peer.catalogue is None:
            raise NetworkFailure("the peer says where its store stands, and not what is in it")
        plan = reconcile(self.store.stands(), peer, ENTRIES, skip_to)
        self.given_up = self.store.skip(skip_to)
        self.indices, self.fresh = deque(plan.indices), plan.fresh

    @contextmanager
    def taken(self) -> Iterator[ItemReader]:
        """The next item, marked as used, for what is done in the block. Raises `ItemLost` for one
        that has become too old since the positions were compared, or that turns out there to be
        damaged; else as `Store.take`.
        """
        index = self.indices.popleft()
        if not any(item.index == index for item in self.store.usable()):
            raise ItemLost(
                f"prepared item {index} has become too old since this connection began; a new one "
                "goes on without it",
                index,
            )
        with self.store.take(index) as item:
            try:
                yield item
            except DamagedItem as error:
                raise ItemLost(str(error), index) from error

    def confirm(self, position: bytes, index: int) -> Position:
        """That the peer has marked it, too. Raises as `Store.confirm`."""
        return self.store.confirm(position, index)

    @contextmanager
    def preparing(self, make: Make) -> Iterator[int]:
        """One more item by `make`; it counts when the block, in which the peer is told or heard,
        ends. Gives its bytes. Raises as `Store.writing`, and what `make` raises.
        """
        index = self.fresh
        with self.store.writing(index, self._expected()) as item:
            agreed = make(ItemSink(item))
            item.seal(item_digest(self.binding, index, self.images, agreed))
            yield item.size
        self.fresh = index + 1
        self.indices.append(index)

    def check_room(self) -> None:
        """Raises `BadInput` where no further item can be prepared."""
        self.store.check_room(self._expected())

    def _expected(self) -> int:
        """Bytes of an item: about those of the last one."""
        return max((item.size for item in self.store.usable()), default=0)

    def close(self) -> None:
        self.store.close()


def lineage_in(position: bytes) -> str:
    """Of the store that says so where it stands; both have the same if they were founded together.
    Raises `NetworkFailure` for what is no position.
    """
    return Position.decode(position).claim.lineage.hex()


def decoded(digits: str) -> bytes:
    """Of an offer or a position. Raises `NetworkFailure`."""
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise NetworkFailure("what the peer says of its store is not understood") from None
