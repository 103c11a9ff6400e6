"""A sender of silent correlations whose trees are wrong for some places of the receiver's noise:
whether that shows is a bit of the noise. It is caught where a row that is wrong was used, by either
party, before anything is opened.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from moiety.protocols import kernels
from moiety.protocols.arrays import U8, U16
from moiety.protocols.compare.reveal import reveal_to_client
from moiety.protocols.errors import DeviatingPeer
from moiety.protocols.ot import mixed
from moiety.protocols.ot import tally as tally_module
from moiety.protocols.ot.generators import ALWAYS_SILENT
from moiety.protocols.ot.silent import SilentReceiver, SilentSender
from moiety.protocols.ot.tally import Tally
from moiety.protocols.session import Role, Session
from moiety.protocols.settlement import settle
from moiety.runtime.party.executor import ClientExecutor, ServerExecutor
from tests.protocols.oracles import multiples
from tests.support.kept import keeping
from tests.support.two_party import run_two_party, vole

ROWS = 2048
"""Those of the first tree of either iteration of a refill."""

Change = Callable[[SilentSender, U8], None]


def right_leaves(sender: SilentSender, answer: U8) -> None:
    """The sum of the right leaves of the first tree, which half of the receivers open."""
    answer[0, -2, 3] ^= 1


def deviating(monkeypatch: pytest.MonkeyPatch, change: Change, who: Role) -> dict[str, Any]:
    """Installs it at one party, in the first iteration; what the receiver's noise was."""
    honest_answer, honest_choose = SilentSender._answer, SilentReceiver._choose
    seen: dict[str, Any] = {"answered": False}

    def answer(self: SilentSender, sums: U8, w: U8) -> U8:
        made = honest_answer(self, sums, w)
        if self._role is who and not seen["answered"]:  # type: ignore[attr-defined]
            seen["answered"] = True
            made = made.copy()
            change(self, made)
        return made

    def choose(self: SilentReceiver, u: U8) -> tuple[U16, U8, U8]:
        alpha, beta, shifts = honest_choose(self, u)
        seen.setdefault("alpha", []).append(alpha)
        return alpha, beta, shifts

    monkeypatch.setattr(SilentSender, "_answer", answer)
    monkeypatch.setattr(SilentReceiver, "_choose", choose)
    return seen


def mark(session: Session) -> None:
    for generator in (vole(session.sender).bits, vole(session.sender).nibbles):
        generator._role = session.role


def used(who: Role, n: int, k: int, seed: int, kept: dict[str, Any]) -> None:
    """`who` is the sender of n correlations, which both parties note; then all is settled."""

    def body(session: Session) -> None:
        mark(session)
        if session.role is who:
            sender = vole(session.sender)
            kept["w"], kept["delta"] = sender.extend(n, k), sender.delta
            session.channel.send(b"0")
        else:
            kept["u"], later = vole(session.receiver).begin(n, k)
            session.channel.recv(1)
            kept["v"] = later()
        settle(session)

    run_two_party(body, body, seed, silent_from=ALWAYS_SILENT)


def related(kept: dict[str, Any]) -> bool:
    return np.array_equal(kept["w"], kept["v"] ^ multiples(kept["u"], kept["delta"]))


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


@pytest.mark.parametrize("apart", [0, 2])
def test_a_bet_may_come_last(monkeypatch: pytest.MonkeyPatch, apart: int) -> None:
    """A sender that has the noise, or one that is `apart` from it, when it settles: the error that
    it expects of that noise passes, and no other does. So its error is fixed before coefficients
    are known, its bet is not.
    """
    honest = Tally.add
    seen: dict[str, Any] = {}

    def add(tally: Tally, rows: U8, elements: U8 = tally_module.NONE) -> None:
        if not len(elements):
            place = int(seen["alpha"][0][0]) ^ apart
            rows = rows.copy()
            rows[[place, place ^ 1], 3] ^= 1
        honest(tally, rows, elements)

    monkeypatch.setattr(Tally, "add", add)
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


def changed_sum(sender: SilentSender, answer: U8) -> None:
    """A level's sum of the first tree."""
    answer[0, 4, 0] ^= 128


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
    """Rows are hashed in pieces of 2^16, and lie 2^11 a tree of both iterations."""

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
def test_a_row_that_nobody_takes_need_not_be_right(monkeypatch: pytest.MonkeyPatch, k: int) -> None:
    """Those of the first reserved tree are what the next iteration starts from."""

    def reserved_tree(sender: SilentSender, answer: U8) -> None:
        answer[sender.parameters.released_trees, 0, 0] ^= 1

    deviating(monkeypatch, reserved_tree, Role.SERVER)
    kept: dict[str, Any] = {}
    used(Role.SERVER, 100, k, 1, kept)
    assert related(kept)


