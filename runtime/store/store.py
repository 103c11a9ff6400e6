"""A party's store of prepared items: who made what ahead, and that each is used once.

    ledger           what became of each item (`ledger.py`)
    item-N           a prepared item (`item.py`)
    .item-N.tmp      one that is being written; whoever opens the store removes it
    lock             held by the process that has the store open

An item's use is in the ledger, and that on the disk, before a byte of it is read; then its file has
no name any more. A crash in between burns the item. An item is in the ledger when its file is on
the disk under its name: a crash before that loses it.

How two parties use one, each doing the same:

    send(store.position()); peer = store.meet(receive())          # refuses copies
    plan = reconcile(store.stands(), peer)
    with store.take(plan.indices[0]) as item:                     # marked, on the disk
        send(store.position(listed=False)); store.confirm(receive(), item.index)
        pads = item.stream("pads").take(size)
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from moiety.protocols.errors import BadInput, ContractViolation
from moiety.runtime.operation.files import check_folder, sync_folder, unusable
from moiety.runtime.program.bounds import in_words
from moiety.runtime.store.binding import Binding, Founding, Offer, Terms
from moiety.runtime.store.item import PURPOSE, SALT_BYTES, ItemKey, ItemReader, ItemWriter
from moiety.runtime.store.key import StoreKey
from moiety.runtime.store.ledger import NAME as LEDGER
from moiety.runtime.store.ledger import Burned, Head, Ledger, Prepared, Used, Why, latest
from moiety.runtime.store.limits import DAY, UNLIMITED, Limits
from moiety.runtime.store.lock import held
from moiety.runtime.store.meeting import Meeting
from moiety.runtime.store.position import ENTRIES, Position
from moiety.runtime.store.shelf import Shelf

MARGIN = 64 << 20
"""Bytes of a disk that are left free for the ledger and for others."""
OWNER_ENTERS = 0o700
"""The mode of a store's folder."""


