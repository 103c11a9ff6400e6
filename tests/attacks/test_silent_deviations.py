"""A sender of silent correlations whose trees are wrong for some places of the receiver's noise:
whether that shows is a bit of the noise. It is caught where rows of a tree that is wrong were made,
by either party, before anything is opened.
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest

from moiety.protocols.arrays import U8
from moiety.protocols.compare.reveal import reveal_to_client
from moiety.protocols.errors import DeviatingPeer
from moiety.protocols.ot import mixed
from moiety.protocols.ot import tally as tally_module
from moiety.protocols.ot.forest import Forest
from moiety.protocols.ot.generators import ALWAYS_SILENT
from moiety.protocols.ot.lpn import NIBBLES
from moiety.protocols.ot.silent import SilentSender
from moiety.protocols.session import Role, Session
from moiety.protocols.settlement import settle
from moiety.runtime.party.executor import ClientExecutor, ServerExecutor
from tests.attacks.deviations import (
    ROWS,
    changed_sum,
    deviating,
    mark,
    related,
    right_leaves,
    used,
)
from tests.support.kept import keeping
from tests.support.two_party import run_two_party, vole


@pytest.mark.parametrize("who", Role)
def test_a_bet_on_the_noise_is_caught_where_it_is_lost(
    monkeypatch: pytest.MonkeyPatch, who: Role
) -> None:
    """Over F_16, where a tree's last level is two messages of which the receiver opens one."""
    outcomes = set()
    for seed in range(4):
        kept: dict[str, Any] = {}
        with monkeypatch.context() as patch:
            seen = deviating(patch, right_leaves, who)
            try:
                used(who, ROWS, 4, seed, kept)
                caught = False
            except DeviatingPeer:
                caught = True
        opens_right = not seen["alpha"][0][0] & 1
        assert caught is opens_right
        assert caught is not related(kept)
        outcomes.add(caught)
    assert outcomes == {True, False}


def add_bet(checks: U8, place: int) -> None:
    """To what a tree over F_16 is checked by: the error that `right_leaves` makes where the hole is
    at `place`. Both leaves of its parent have it, so the sums of either side in which these are.
    """
    depth = NIBBLES.depth
    for side in checks[-2 * depth :].reshape(2, depth, 16):
        side[0, 3] ^= 1
        for bit in range(depth - 1):
            side[1 + bit, 3] ^= place >> 1 + bit & 1


@pytest.mark.parametrize("apart", [0, 2])
def test_a_bet_may_come_last(monkeypatch: pytest.MonkeyPatch, apart: int) -> None:
    """A sender that has the noise, or one that is `apart` from it, when it settles: the error that
    it expects of that noise passes, and no other does. So its error is fixed before coefficients
    are known, its bet is not.
    """
    honest = SilentSender._expand
    seen: dict[str, Any] = {}

    def expand(self: SilentSender, forest: Forest, trees: slice, rows: U8) -> tuple[U8, U8]:
        checks, none = honest(self, forest, trees, rows)
        if trees.start == 0:
            add_bet(checks[0], int(seen["alpha"][0][0]) ^ apart)
        return checks, none

    monkeypatch.setattr(SilentSender, "_expand", expand)
    passed = set()
    for seed in range(4):
        kept: dict[str, Any] = {}
        with monkeypatch.context() as patch:
            seen = deviating(patch, right_leaves, Role.SERVER)
            try:
                used(Role.SERVER, ROWS, 4, seed, kept)
                caught = False
            except DeviatingPeer:
                caught = True
        opens_right = not seen["alpha"][0][0] & 1
        assert related(kept) is not opens_right
        assert caught is not (opens_right and not apart)
        passed.add(not caught)
    assert passed == ({False} if apart else {True, False})


@pytest.mark.parametrize("who", Role)
@pytest.mark.parametrize("k", [1, 2, 4])
def test_a_wrong_sum_is_caught(monkeypatch: pytest.MonkeyPatch, who: Role, k: int) -> None:
    kept: dict[str, Any] = {}
    deviating(monkeypatch, changed_sum, who)
    with pytest.raises(DeviatingPeer, match="silent correlations do not fit"):
        used(who, ROWS, k, 1, kept)
    assert not related(kept)


@pytest.mark.parametrize("tree", [40, 99])
def test_a_wrong_sum_is_caught_in_every_piece(monkeypatch: pytest.MonkeyPatch, tree: int) -> None:
    """Rows lie 2^11 a tree of both iterations; sums are hashed when they are of 64 trees."""

    def later_sum(sender: SilentSender, answer: U8) -> None:
        answer[tree, 4, 0] ^= 1

    kept: dict[str, Any] = {}
    with monkeypatch.context() as patch:
        deviating(patch, later_sum, Role.SERVER)
        used(Role.SERVER, tree * ROWS, 4, 1, kept)
    assert related(kept)
    deviating(monkeypatch, later_sum, Role.SERVER)
    with pytest.raises(DeviatingPeer):
        used(Role.SERVER, (tree + 1) * ROWS, 4, 1, kept)


@pytest.mark.parametrize("k", [1, 4])
def test_what_waits_at_a_refill_is_compared_too(monkeypatch: pytest.MonkeyPatch, k: int) -> None:
    """Sums of one tree are too few for a call of the hash."""
    honest, refills = SilentSender._refill, 0

    def refill(self: SilentSender, iterations: int) -> None:
        nonlocal refills
        refills += 1
        honest(self, iterations)

    deviating(monkeypatch, changed_sum, Role.SERVER)
    monkeypatch.setattr(SilentSender, "_refill", refill)
    with pytest.raises(DeviatingPeer):
        used(Role.SERVER, ROWS, k, 1, {}, more=1_600_000)
    assert refills == 2


