"""The hospital's side of what is prepared with a server: the talk before, while and after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from moiety.protocols.errors import MoietyError, NetworkFailure
from moiety.protocols.session import Session
from moiety.runtime.party import handshake
from moiety.runtime.party.executor import ClientExecutor
from moiety.runtime.party.framing import PeerRefused
from moiety.runtime.party.prepared import ItemSink, ItemSource
from moiety.runtime.party.stock import Cellar, NewStore, Stock, decoded
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
        new: NewStore = NewStore.NEVER,
        skip_to: int = 0,
    ) -> ClientStock:
        """Opens this side's store, or founds a new one, and compares with the server's. Raises
        `NothingPrepared` where there is nothing to compare, and what either side has stays; else as
        `Store.open`, `Store.create`, `Store.meet`, `reconcile`.
        """
        terms = cellar.terms("client", executor.program, channel.line)
        store = cellar.found(terms, images)
        try:
            if store is None or new is NewStore.ANEW:
                store = _founded(channel, cellar, terms, images, store, new)
            answer = _told(channel, store, images, skip_to)
            if answer.gone and new is not NewStore.NEVER:
                store = _founded(channel, cellar, terms, images, store, new)
                answer = _told(channel, store, images, skip_to)
            _check_willing(answer)
            stock = Stock(store, images, binding)
            stock.meet(decoded(answer.position), skip_to)
            if stock.indices:
                executor.demand_digest(images)  # the server does, too, before either needs it
        except BaseException:
            if store is not None:
                store.close()
            raise
        return cls(channel, session, executor, stock)

    @property
    def left(self) -> int:
        """Items that can be used."""
        return len(self.stock.indices)

    def prepare(self) -> int:
        """One more item; bytes of this side's half. Raises `BadInput` where this side has no room,
        on its disk or (`BadArtifact`) in its memory, `NothingPrepared` where the server has none;
        `DeviatingPeer`; `NetworkFailure`.
        """
        self.executor.check_preparing()
        self.stock.check_room()
        images = self.stock.images
        handshake.send(self.channel, handshake.Prepare(index=self.stock.fresh, images=images))
        demand = self.executor.demand_digest(images).hex()  # the first time while the server does
        answer = handshake.receive(self.channel, handshake.Prepare)
        if answer.why:
            why = handshake.printable(answer.why, 200)
            raise NothingPrepared(f"the server prepares no item: {why}")
        if (answer.index, answer.images) != (self.stock.fresh, images):
            raise NetworkFailure("out of step: the server would prepare another item")
        if answer.demand != demand:
            raise NetworkFailure(
                "the server would prepare runs of another form: the two sides' releases do not go "
                "together"
            )

        def make(sink: ItemSink) -> bytes:
            return self.executor.prepare_item(self.session, sink, images)

        with self.stock.preparing(make) as size:
            handshake.receive(self.channel, handshake.Served)  # it has kept its half
        return size

    @contextmanager
    def taken(self, index: int, cohort: str = "") -> Iterator[ItemSource]:
        """The next item for the run of the images from number `index` on, which is announced; both
        sides have marked it. Raises as `Stock.taken` and `Stock.confirm`.
        """
        with self.stock.taken() as item:
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
            yield ItemSource(item)

    def close(self) -> None:
        """Another process may have the store then."""
        self.stock.close()


def _told(channel: TcpChannel, store: Store, images: int, skip_to: int) -> handshake.Stored:
    """Says where this side stands; the server's answer."""
    told = handshake.Stored(images=images, position=store.position().hex(), skip_to=skip_to)
    handshake.send(channel, told)
    return handshake.receive(channel, handshake.Stored)


def _founded(
    channel: TcpChannel,
    cellar: Cellar,
    terms: Terms,
    images: int,
    old: Store | None,
    new: NewStore,
) -> Store:
    """A new store, in the place of the `old` one, which stays where the server does not want it or
    it cannot be made. The server makes its own when it hears where this one stands.
    """
    if old is None:
        if new is NewStore.NEVER:
            raise NothingPrepared("this side has prepared nothing with it")
        cellar.check_place(terms, images)
    elif new is not NewStore.ANEW and (count := len(old.usable())):
        raise NothingPrepared(
            f"the server has no store that goes with {old.folder}, where {count} can be used: it "
            "may have been started with another folder; if its half is lost, give up this one with "
            "`moiety prepare --anew`"
        )
    founding = Founding.begin(cellar.key, terms)
    offer = founding.offer.encode().hex()
    asked = handshake.Stored(images=images, offer=offer, anew=new is NewStore.ANEW)
    handshake.send(channel, asked)
    answer = handshake.receive(channel, handshake.Stored)
    _check_willing(answer)
    return cellar.create(founding, images, Offer.decode(decoded(answer.offer)), old)


def _check_willing(answer: handshake.Stored) -> None:
    """Raises `NothingPrepared` with why the server does not go on."""
    if answer.why:
        raise NothingPrepared(f"the server: {handshake.printable(answer.why, 200)}")
