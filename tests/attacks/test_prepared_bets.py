"""A vendor that deviates while a run is prepared, to learn of the hospital's masks by whether the
check fails: it has the odds of any bet on silent correlations, an item whose bet is lost never
counts, and the next one has other masks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moiety.protocols import kernels
from moiety.protocols.arrays import U8, U16
from moiety.protocols.errors import DeviatingPeer
from moiety.protocols.ot.generators import ALWAYS_SILENT
from moiety.protocols.ot.silent import SilentReceiver, SilentSender
from moiety.protocols.session import Session
from moiety.runtime.party import executor
from moiety.runtime.party.masks import operand_masks
from moiety.runtime.party.stock import NewStore
from moiety.runtime.store.care import status
from moiety.runtime.store.shelf import Shelf
from tests.attacks.halves import Message, Parties, image_of, octets, tapped, two_layers
from tests.support.ahead import Ahead, is_exact
from tests.support.two_party import vole
from tests.support.wiretap import deviates


@pytest.fixture(scope="module")
def parties() -> Parties:
    return Parties(*two_layers())


class Bet:
    """A server that gives the right leaves of some trees of its first refill over F_16 another sum:
    it bets that the client does not open them, which is the lowest bit of where its noise is.
    `noise`: that of the client. `sent`: what the client sends.
    """

    def __init__(self, trees: Sequence[int], patch: pytest.MonkeyPatch) -> None:
        self.trees, self.sent = list(trees), list[Message]()
        self.noise: U16 | None = None
        self._server: Any = None
        self._client: Any = None
        honest_answer, honest_choose = SilentSender._answer, SilentReceiver._choose

        def answer(sender: SilentSender, sums: U8, w: U8) -> U8:
            made = honest_answer(sender, sums, w)
            if sender is self._server:
                self._server, made = None, made.copy()
                made[self.trees, -2, 3] ^= 1
            return made

        def choose(receiver: SilentReceiver, u: U8) -> tuple[U16, U8, U8]:
            found = honest_choose(receiver, u)
            if receiver is self._client:
                self._client, self.noise = None, found[0]
            return found

        patch.setattr(SilentSender, "_answer", answer)
        patch.setattr(SilentReceiver, "_choose", choose)

    def begin(self, session: Session) -> None:
        if session.is_server:
            self._server = vole(session.sender).nibbles
        else:
            self._client = vole(session.receiver).nibbles
            tapped(session, self.sent)

    @property
    def lost(self) -> bool:
        assert self.noise is not None
        return bool((~self.noise.reshape(-1)[self.trees] & 1).any())


@pytest.mark.parametrize(("trees", "items", "trials"), [((0,), 1, 10), ((0, 1), 6, 6)])
def test_the_check_fails_where_the_bet_is_lost(
    parties: Parties, trees: Sequence[int], items: int, trials: int
) -> None:
    """So t bits of where the client's noise is are had with 2^-t, and else the connection ends;
    each trial is a connection of its own. Six items take from both trees. The client's early
    choices are on the wire by then, as uniform as ever.
    """
    for _ in range(trials):
        with pytest.MonkeyPatch.context() as patch:
            bet = Bet(trees, patch)
            caught = False
            try:
                parties.prepared(items, ALWAYS_SILENT, bet.begin)
            except DeviatingPeer:
                caught = True
        assert caught is bet.lost
        choices = [message for message in bet.sent if len(message[1]) < 1000]
        assert not deviates(octets(choices))


def test_a_won_bet_leaves_an_item_that_is_right(parties: Parties) -> None:
    """What is not noticed is an item like any other: the vendor has a bit of where a tree's noise
    is, and no choice.
    """
    for _ in range(20):
        with pytest.MonkeyPatch.context() as patch:
            bet = Bet((0,), patch)
            try:
                (item,) = parties.prepared(1, ALWAYS_SILENT, bet.begin)
            except DeviatingPeer:
                continue
        image = image_of(parties.program, 1)
        heard = parties.run(item, image)
        expected = parties.run(parties.prepared(1)[0], image)
        assert np.array_equal(heard.outputs, expected.outputs)
        return
    raise AssertionError("20 bets of one bit were lost")


# --- over TCP -------------------------------------------------------------------------------------


@pytest.fixture
def ahead(parties: Parties, tmp_path: Path) -> Iterator[Ahead]:
    made = Ahead(tmp_path, parties.server)
    yield made
    made.end()


def deviating(monkeypatch: pytest.MonkeyPatch, now: Path) -> None:
    """Children of this process bet on the client's delta, and lose, while `now` is there."""
    honest, here = kernels.vole_receiver, os.getpid()

    def made(keys: U8, counter: int, k: int, nblocks: int) -> tuple[U8, U8, U8]:
        u, v, corrections = honest(keys, counter, k, nblocks)
        return u, v, ~corrections if os.getpid() != here and now.exists() else corrections

    monkeypatch.setattr(kernels, "vole_receiver", made)


def test_masks_of_an_item_that_a_vendor_bet_on_serve_no_run(
    ahead: Ahead, parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client ends the connection; neither side has the item, nor a file of it; the next one has
    another seed, and what was prepared before serves as if nothing had been.
    """
    deviating(monkeypatch, now := tmp_path / "now")
    seeds: list[bytes] = []
    honest = operand_masks

    def noting(program: Any, seed: bytes, images: int) -> Any:
        seeds.append(seed)
        return honest(program, seed, images)

    monkeypatch.setattr(executor, "operand_masks", noting)
    server = ahead.serve()
    ahead.prepare(server, 1)
    now.touch()
    for _ in range(3):
        connection = ahead.join(server)
        connection.meet_stock(ahead.cellar("client"), 1, NewStore.NEVER)
        with pytest.raises(DeviatingPeer) as found:
            connection.prepare()
        connection.close(found.value)
    server.wait_for("ended early", 3)
    now.unlink()
    for role in ("client", "server"):
        (store,) = ahead.stores(role)
        assert status(store, ahead.cellar(role).key).prepared == 1
        names = sorted(path.name for path in store.iterdir())
        assert names == [Shelf(store).item(0).name, "ledger", "lock"]
    ahead.prepare(server, 1)
    assert len(set(seeds)) == len(seeds) >= 5
    with ahead.met(server, new=NewStore.NEVER) as connection:
        for seed in (1, 2):
            image = image_of(parties.program, seed)
            assert is_exact(parties.server, [image], connection.infer_batch([image])[0])
        assert connection.prepared() == 0