@pytest.mark.parametrize("taken", [ROWS, ROWS + 1])
@pytest.mark.parametrize("k", [1, 4])
def test_a_tree_that_nobody_takes_from_need_not_be_right(
    monkeypatch: pytest.MonkeyPatch, k: int, taken: int
) -> None:
    """Until somebody does."""

    def second_tree(sender: SilentSender, answer: U8) -> None:
        answer[1, 0, 0] ^= 1

    deviating(monkeypatch, second_tree, Role.SERVER)
    kept: dict[str, Any] = {}
    with pytest.raises(DeviatingPeer) if taken > ROWS else contextlib.nullcontext():
        used(Role.SERVER, taken, k, 1, kept)
    assert related(kept) is (taken == ROWS)


def reserved_tree(sender: SilentSender, answer: U8) -> None:
    """The first of those that the next iteration starts from."""
    answer[sender.parameters.released_trees, 0, 0] ^= 1


@pytest.mark.parametrize("who", Role)
@pytest.mark.parametrize("k", [1, 4])
def test_what_the_next_iteration_starts_from_must_be_right(
    monkeypatch: pytest.MonkeyPatch, who: Role, k: int
) -> None:
    """Though no row that was taken is wrong."""
    deviating(monkeypatch, reserved_tree, who)
    kept: dict[str, Any] = {}
    with pytest.raises(DeviatingPeer):
        used(who, 100, k, 1, kept)
    assert related(kept)


@pytest.mark.parametrize("k", [1, 4])
def test_an_error_in_what_a_refill_starts_from_is_caught_in_its_rows(
    monkeypatch: pytest.MonkeyPatch, k: int
) -> None:
    """The reserved rows of the first iteration are the base of the second."""
    deviating(monkeypatch, reserved_tree, Role.CLIENT)
    kept: dict[str, Any] = {}
    with pytest.raises(DeviatingPeer):
        used(Role.CLIENT, 200_000, k, 1, kept)
    assert not related(kept)


def test_nothing_is_opened_before_it_is_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that deviates gets no result."""
    deviating(monkeypatch, changed_sum, Role.CLIENT)
    opened: list[object] = []
    before: list[int] = []

    def server(session: Session) -> None:
        mark(session)
        _, later = vole(session.receiver).begin(ROWS, 1)
        session.channel.recv(1)
        later()
        try:
            reveal_to_client(session, np.zeros(1000, np.uint64), 64)
        finally:
            before.append(session.channel.meter.total.sent)

    def client(session: Session) -> None:
        mark(session)
        vole(session.sender).extend(ROWS, 1)
        session.channel.send(b"0")
        sent = session.channel.meter.total.received
        before.append(sent)
        opened.append(reveal_to_client(session, np.zeros(1000, np.uint64), 64))

    with pytest.raises(DeviatingPeer):
        run_two_party(server, client, silent_from=ALWAYS_SILENT)
    assert not opened
    shown = before[1] - before[0]
    assert shown < 8000, "the result would be as much by itself"


def test_what_is_settled_is_not_settled_again() -> None:
    """And nothing where nothing was used, or all of it was SoftSpoken's. What was used is settled
    also where it came from trees that were compared before: what is sent does not tell.
    """

    def body(session: Session) -> list[int]:
        mark(session)
        sent = [session.channel.meter.total.sent]
        for draws in (False, True, True, False):
            if draws and session.is_server:
                vole(session.sender).extend(5, 1)
                session.channel.send(b"0")
            elif draws:
                _, later = vole(session.receiver).begin(5, 1)
                session.channel.recv(1)
                later()
            before = session.channel.meter.total.sent
            settle(session)
            sent.append(session.channel.meter.total.sent - before)
        return sent[1:]

    server, client = run_two_party(body, body, silent_from=ALWAYS_SILENT)
    shown = 31 * 4 * 16 * 2 + 4 * 16 + 32 + 4 * 16
    assert server == [0, 32, 32, 0]
    assert client == [0, shown, shown, 0]
    server, client = run_two_party(body, body)
    assert server == client == [0, 0, 0, 0]


def test_a_kept_share_is_settled_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the policy is `aggregate` nothing is revealed in a run; the server keeps no share that
    depends on a client's guess.
    """
    deviating(monkeypatch, changed_sum, Role.CLIENT)
    program, weights = keeping()
    server, client = ServerExecutor(program, weights), ClientExecutor(program)
    server.prepare()
    kept: list[object] = []

    def vendor(session: Session) -> None:
        mark(session)
        kept.append(server.run_keeping(session))

    def hospital(session: Session) -> None:
        mark(session)
        client.keep_batch(session, [np.ones((2, 8, 8), np.float32)])

    with pytest.raises(DeviatingPeer, match="silent correlations"):
        run_two_party(vendor, hospital, silent_from=ALWAYS_SILENT)
    assert not kept


def test_the_hash_of_u_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a receiver shows, less the hash of the u that were used, has no bit that is the same in
    every run: it is made of 128 rows of SoftSpoken, whose u nobody sees otherwise.
    """
    shown, bare = [], []
    honest = tally_module.masked_elements

    def noting(tallies: Any, mask: U8) -> U8:
        made = honest(tallies, mask)
        shown.append(made)
        bare.append(tallies[0].hashes()[1] ^ tallies[1].hashes()[1])
        return made

    monkeypatch.setattr(mixed, "masked_elements", noting)
    for seed in range(12):
        used(Role.SERVER, 10, 4, seed, {})
    masks = np.unpackbits(np.stack(shown) ^ np.stack(bare), axis=2).reshape(12, -1)
    assert masks.any(axis=0).mean() > 0.99
    assert not masks.all(axis=0).mean() > 0.01
    assert np.stack(bare).any()
