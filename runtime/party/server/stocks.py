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
from moiety.runtime.party.stock import Cellar, Stock, decoded
from moiety.runtime.party.transport import TcpChannel
from moiety.runtime.store.binding import Founding, Offer

log = logging.getLogger("moiety.server")

NOT_OFFERED = "this server prepares nothing ahead"
NO_STORE = "it has no store that goes with this one"
UNUSABLE = "its store cannot be used now; another connection of this client may have it open"


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

    def answer(self, asked: handshake.Stored) -> None:
        """What the client says of its store. Raises as `Store.meet`."""
        if asked.images not in self.executor.batches:
            raise NetworkFailure(f"out of step: a store for runs of {asked.images} images")
        if self.cellar is None:
            self._decline(asked, NOT_OFFERED)
            return
        try:
            if asked.offer:
                self._found(self.cellar, asked)
            else:
                self._meet(self.cellar, asked)
        except BadInput as error:
            log.warning("%s: nothing prepared is used: %s", self.channel.peer, error)
            self._decline(asked, UNUSABLE)

    def prepare(self, session: Session, asked: handshake.Prepare) -> bool:
        """One more item, where there is room: whether it was made, and is on the disk."""
        stock = self._of(asked.images)
        if asked.index != stock.fresh:
            raise NetworkFailure(
                f"out of step: item {asked.index} is to be prepared where {stock.fresh} was due"
            )
        try:
            stock.check_room()
        except BadInput as error:
            log.warning("%s: %s", self.channel.peer, error)
            why = "it has no room for another item, by its limits or on its disk"
            handshake.send(self.channel, handshake.Prepare(index=asked.index, why=why))
            return False
        handshake.send(self.channel, asked)

        def make(sink: ItemSink) -> bytes:
            return self.executor.prepare_item(session, sink, asked.images)

        with stock.preparing(make):
            pass
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

    def _found(self, cellar: Cellar, asked: handshake.Stored) -> None:
        """A new store; one that is there is worth nothing, for the client has none."""
        terms = cellar.terms("server", self.executor.program, self.channel.line)
        self._forget(asked.images)
        if (store := cellar.found(terms, asked.images)) is not None:
            log.warning("%s: the client begins anew; what was prepared is lost", self.channel.peer)
            store.retire()
        founding = Founding.begin(cellar.key, terms)
        store = cellar.create(founding, asked.images, Offer.decode(decoded(asked.offer)))
        self._met[asked.images] = Stock(store, asked.images, self.binding)
        offer = founding.offer.encode().hex()
        handshake.send(self.channel, handshake.Stored(images=asked.images, offer=offer))

    def _meet(self, cellar: Cellar, asked: handshake.Stored) -> None:
        """Says where this side stands before the client's word is judged: both learn of a copy."""
        stock = self._met.get(asked.images)
        if stock is None:
            terms = cellar.terms("server", self.executor.program, self.channel.line)
            store = cellar.found(terms, asked.images)
            if store is None:
                self._decline(asked, NO_STORE)
                return
            stock = self._met[asked.images] = Stock(store, asked.images, self.binding)
        position = stock.store.position().hex()
        handshake.send(self.channel, handshake.Stored(images=asked.images, position=position))
        stock.meet(decoded(asked.position), asked.skip_to)

    def _forget(self, images: int) -> None:
        if (stock := self._met.pop(images, None)) is not None:
            stock.close()

    def _decline(self, asked: handshake.Stored, why: str) -> None:
        handshake.send(self.channel, handshake.Stored(images=asked.images, why=why))

    def close(self) -> None:
        """Other connections may have the stores then."""
        for images in list(self._met):
            self._forget(images)