@pytest.mark.parametrize("k", [1, 4])
def test_an_error_in_what_a_refill_starts_from_is_caught_in_its_rows(
    monkeypatch: pytest.MonkeyPatch, k: int
) -> None:
    """The reserved rows of the first iteration are the base of the second."""

    def reserved_tree(sender: SilentSender, answer: U8) -> None:
        answer[sender.parameters.released_trees, 0, 0] ^= 1

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
    """And nothing where nothing was used, or all of it was SoftSpoken's."""

    def body(session: Session) -> list[int]:
        mark(session)
        sent = [session.channel.meter.total.sent]
        for draws in (False, True, False):
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
    assert server == [0, 32, 0]
    assert client == [0, 31 * 4 * 16 * 2 + 4 * 16 + 32 + 4 * 16, 0]
    server, client = run_two_party(body, body)
    assert server == client == [0, 0, 0]


@pytest.mark.parametrize("k", [1, 4])
def test_the_challenge_follows_from_the_answer(monkeypatch: pytest.MonkeyPatch, k: int) -> None:
    """A sender that changes its answer, with all else as before, changes the coefficients of the
    rows.
    """
    honest = kernels.polynomial_hash
    keys: dict[bool, list[bytes]] = {False: [], True: []}

    def noting(rows: U8, elements: U8, key: U8, counter: int) -> tuple[U8, U8]:
        keys[changed].append(key.tobytes())
        return honest(rows, elements, key, counter)

    for changed in keys:
        with monkeypatch.context() as patch:
            if changed:
                deviating(patch, changed_sum, Role.SERVER)
            patch.setattr(kernels, "polynomial_hash", noting)
            with contextlib.suppress(DeviatingPeer):
                used(Role.SERVER, ROWS, k, 1, {})
    assert [len(of_run) for of_run in keys.values()] == [2, 2]
    assert [len(set(of_run)) for of_run in keys.values()] == [1, 1]  # both parties have one
    assert keys[False] != keys[True]


def test_no_coefficient_serves_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the pieces of a draw, not in two draws, not after a refill, and not when what came
    before is settled: two errors in rows with one coefficient would cancel.
    """
    honest = kernels.polynomial_hash
    used: dict[tuple[bytes, int], int] = {}
    lengths: list[int] = []

    def noting(rows: U8, elements: U8, key: U8, counter: int) -> tuple[U8, U8]:
        lengths.append(len(rows))
        for number in range(counter, counter + -(-len(rows) // 16) * 4):
            used[key.tobytes(), number] = used.get((key.tobytes(), number), 0) + 1
        return honest(rows, elements, key, counter)

    monkeypatch.setattr(kernels, "polynomial_hash", noting)

    def body(session: Session) -> None:
        for n, k in ((5, 4), (17, 1), (16, 4), (70_000, 4), (1, 4), (2_000_000, 1), (33, 1)):
            if session.is_server:
                vole(session.sender).extend(n, k)
                session.channel.send(b"0")
            else:
                _, later = vole(session.receiver).begin(n, k)
                session.channel.recv(1)
                later()
            if n == 1:
                settle(session)
        settle(session)

    run_two_party(body, body, silent_from=ALWAYS_SILENT)
    assert set(used.values()) == {2}  # at either party
    assert len({key for key, _ in used}) == 3  # of two generators, one of which was refilled
    assert len(lengths) > 2 * 7


@pytest.mark.parametrize(
    ("draws", "rows"),
    [((16, 16), (0, 16)), ((100_000,), (0, 50_176)), ((32,), (1, 18)), ((16,), (2, 6))],
    ids=["two_draws", "two_pieces", "two_blocks", "one_coefficient"],
)
def test_equal_errors_do_not_cancel(
    monkeypatch: pytest.MonkeyPatch, draws: tuple[int, ...], rows: tuple[int, int]
) -> None:
    """In two rows at the same place of two draws, of two pieces of one, of two blocks, and in two
    rows with one coefficient.
    """
    honest = Tally.add
    seen = 0

    def add(tally: Tally, given: U8, elements: U8 = tally_module.NONE) -> None:
        nonlocal seen
        if len(elements):
            given = given.copy()
            for row in rows:
                if seen <= row < seen + len(given):
                    given[row - seen, 3] ^= 5
            seen += len(given)
        honest(tally, given, elements)

    monkeypatch.setattr(Tally, "add", add)

    def server(session: Session) -> None:
        for n in draws:
            vole(session.sender).extend(n, 4)
        session.channel.send(b"0")
        settle(session)

    def client(session: Session) -> None:
        later = [vole(session.receiver).begin(n, 4)[1] for n in draws]
        session.channel.recv(1)
        later[-1]()
        settle(session)

    with pytest.raises(DeviatingPeer, match="silent correlations"):
        run_two_party(server, client, silent_from=ALWAYS_SILENT)


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
        bare.append(tallies[0].elements ^ tallies[1].elements)
        return made

    monkeypatch.setattr(mixed, "masked_elements", noting)
    for seed in range(12):
        used(Role.SERVER, 10, 4, seed, {})
    masks = np.unpackbits(np.stack(shown) ^ np.stack(bare), axis=2).reshape(12, -1)
    assert masks.any(axis=0).mean() > 0.99
    assert not masks.all(axis=0).mean() > 0.01
    assert np.stack(bare).any()
