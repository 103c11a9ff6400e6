"""The vendor's side of what is prepared with a client: the stores of one connection."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from moiety.protocols.errors import BadInput, NetworkFailure
from moiety.protocols.session import Session
from moiety.runtime.party import handshake
from moiety.runtime.party.executor import ServerExecutor
from moiety.runtime.party.prepared import ItemSink, ItemSource
from moiety.runtime.party.server.admission import Denied
from moiety.runtime.party.stock import Cellar, Stock, decoded
from moiety.runtime.party.transport import TcpChannel
from moiety.runtime.store.binding import Founding, Offer

log = logging.getLogger("moiety.server")

MOST_ASKED = 256
"""Comparisons of stores in one connection."""
NOT_OFFERED = "this server prepares nothing ahead"
NO_STORE = "it has no store that goes with this one"
UNUSABLE = "its store cannot be used now; another connection of this client may have it open"
NO_ROOM = "it has no room for another item, by its limits or on its disk"
NOT_MET = (
    "the server cannot use what was prepared, and its operator finds the reason in its log; "
    "--on-demand runs without"
)
NOT_KEPT = (
    "the server could not keep what was being prepared; what was prepared before can be used, and "
    "its operator finds the reason in its log"
)


@dataclass
class Stocks:
    """Of one connection, by the number of images in a run. `cellar`: None where nothing is
    prepared ahead.
    """

    executor: ServerExecutor
    channel: TcpChannel
    binding: bytes
    cellar: Cellar | None
    _met: dict[int, Stock] = field(default_factory=dict)
    _new: set[int] = field(default_factory=set)
    _asked: int = 0

    def answer(self, asked: handshake.Stored) -> None:
        """What the client says of its store. Raises as `Stock.meet`, but `Denied` where it is this
        side's store that cannot be used.
        """
        if asked.images not in self.executor.batches:
            raise NetworkFailure(f"out of step: a store for runs of {asked.images} images")
        self._asked += 1
        if self._asked > MOST_ASKED:  # each may take a line of a ledger
            raise NetworkFailure(f"out of step: stores were compared {MOST_ASKED} times")
        if self.cellar is None:
            self._decline(asked, NOT_OFFERED)
            return
        try:
            made = self._founded if asked.offer else self._opened
            stock = made(self.cellar, asked)
        except BadInput as error:
            log.warning("%s: nothing prepared is used: %s", self.channel.peer, error)
            self._decline(asked, UNUSABLE)
            return
        if stock is None:
            self._decline(asked, NO_STORE, gone=True)
        elif not asked.offer:
            self._meet(stock, asked)

    def prepare(self, session: Session, asked: handshake.Prepare) -> bool:
        """One more item, where there is room: whether it was made, and is on the disk. Raises
        `Denied` where the disk was full on the way, and only this item is lost.
        """
        stock = self._of(asked.images)
        if asked.index != stock.fresh:
            raise NetworkFailure(
                f"out of step: item {asked.index} is to be prepared where {stock.fresh} was due"
            )
        if asked.demand != self.executor.demand_digest(asked.images).hex():
            raise NetworkFailure("out of step: the two sides would prepare runs of different forms")
        try:
            stock.check_room()
        except BadInput as error:
            log.warning("%s: %s", self.channel.peer, error)
            handshake.send(self.channel, handshake.Prepare(index=asked.index, why=NO_ROOM))
            return False
        handshake.send(self.channel, asked)

        def make(sink: ItemSink) -> bytes:
            return self.executor.prepare_item(session, sink, asked.images)

        try:
            with stock.preparing(make):
                pass
        except BadInput as error:
            log.warning("%s: item %d is lost: %s", self.channel.peer, asked.index, error)
            raise Denied(NOT_KEPT) from error
        return True

    @contextmanager
    def taken(self, begin: handshake.Begin) -> Iterator[ItemSource | None]:
        """The item that the client has marked as used, if there is one, marked here, too."""
        if begin.item is None:
            yield None
            return
        stock = self._of(begin.images)
        if not stock.indices or begin.item != stock.indices[0]:
            raise NetworkFailure(f"out of step: item {begin.item} is not the next one")
        stock.confirm(decoded(begin.position), begin.item)
        with stock.take() as item:
            position = stock.store.position(listed=False).hex()
            handshake.send(self.channel, handshake.Stored(images=begin.images, position=position))
            yield ItemSource(item)

    def _of(self, images: int) -> Stock:
        if images not in self._met:
            raise NetworkFailure("out of step: nothing was said of a store")
        return self._met[images]

    def _founded(self, cellar: Cellar, asked: handshake.Stored) -> Stock:
        """A new store; one that is there is worth nothing, for the client has none. Once in a
        connection: what became of the old one is kept, a small file each time.
        """
        if asked.images in self._new:
            raise NetworkFailure("out of step: a second new store in one connection")
        self._new.add(asked.images)
        offer = Offer.decode(decoded(asked.offer))
        terms = cellar.terms("server", self.executor.program, self.channel.line)
        self._forget(asked.images)
        if (store := cellar.found(terms, asked.images)) is not None:
            log.warning("%s: the client begins anew; what was prepared is lost", self.channel.peer)
            store.retire()
        founding = Founding.begin(cellar.key, terms)
        store = cellar.create(founding, asked.images, offer)
        stock = self._met[asked.images] = Stock(store, asked.images, self.binding)
        said = founding.offer.encode().hex()
        handshake.send(self.channel, handshake.Stored(images=asked.images, offer=said))
        return stock

    def _opened(self, cellar: Cellar, asked: handshake.Stored) -> Stock | None:
        """The store that goes with the client's, held by this connection from now on."""
        if asked.images not in self._met:
            terms = cellar.terms("server", self.executor.program, self.channel.line)
            if (store := cellar.found(terms, asked.images)) is None:
                return None
            self._met[asked.images] = Stock(store, asked.images, self.binding)
        stock = self._met[asked.images]
        if not stock.goes_with(decoded(asked.position)):
            self._forget(asked.images)
            return None
        return stock

    def _meet(self, stock: Stock, asked: handshake.Stored) -> None:
        """Says where this side stands before the client's word is judged: both learn of a copy."""
        position = stock.store.position().hex()
        handshake.send(self.channel, handshake.Stored(images=asked.images, position=position))
        try:
            stock.meet(decoded(asked.position), asked.skip_to)
        except BadInput as error:  # an older copy, or a full disk
            log.warning("%s: nothing prepared is used: %s", self.channel.peer, error)
            raise Denied(NOT_MET) from error

    def _forget(self, images: int) -> None:
        if (stock := self._met.pop(images, None)) is not None:
            stock.close()

    def _decline(self, asked: handshake.Stored, why: str, gone: bool = False) -> None:
        handshake.send(self.channel, handshake.Stored(images=asked.images, why=why, gone=gone))

    def close(self) -> None:
        """Other connections may have the stores then."""
        for images in list(self._met):
            self._forget(images)
