"""The vendor's side of what is prepared with a client: the stores of one connection."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field

from moiety.protocols.errors import BadInput, NetworkFailure
from moiety.protocols.session import Session
from moiety.runtime.party import handshake
from moiety.runtime.party.executor import ServerExecutor
from moiety.runtime.party.prepared import ItemSink, ItemSource
from moiety.runtime.party.server.admission import Denied
from moiety.runtime.party.stock import Cellar, Stock, decoded, lineage_in
from moiety.runtime.party.transport import TcpChannel
from moiety.runtime.store.binding import Founding, Offer
from moiety.runtime.store.store import Store

log = logging.getLogger("moiety.server")

MOST_ASKED = 256
"""Comparisons of stores in one connection."""
NOT_OFFERED = "this server prepares nothing ahead (moiety serve --prepared)"
NO_STORE = "it has no store that goes with this one"
UNUSABLE = (
    "its store cannot be used now; another connection of this client may have it open, and its "
    "operator finds the reason in its log"
)
WOULD_BE_LOST = (
    "it has {} prepared with another store of this client, or one of the same key; where that is "
    "lost, they are given up with `moiety prepare --anew`"
)
NO_ROOM = "it has no room for another item, by its limits or on its disk"
NOT_MET = (
    "the server cannot use what was prepared, and its operator finds the reason in its log; "
    "--on-demand runs without"
)
NOT_KEPT = (
    "the server could not keep what was being prepared; what was prepared before can be used, and "
    "its operator finds the reason in its log"
)


@dataclass(frozen=True)
class Offered:
    """A store that is not there yet, and the `old` one in whose place it comes, which is open."""

    founding: Founding
    peer: Offer
    old: Store | None

    @property
    def lineage(self) -> str:
        """Of the new one."""
        return self.founding.binding(self.peer).lineage

    def close(self) -> None:
        """The old one stays."""
        if self.old is not None:
            self.old.close()


@dataclass
class Stocks:
    """Of one connection, by the number of images in a run. `cellar`: None where nothing is
    prepared ahead. `count`: so many images of the client's are paid for now, or it raises.
    """

    executor: ServerExecutor
    channel: TcpChannel
    binding: bytes
    cellar: Cellar | None
    count: Callable[[int], None]
    _met: dict[int, Stock] = field(default_factory=dict)
    _offered: dict[int, Offered] = field(default_factory=dict)
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
            if asked.offer:
                self._offer(self.cellar, asked)
                return
            stock = self._opened(self.cellar, asked)
        except BadInput as error:
            log.warning("%s: nothing prepared is used: %s", self.channel.peer, error)
            self._decline(asked, UNUSABLE)
            return
        if stock is None:
            self._decline(asked, NO_STORE, gone=True)
        else:
            self._meet(stock, asked)

    def prepare(self, session: Session, asked: handshake.Prepare) -> bool:
        """One more item, where there is room: whether it was made, and is on the disk. Raises
        `Denied` where the disk was full on the way, and only this item is lost; and what `count`
        raises.

        An image counts when its item is used, and not now. But a client of a stochastic Program
        knows an item's rounding bits as soon as it is made, and may leave the items that it does
        not like, or break them off. So there an item counts, too, before anything of it is made, as
        many images as it is for (docs/ahead.md).
        """
        stock = self._of(asked.images)
        if asked.index != stock.fresh:
            raise NetworkFailure(
                f"out of step: item {asked.index} is to be prepared where {stock.fresh} was due"
            )
        try:
            stock.check_room()
        except BadInput as error:
            log.warning("%s: %s", self.channel.peer, error)
            handshake.send(self.channel, handshake.Prepare(index=asked.index, why=NO_ROOM))
            return False
        if self.executor.program.rounding == "stochastic":
            self.count(asked.images)
        demand = self.executor.demand_digest(asked.images).hex()
        answer = handshake.Prepare(index=asked.index, images=asked.images, demand=demand)
        handshake.send(self.channel, answer)

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
        """The item that the client has marked as used, if there is one, marked here, too. Raises
        as `Stock.taken` and `Stock.confirm`.
        """
        if begin.item is None:
            yield None
            return
        stock = self._of(begin.images)
        if not stock.indices or begin.item != stock.indices[0]:
            raise NetworkFailure(f"out of step: item {begin.item} is not the next one")
        stock.confirm(decoded(begin.position), begin.item)
        with stock.taken() as item:
            position = stock.store.position(listed=False).hex()
            handshake.send(self.channel, handshake.Stored(images=begin.images, position=position))
            yield ItemSource(item)

    def _of(self, images: int) -> Stock:
        if images not in self._met:
            raise NetworkFailure("out of step: nothing was said of a store")
        return self._met[images]

    def _offer(self, cellar: Cellar, asked: handshake.Stored) -> None:
        """Of a new store, for which the client has made its own offer. All that could be in its way
        is tried now; the old one stays until the client says where its new one stands.
        """
        peer = Offer.decode(decoded(asked.offer))
        terms = cellar.terms("server", self.executor.program, self.channel.line)
        self._forget(asked.images)
        old = cellar.found(terms, asked.images)
        offered = Offered(Founding.begin(cellar.key, terms), peer, old)
        with ExitStack() as refused:
            refused.callback(offered.close)
            if old is None:
                cellar.check_place(terms, asked.images)
            elif not asked.anew and (count := len(old.usable())):
                items = "an item" if count == 1 else f"{count} items"
                self._decline(asked, WOULD_BE_LOST.format(items))
                return
            said = offered.founding.offer.encode().hex()
            handshake.send(self.channel, handshake.Stored(images=asked.images, offer=said))
            refused.pop_all()
        self._offered[asked.images] = offered

    def _opened(self, cellar: Cellar, asked: handshake.Stored) -> Stock | None:
        """The store that goes with the client's, held by this connection from now on."""
        lineage, images = lineage_in(decoded(asked.position)), asked.images
        if (offered := self._offered.pop(images, None)) is not None:
            with closing(offered):
                if offered.lineage == lineage:
                    self._met[images] = self._founded(cellar, offered, images)
        if images not in self._met:
            terms = cellar.terms("server", self.executor.program, self.channel.line)
            if (store := cellar.found(terms, images)) is None:
                return None
            self._met[images] = Stock(store, images, self.binding)
        stock = self._met[images]
        if stock.store.binding.lineage != lineage:
            self._forget(images)
            return None
        return stock

    def _founded(self, cellar: Cellar, offered: Offered, images: int) -> Stock:
        """The store that was offered: the client has its own."""
        lost = len(offered.old.usable()) if offered.old is not None else 0
        store = cellar.create(offered.founding, images, offered.peer, offered.old)
        if lost:
            log.warning("%s: begins anew; prepared items given up: %d", self.channel.peer, lost)
        return Stock(store, images, self.binding)

    def _meet(self, stock: Stock, asked: handshake.Stored) -> None:
        """Says where this side stands before the client's word is judged: both learn of a copy."""
        position = stock.store.position().hex()
        handshake.send(self.channel, handshake.Stored(images=asked.images, position=position))
        try:
            stock.meet(decoded(asked.position), asked.skip_to)
        except BadInput as error:  # an older copy, or a full disk
            log.warning("%s: nothing prepared is used: %s", self.channel.peer, error)
            raise Denied(NOT_MET) from error
        if stock.given_up:
            given_up = asked.skip_to, stock.given_up
            log.warning(
                "%s: skips to %d; prepared items given up: %d", self.channel.peer, *given_up
            )
        if stock.indices:
            self.executor.demand_digest(asked.images)  # the client does, too: see ClientStock

    def _forget(self, images: int) -> None:
        for known in (self._met, self._offered):
            if (each := known.pop(images, None)) is not None:
                each.close()

    def _decline(self, asked: handshake.Stored, why: str, gone: bool = False) -> None:
        handshake.send(self.channel, handshake.Stored(images=asked.images, why=why, gone=gone))

    def close(self) -> None:
        """Other connections may have the stores then."""
        for images in {*self._met, *self._offered}:
            self._forget(images)