class Store:
    """An open store, held by this process alone. `Store.create` and `Store.open` make one. One
    thread may prepare items while another one uses some.
    """

    def __init__(
        self,
        folder: Path,
        key: StoreKey,
        ledger: Ledger,
        lock: int,
        limits: Limits,
        clock: Callable[[], float],
    ) -> None:
        self.folder, self.limits = folder, limits
        self._key, self._ledger, self._lock, self._clock = key, ledger, lock, clock
        self._owner = os.getpid()
        self.shelf = Shelf(folder)
        self._mutex = threading.RLock()
        self._writing: dict[int, int] = {}
        """Items that are being written, and how large they will be."""
        self.removed: set[str] = set()
        """Files that stood for nothing when it was opened."""
        self._binding = self.binding.digest()

    @classmethod
    def create(
        cls,
        folder: Path,
        key: StoreKey,
        founding: Founding,
        peer: Offer,
        limits: Limits = UNLIMITED,
        clock: Callable[[], float] = time.time,
    ) -> Store:
        """A store that both parties have made offers for. Raises `BadInput` where there is one, or
        the folder cannot be used.
        """
        head = _head(founding, peer)
        check_folder(folder, OWNER_ENTERS, "a store")
        lock = held(folder)
        try:
            if (folder / LEDGER).exists():
                raise BadInput(
                    f"{folder}: there is a store already; `moiety store status` shows it"
                )
            ledger = Ledger.create(folder, key, head)
        except BaseException:
            os.close(lock)
            raise
        return cls(folder, key, ledger, lock, limits, clock)

    @staticmethod
    def check_place(folder: Path) -> None:
        """That one can be created in `folder`, which is made. Raises `BadInput`."""
        check_folder(folder, OWNER_ENTERS, "a store")
        os.close(held(folder))

    def succeeded(self, founding: Founding, peer: Offer) -> Store:
        """A new store in the place of this one, all of whose items are given up. This one is
        closed, also where `BadInput` is raised; then its items are on the disk as they were.
        """
        with self._mutex, ExitStack() as closed:
            self._check_owner()
            closed.callback(self.close)
            head = _head(founding, peer)
            ledger = Ledger.create(self.folder, self._key, head, replace=True)
            lock, self._lock = self._lock, -1
        store = Store(self.folder, self._key, ledger, lock, self.limits, self._clock)
        with suppress(BadInput):  # what is not removed now is when it is opened again
            store.tidy()
        return store

    @classmethod
    def open(
        cls,
        folder: Path,
        key: StoreKey,
        terms: Terms | None = None,
        limits: Limits = UNLIMITED,
        clock: Callable[[], float] = time.time,
    ) -> Store:
        """The store of a folder, and what crashes have left in it is removed. Raises `BadInput`
        where another process has it, there is none or it is for other `terms`; `BadArtifact` where
        it is damaged.
        """
        if not (folder / LEDGER).exists():
            raise BadInput(f"{folder}: there is no store in it")
        lock = held(folder)
        try:
            ledger = Ledger.open(folder, key)
        except BaseException:
            os.close(lock)
            raise
        store = cls(folder, key, ledger, lock, limits, clock)
        try:
            if terms is not None and store.binding.terms != terms:
                raise BadInput(
                    f"{folder}: the store in it is for {store.binding.terms.differing(terms)}; "
                    "give another folder"
                )
            store.removed = store.tidy()
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Another process may have it then."""
        self._ledger.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- what there is ----------------------------------------------------------------------------

    @property
    def binding(self) -> Binding:
        """What it is for."""
        return self._ledger.head.binding

    @property
    def ledger(self) -> Ledger:
        """To look at."""
        return self._ledger

    def usable(self) -> list[Prepared]:
        """Items that are prepared, neither used nor burned, and not too old; ascending. A clock
        that goes back makes none younger than another that is there.
        """
        items = list(self._ledger.book.items.values())
        now = latest(self._clock(), items)
        return [item for item in items if not self.limits.expired(item.time, now)]

    def useless(self) -> list[int]:
        """Items that are too old, or from a time that has not come: a clock was ahead."""
        usable, late = {item.index for item in self.usable()}, self._clock() + DAY
        items = list(self._ledger.book.items.values())
        return [each.index for each in items if each.index not in usable or each.time > late]

    # --- preparing --------------------------------------------------------------------------------

    def check_room(self, size: int) -> None:
        """Whether an item of `size` bytes may be begun. Items that can never be used again make
        room for it where there is none. Raises `BadInput` where a limit or the disk is in the way.
        """
        with self._mutex:
            refusal = self._refusal(size)
            if refusal is not None and self._make_room():
                refusal = self._refusal(size)
        if refusal is not None:
            raise BadInput(f"{self.folder}: no item is prepared: {refusal}")

    def _refusal(self, size: int) -> str | None:
        """Why no item of `size` bytes may be begun."""
        book = self._ledger.book
        waiting, begun = len(book.items) + len(self._writing), sum(self._writing.values())
        refusal = self.limits.refusal(waiting, book.size() + begun, size)
        if refusal is None and waiting >= ENTRIES:
            refusal = f"a store has at most {ENTRIES} items"
        needed, free = begun + size + MARGIN, self.shelf.free()
        if refusal is None and free < needed:
            refusal = (
                f"it needs {in_words(needed)} of the disk, and {in_words(free)} are free; what is "
                "there can be used"
            )
        return refusal

    def _make_room(self) -> bool:
        """Gives up what is too old, and what the peer has passed; whether there was any. Else a
        store whose items have all become useless would stay full for ever. What is from a time that
        has not come stays: it can be used, and the clock may be what is wrong.
        """
        usable, passed = [item.index for item in self.usable()], self._meeting.passed()
        expired = [each for each in self._ledger.book.items if each not in usable]
        gone = [each for each in usable if each < passed]
        self.burn(expired, "expired")
        self.burn(gone, "skipped")
        return bool(expired or gone)

    @contextmanager
    def writing(self, index: int, size: int = 0) -> Iterator[ItemWriter]:
        """An item of about `size` bytes, to be written and sealed inside. It is prepared when the
        block ends, and nothing of it is left where the block raises. Items that are written at the
        same time are finished in the order of their indices. Raises `BadInput` where it cannot be
        kept; all that was prepared before is as it was.
        """
        salt = os.urandom(SALT_BYTES)
        key = ItemKey.derived(self._key, self._binding, index, salt)
        with self._mutex:
            self._check_owner()
            if index < self._ledger.book.fresh or index in self._writing:
                raise ContractViolation(f"item {index} cannot be prepared in {self.folder}")
            self.check_room(size)
            self._writing[index] = size
        try:
            writer = ItemWriter(self.shelf.unfinished(index), key)
            try:
                yield writer
                writer.sync()
                with self._mutex:
                    self._keep(writer, salt)
            finally:
                writer.discard()
        finally:
            del self._writing[index]

    def _keep(self, writer: ItemWriter, salt: bytes) -> None:
        if writer.digest is None:
            raise ContractViolation(f"{writer.path} was not sealed")
        index, path = writer.key.index, self.shelf.item(writer.key.index)
        prepared = Prepared(
            index=index,
            digest=writer.digest.hex(),
            salt=salt.hex(),
            size=writer.size,
            time=max(0, int(self._clock())),
        )
        with ExitStack() as failing:
            failing.callback(path.unlink, missing_ok=True)
            try:
                writer.path.rename(path)
                sync_folder(self.folder)
            except OSError as error:
                raise unusable(path, PURPOSE, error) from error
            self._ledger.append(prepared)
            failing.pop_all()

    # --- using ------------------------------------------------------------------------------------

    def take(self, index: int) -> ItemReader:
        """The item, whose use is on the disk when this returns. Raises as `take_all`."""
        return self.take_all((index,))[0]

    def take_all(self, indices: Sequence[int]) -> list[ItemReader]:
        """These items (ascending), whose use is on the disk when this returns; those before the
        last one that are not among them are burned. A file that is damaged shows when it is read,
        and its item is lost. Raises `ContractViolation` for an item that is not there to be used;
        `BadInput` where the ledger cannot be written, and nothing is used.
        """
        with self._mutex, ExitStack() as opened:
            self._check_owner()
            items = {item.index: item for item in self.usable()}
            if not indices or any(index not in items for index in indices):
                raise ContractViolation(f"{self.folder} does not have all of the items {indices}")
            found = [self.reader(items[index]) for index in indices]
            for reader in found:
                opened.callback(reader.close)
            self._ledger.append(*self._skipped(indices), Used(indices=tuple(indices)))
            self.tidy()
            opened.pop_all()
        return found

    def _skipped(self, indices: Sequence[int]) -> Iterator[Burned]:
        """What lies before these and between them."""
        begin = self._ledger.book.next
        for index in indices:
            if any(begin <= each < index for each in self._ledger.book.items):
                yield Burned(index=begin, count=index - begin, why="skipped")
            begin = index + 1

    def reader(self, item: Prepared) -> ItemReader:
        """An item without marking it, to authenticate it (`care.verify`): nothing that this opens
        may go anywhere. Who uses an item takes it.
        """
        salt, digest = bytes.fromhex(item.salt), bytes.fromhex(item.digest)
        key = ItemKey.derived(self._key, self._binding, item.index, salt)
        path = self.shelf.item(item.index)
        return ItemReader(path, self.shelf.opened(item.index), key, digest, item.size)

    def burn(self, indices: Sequence[int], why: Why) -> None:
        """These items are never used. Raises `BadInput`, and nothing is burned."""
        with self._mutex:
            self._check_owner()
            if indices:
                self._ledger.append(*(Burned(index=each, count=1, why=why) for each in indices))
            self.tidy()

    def skip(self, to: int) -> int:
        """Items before this one are never used; how many there were. Raises as `burn`."""
        with self._mutex:
            self._check_owner()
            gone = [index for index in self._ledger.book.items if index < to]
            if gone:
                self._ledger.append(*self._skipped((gone[-1] + 1,)))
                self.tidy()
            return len(gone)

    def tidy(self) -> set[str]:
        """Removes files that stand for nothing: of items that are used or burned, or were never
        finished. Gives their names.
        """
        with self._mutex:
            names = set(self.shelf.names())
            writing = list(self._writing)
            kept = {self.shelf.item(index).name for index in self._ledger.book.items}
            kept |= {self.shelf.unfinished(index).name for index in writing}
            self.shelf.remove(names - kept)
            return names - kept

    # --- meeting the peer -------------------------------------------------------------------------

    @property
    def _meeting(self) -> Meeting:
        self._check_owner()
        return Meeting(self.folder, self._key, self._ledger)

    def stands(self, listed: bool = True) -> Position:
        """Where this store stands, as the peer is told."""
        with self._mutex:
            return self._meeting.position(self.usable(), listed)

    def position(self, listed: bool = True) -> bytes:
        """What to send before the peer's is judged, so that both learn of a copy. `listed`: with
        the catalogue, without which there is nothing to reconcile.
        """
        return self.stands(listed).encode()

    def meet(self, data: bytes) -> Position:
        """The peer's position, which is remembered, on the disk, when this returns. Raises
        `NetworkFailure` where it is garbage, `UntrustedPeer` where another store has signed it,
        `PeerMismatch` where it belongs to another store or is of an older copy, `BadArtifact` where
        this side's store is an older copy, and `BadInput` where it cannot be remembered.
        """
        with self._mutex:
            return self._meeting.meet(data)

    def confirm(self, data: bytes, index: int) -> Position:
        """The same after `take`: the peer has marked the item, too, so that a copy of either store
        cannot use it again. Raises as `meet`, and `PeerMismatch` where the peer has not.
        """
        with self._mutex:
            return self._meeting.confirm(data, index)

    def _check_owner(self) -> None:
        if os.getpid() != self._owner or self._lock < 0:
            raise ContractViolation(f"{self.folder} is not open in this process")


def _head(founding: Founding, peer: Offer) -> Head:
    """Of the store that both parties have made offers for."""
    binding = founding.binding(peer)
    Ed25519PublicKey.from_public_bytes(peer.public)
    nonce, public = founding.offer.nonce.hex(), peer.public.hex()
    return Head(binding=binding, nonce=nonce, peer_public=public)
