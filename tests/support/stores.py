"""Two stores that belong together, and items in them whose content says which they are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from moiety.runtime.store.binding import Founding, Terms
from moiety.runtime.store.key import StoreKey
from moiety.runtime.store.limits import UNLIMITED, Limits
from moiety.runtime.store.reconcile import Plan, reconcile
from moiety.runtime.store.store import Store

PROGRAM, WEIGHTS = "5f" * 32, "a0" * 32
CLIENT, SERVER = "c1" * 32, "5e" * 32
NOW = 1_790_000_000.0
Name = Literal["client", "server"]
NAMES: tuple[Name, Name] = ("client", "server")


def terms(role: Name, **changed: str) -> Terms:
    own, peer = (CLIENT, SERVER) if role == "client" else (SERVER, CLIENT)
    made = Terms(role=role, program=PROGRAM, commitment=WEIGHTS, own=own, peer=peer)
    return msgspec.structs.replace(made, **changed)


def digest_of(index: int, turn: int = 0) -> bytes:
    return hashlib.sha256(f"item {index} {turn}".encode()).digest()


def fill(store: Store, index: int, digest: bytes | None = None, size: int = 1000) -> None:
    """An item of two streams, whose content follows from its digest."""
    digest = digest or digest_of(index)
    with store.writing(index, size) as item:
        item.stream("pads").write(digest * (size // 32))
        item.stream("shares").write(digest)
        item.seal(digest)


class Crash(BaseException):
    """The process is no more: it changes nothing from then on."""


def files(store: Store) -> set[str]:
    return {path.name for path in store.folder.iterdir()} - {"lock", "ledger"}


@dataclass
class Pair:
    """Both parties, each with a folder of keys and one for its store."""

    root: Path

    def key(self, role: Name) -> StoreKey:
        return StoreKey.at(self.root / f"{role}-keys")

    def folder(self, role: Name) -> Path:
        return self.root / role

    def create(self) -> None:
        founding = {role: Founding.begin(self.key(role), terms(role)) for role in NAMES}
        for role, other in zip(NAMES, reversed(NAMES), strict=True):
            Store.create(
                self.folder(role), self.key(role), founding[role], founding[other].offer
            ).close()

    def open(
        self, role: Name, limits: Limits = UNLIMITED, clock: Callable[[], float] = lambda: NOW
    ) -> Store:
        return Store.open(self.folder(role), self.key(role), terms(role), limits, clock)

    @contextmanager
    def both(self) -> Iterator[tuple[Store, Store]]:
        with self.open("client") as client, self.open("server") as server:
            yield client, server


def meet(client: Store, server: Store) -> None:
    """Each hears where the other stands."""
    said = client.position(), server.position()
    client.meet(said[1])
    server.meet(said[0])


def agreed(client: Store, server: Store, count: int = 1, skip_to: int = 0) -> Plan:
    """They meet, and both come to the same."""
    said = client.position(), server.position()
    theirs = client.meet(said[1]), server.meet(said[0])
    plans = {
        reconcile(store.stands(), peer, count, skip_to)
        for store, peer in zip((client, server), theirs, strict=True)
    }
    (plan,) = plans
    return plan
