"""The hospital's side of what is prepared with a server: the talk before, while and after it."""

from __future__ import annotations

from dataclasses import dataclass

from moiety.protocols.errors import MoietyError
from moiety.protocols.session import Session
from moiety.runtime.party import handshake
from moiety.runtime.party.executor import ClientExecutor
from moiety.runtime.party.framing import PeerRefused
from moiety.runtime.party.prepared import ItemSink, ItemSource
from moiety.runtime.party.stock import Cellar, Stock, decoded
from moiety.runtime.party.transport import TcpChannel
from moiety.runtime.store.binding import Founding, Offer, Terms
from moiety.runtime.store.store import Store


class NothingPrepared(MoietyError):
    """There is no store to take from, or the server prepares no more; the message says why."""

    exit_code = PeerRefused.DENIED


@dataclass(frozen=True)
class ClientStock:
    """What is prepared for runs of so many images, of a connection that is open."""

    channel: TcpChannel
    session: Session
    executor: ClientExecutor
    stock: Stock

    @classmethod
    def meet(
        cls,
        channel: TcpChannel,
        session: Session,
        executor: ClientExecutor,
        cellar: Cellar,
        binding: bytes,
        images: int = 1,
        anew: bool = False,
        skip_to: int = 0,
    ) -> ClientStock:
        """Opens this side's store and compares with the server's. `anew`: one is founded where
        there is none, or the server's is gone: then nothing here can ever be used. Raises
        `NothingPrepared` where it is not, or the server does not want to, and what is here stays;
        else as `Store.open`, `Store.meet`, `reconcile`.
        """
        terms = cellar.terms("client", executor.program, channel.line)
        store = cellar.found(terms, images)
        if store is None:
            if not anew:
                raise NothingPrepared("this side has prepared nothing with it")
            store = _founded(channel, cellar, terms, images)
        stock = Stock(store, images, binding)
        try:
            answer = _told(channel, stock, skip_to)
            if answer.gone and anew:
                store.retire()
                stock = Stock(_founded(channel, cellar, terms, images), images, binding)
                answer = _told(channel, stock, skip_to)
            if answer.why:
                raise NothingPrepared(f"the server: {handshake.printable(answer.why, 200)}")
            stock.meet(decoded(answer.position), skip_to)
        except BaseException:
            stock.close()
            raise
        return cls(channel, session, executor, stock)

    @property
    def left(self) -> int:
        """Items that can be used."""
        return len(self.stock.indices)

    def prepare(self) -> int:
        """One more item; bytes of this side's half. Raises `BadInput` where this side has no room,
        `NothingPrepared` where the server has none; `DeviatingPeer`; `NetworkFailure`.
        """
        self.stock.check_room()
        images = self.stock.images
        demand = self.executor.demand_digest(images).hex()
        asked = handshake.Prepare(index=self.stock.fresh, images=images, demand=demand)
        handshake.send(self.channel, asked)
        answer = handshake.receive(self.channel, handshake.Prepare)
        if answer.why:
            why = handshake.printable(answer.why, 200)
            raise NothingPrepared(f"the server prepares no item: {why}")

        def make(sink: ItemSink) -> bytes:
            return self.executor.prepare_item(self.session, sink, images)

        with self.stock.preparing(make) as size:
            handshake.receive(self.channel, handshake.Served)  # it has kept its half
        return size

    def take(self, index: int, cohort: str = "") -> ItemSource:
        """The next item for the run of the images from number `index` on, which is announced; both
        sides have marked it.
        """
        item = self.stock.take()
        begin = handshake.Begin(
            index=index,
            images=self.stock.images,
            cohort=cohort,
            item=item.index,
            position=self.stock.store.position(listed=False).hex(),
        )
        handshake.send(self.channel, begin)
        answer = handshake.receive(self.channel, handshake.Stored)
        self.stock.confirm(decoded(answer.position), item.index)
        return ItemSource(item)

    def close(self) -> None:
        """Another process may have the store then."""
        self.stock.close()


def _told(channel: TcpChannel, stock: Stock, skip_to: int) -> handshake.Stored:
    """Says where this side stands; the server's answer."""
    position = stock.store.position().hex()
    told = handshake.Stored(images=stock.images, position=position, skip_to=skip_to)
    handshake.send(channel, told)
    return handshake.receive(channel, handshake.Stored)


def _founded(channel: TcpChannel, cellar: Cellar, terms: Terms, images: int) -> Store:
    """A new store at both sides."""
    founding = Founding.begin(cellar.key, terms)
    offer = founding.offer.encode().hex()
    handshake.send(channel, handshake.Stored(images=images, offer=offer))
    answer = handshake.receive(channel, handshake.Stored)
    if answer.why:
        raise NothingPrepared(f"the server: {handshake.printable(answer.why, 200)}")
    return cellar.create(founding, images, Offer.decode(decoded(answer.offer)))
