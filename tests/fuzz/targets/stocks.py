"""What a peer says of what was prepared, to a party that has a store: `Stored`, `Prepare`, and a
`Begin` or an answer that names an item.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

from moiety.protocols.session import Session
from moiety.runtime.party import handshake
from moiety.runtime.party.client_stock import ClientStock
from moiety.runtime.party.executor import ClientExecutor, ServerExecutor
from moiety.runtime.party.framing import Line
from moiety.runtime.party.server import stocks
from moiety.runtime.party.server.stocks import Stocks
from moiety.runtime.party.stock import Cellar, NewStore
from moiety.runtime.party.transport import TcpChannel
from moiety.runtime.program import Program
from moiety.runtime.store.binding import Founding, Role
from moiety.runtime.store.key import StoreKey
from moiety.runtime.store.store import Store
from tests.fuzz.target import Target, scratch
from tests.fuzz.targets.frames import QUICK, Said, of_frames, said
from tests.support.runnable import small
from tests.support.stores import NAMES, fill

KEY = StoreKey(bytes(range(32)))
BINDING = bytes(32)


@dataclass(frozen=True)
class Executor:
    """Prepares an item of nothing."""

    program: Program
    batches: tuple[int, ...] = (1, 2)

    def prepare_item(self, session: Session, sink: Any, images: int) -> bytes:
        return b""

    def demand_digest(self, images: int) -> bytes:
        return b""

    def check_preparing(self) -> None:
        """It takes no memory."""


@cache
def executor() -> Executor:
    return Executor(small()[0])


def _cellar(root: Path, role: Role) -> Cellar:
    return Cellar(root / role, KEY)


def _terms(cellar: Cellar, role: Role) -> Any:
    return cellar.terms(role, executor().program, Line())


@cache
def _begun() -> tuple[Path, dict[Role, bytes], dict[Role, bytes]]:
    """Both parties' stores of two items, and where they then stand: before and after item 0."""
    root = scratch() / "stocks"
    shutil.rmtree(root, ignore_errors=True)
    cellars = {role: _cellar(root / "begun", role) for role in NAMES}
    founding = {role: Founding.begin(KEY, _terms(cellars[role], role)) for role in NAMES}
    with ExitStack() as opened:
        stores: dict[Role, Store] = {}
        for role, other in zip(NAMES, reversed(NAMES), strict=True):
            made = cellars[role].create(founding[role], 1, founding[other].offer)
            stores[role] = opened.enter_context(made)
            for index in range(2):
                fill(made, index)
        shutil.copytree(root / "begun", root / "kept")
        before = {role: store.position() for role, store in stores.items()}
        for store in stores.values():
            store.take(0).close()
        after = {role: store.position(listed=False) for role, store in stores.items()}
    return root, before, after


def _laid(role: Role) -> Cellar:
    """A copy of the party's store, as it was."""
    root, _, _ = _begun()
    shutil.rmtree(root / "tried", ignore_errors=True)
    shutil.copytree(root / "kept", root / "tried")
    return _cellar(root / "tried", role)


def _server(channel: TcpChannel) -> None:
    """All that a client may ask of the stores."""
    party, session = cast(ServerExecutor, executor()), cast(Session, None)
    with closing(Stocks(party, channel, BINDING, _laid("server"), lambda _: None)) as met:
        while True:
            match handshake.receive(channel, handshake.Stored, handshake.Prepare, handshake.Begin):
                case handshake.Stored() as told:
                    met.answer(told)
                case handshake.Prepare() as wanted:
                    met.prepare(session, wanted)
                case handshake.Begin() as begin:
                    with met.taken(begin):
                        pass


def _client(channel: TcpChannel, new: NewStore = NewStore.IF_NOTHING_IS_LOST) -> None:
    """What a server says to a client that meets it, prepares an item and uses one."""
    party, session = cast(ClientExecutor, executor()), cast(Session, None)
    stock = ClientStock.meet(channel, session, party, _laid("client"), BINDING, 1, new)
    with closing(stock):
        stock.prepare()
        with stock.taken(0):
            pass


def _client_anew(channel: TcpChannel) -> None:
    _client(channel, NewStore.ANEW)


def run_stocks(data: bytes) -> None:
    if not data:
        return
    channel = TcpChannel(Said(data[1:]), "the peer", QUICK)
    try:
        with patch.object(stocks.log, "disabled", True):
            (_client, _server, _client_anew)[data[0] % 3](channel)
    finally:
        channel.abort()


def stock_seeds() -> Iterator[bytes]:
    _, before, after = _begun()
    told = {role: handshake.Stored(position=before[role].hex()) for role in NAMES}
    marked = {role: handshake.Stored(position=after[role].hex()) for role in NAMES}
    offer = Founding.begin(KEY, _terms(_cellar(Path(), "client"), "client")).offer.encode().hex()
    founded = handshake.Stored(offer=offer)
    wanted = handshake.Prepare(index=2)
    served = handshake.Served(seconds=1.0, cpu_seconds=1.0, peak_rss=1)
    begin = handshake.Begin(index=0, item=0, position=after["client"].hex())
    declined = handshake.Prepare(index=2, why="no room")
    yield b"\0" + said(told["server"], wanted, served, marked["server"])
    yield b"\0" + said(told["server"], declined)
    yield b"\0" + said(handshake.Stored(why="none", gone=True))
    yield b"\2" + said(founded, told["server"], wanted, served)
    yield b"\2" + said(founded, handshake.Stored(why="none", gone=True), founded)
    yield b"\1" + said(handshake.Stored(offer=offer, anew=True), told["client"], wanted)
    yield b"\1" + said(told["client"], wanted, begin)
    yield b"\1" + said(handshake.Stored(position=before["client"].hex(), skip_to=1), wanted)
    yield b"\1" + said(told["client"], begin, wanted)
    yield b"\1" + said(founded, handshake.Prepare(index=0), told["client"])


STOCKS = Target("stocks", run_stocks, stock_seeds, of_frames, longest=1 << 13)
