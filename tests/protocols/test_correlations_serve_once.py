"""A correlation is handed out once, an opened batch answered once: after a refill, across parts,
widths and calls, and where something was interrupted in between.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moiety.protocols import kernels
from moiety.protocols.arrays import U8, U64
from moiety.protocols.errors import ContractViolation
from moiety.protocols.kernels.reference.blocks import count_key
from moiety.protocols.ot import softspoken
from moiety.protocols.ot.batches import HashedPads, ReceivedBatch, SentBatch
from moiety.protocols.ot.consistency import Chain
from moiety.protocols.ot.keys import HashKeys
from moiety.protocols.ot.on_demand import TransferReceiver, TransferSender
from moiety.protocols.ot.softspoken import SoftSpokenReceiver, SoftSpokenSender
from moiety.protocols.ot.stock import Source, Stock
from moiety.protocols.ot.transfers import Receiver, Sender
from moiety.protocols.parallel import Workers
from moiety.protocols.prg import Prg
from moiety.protocols.session import Session
from tests.protocols.oracles import multiples, nibbles
from tests.protocols.test_silent import IdealReceiver, IdealSender, noise
from tests.support.two_party import channel_pair, run_two_party

N = 96


class Interrupted(Exception):
    """What a test stops a party with."""


# --- the stock of a generator ---------------------------------------------------------------------


class Numbered:
    """Sources whose outputs are numbers, counted on from one source to the next."""

    def __init__(self) -> None:
        self.made: list[int] = []
        self.length = 0
        self.failing = False

    def source(self, grain: int, grains: int) -> Source:
        begin = self.length
        self.length += grain * grains

        def make(outputs: slice, to: U8) -> None:
            assert outputs.start % grain == outputs.stop % grain == 0
            if self.failing:
                self.failing = False
                raise Interrupted
            numbers = np.arange(begin + outputs.start, begin + outputs.stop, dtype="<u4")
            self.made += numbers.tolist()
            to[:] = numbers.view(np.uint8).reshape(-1, 4)

        return Source(make, grain * grains, grain)


SOURCES = st.lists(st.tuples(st.integers(1, 16), st.integers(1, 6)), min_size=1, max_size=6)


@given(SOURCES, st.lists(st.integers(1, 60), max_size=12))
def test_a_stock_gives_every_output_once_and_in_order(
    sources: list[tuple[int, int]], demands: list[int]
) -> None:
    stock, numbered, taken = Stock((4,)), Numbered(), list[int]()
    for grain, grains in sources:
        stock.add(numbered.source(grain, grains))
    for n in demands:
        if len(taken) + n <= numbered.length:
            taken += stock.take(n).view("<u4")[:, 0].tolist()
    assert taken == list(range(len(taken)))
    assert numbered.made == list(range(len(numbered.made)))


@given(SOURCES, st.integers(1, 30), st.integers(1, 60), st.integers(1, 30))
def test_a_stock_that_was_interrupted_repeats_nothing(
    sources: list[tuple[int, int]], before: int, stopped: int, after: int
) -> None:
    stock, numbered, taken = Stock((4,)), Numbered(), list[int]()
    for grain, grains in [*sources, (8, 20)]:
        stock.add(numbered.source(grain, grains))
    for n in (before, stopped, after):
        numbered.failing = n == stopped
        try:
            taken += stock.take(n).view("<u4")[:, 0].tolist()
        except Interrupted:
            continue
    assert len(set(taken)) == len(taken)


# --- SoftSpoken -----------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 3])
def test_no_block_of_a_leaf_serves_two_correlations(
    monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """In parts of one call, in calls of all widths, whole blocks or not, at either party; and a
    call that was interrupted has used its blocks up.
    """
    monkeypatch.setattr(softspoken, "STREAMED", 256)
    used: dict[str, list[tuple[int, int]]] = {"vole_receiver": [], "vole_sender": []}
    failing = False
    for name, place in (("vole_receiver", 1), ("vole_sender", 2)):
        real = getattr(kernels, name)

        def spied(*given: Any, real: Any = real, name: str = name, place: int = place) -> Any:
            counter, k, blocks = given[place : place + 3]
            used[name].append((counter, counter + k * blocks))
            if failing:
                raise Interrupted
            return real(*given)

        monkeypatch.setattr(kernels, name, spied)
    leaves, delta = Prg.from_os().bytes(32 * 256).reshape(32, 16, 16), Prg.from_os().bytes(16)
    order = np.arange(16)[None, :] ^ nibbles(delta)[:, None]
    relative = leaves[np.arange(32)[:, None], order]
    server, client = channel_pair()
    with Workers(threads) as workers:
        receiver = SoftSpokenReceiver(client, leaves, Chain(bytes(32)), workers)
        sender = SoftSpokenSender(server, relative, Chain(bytes(32)), delta, workers)
        for n, k in ((1000, 4), (1, 1), (129, 3), (256, 2), (700, 1), (130, 4)):
            u, v = receiver.extend(n, k)
            assert np.array_equal(sender.extend(n, k) ^ v, multiples(u, delta))
        failing = True
        for _ in range(2):
            with pytest.raises(Interrupted):
                receiver.extend(100, 2)
    for ranges in used.values():
        assert all(one[1] <= other[0] for one, other in itertools.pairwise(sorted(ranges)))
    assert len(used["vole_sender"]) >= 11
    # An extension that was interrupted has used up its blocks, those of its check among them.
    assert len(used["vole_receiver"]) >= len(used["vole_sender"]) + 2


@pytest.mark.parametrize(("n", "k"), [(0, 4), (-1, 1), (10, 0), (10, 5)])
def test_no_extension_of_nothing_or_of_more_than_an_element(n: int, k: int) -> None:
    server, client = channel_pair()
    leaves = np.zeros((32, 16, 16), np.uint8)
    for endpoint in (
        SoftSpokenReceiver(client, leaves, Chain(bytes(32))),
        SoftSpokenSender(server, leaves, Chain(bytes(32)), np.zeros(16, np.uint8)),
    ):
        with pytest.raises(ContractViolation, match="no extension"):
            endpoint.extend(n, k)


# --- batches of transfers -------------------------------------------------------------------------


def answers(n: int) -> dict[str, Callable[[Sender, SentBatch], object]]:
    """Every way to answer a batch of one-bit choices."""
    x, gate = np.arange(n, dtype=np.uint64), np.zeros(n, np.uint8)
    table, words = np.zeros((n, 2), np.uint8), np.zeros((n, 2), np.uint64)
    return {
        "lookup": lambda s, b: s.lookup(b, table, 3),
        "leaf": lambda s, b: s.leaf(b, gate[None], True),
        "join": lambda s, b: s.join(b, gate, np.arange(2, dtype=np.uint8), 1),
        "multiply": lambda s, b: s.multiply(b, x, gate, 20),
        "multiply_adding": lambda s, b: s.multiply_adding(b, x, gate, x, gate, 20),
        "widen": lambda s, b: s.widen(b, x, x, 20, 30),
        "additive": lambda s, b: s.additive(b, words, 20),
    }


def ideal_sender() -> tuple[TransferSender, Any]:
    """On a channel whose other end is returned, with the correlations of `test_silent`."""
    server, client = channel_pair()
    return TransferSender(server, IdealSender(), HashKeys(np.zeros(16, np.uint8))), client


@pytest.mark.parametrize("again", list(answers(1)))
@pytest.mark.parametrize("first", ["lookup", "multiply"])
def test_a_batch_is_answered_once(first: str, again: str) -> None:
    """Two answers under the same pads would give the difference of their entries away: the second
    one is refused before a byte of it is sent.
    """

    sender, other = ideal_sender()
    other.send(bytes(N // 8))
    batch = sender.accept(N, 1)
    answers(N)[first](sender, batch)
    sent = sender._channel.meter.total.sent
    with pytest.raises(ContractViolation, match="answered once"):
        answers(N)[again](sender, batch)
    assert sender._channel.meter.total.sent == sent


def test_a_batch_is_opened_once() -> None:
    """By its receiver, too: a second answer is not waited for."""
    table, choices = noise(3, N, 2) & np.uint8(7), np.ones(N, np.uint8)
    words = np.zeros(N, np.uint64)
    openings: list[Callable[[Receiver, Any], object]] = [
        lambda r, b: r.lookup(b, 3),
        lambda r, b: r.leaf(b, 1, True),
        lambda r, b: r.additive(b, 20),
        lambda r, b: r.widen(b, words, choices, 20, 30),
    ]

    def client(session: Session) -> U8:
        batch = session.receiver.choose(choices, 1)
        share = session.receiver.lookup(batch, 3)
        for opening in openings:
            with pytest.raises(ContractViolation, match="answered once"):
                opening(session.receiver, batch)
        return share

    def server(session: Session) -> U8:
        return session.sender.lookup(session.sender.accept(N, 1), table, 3)

    outcome = run_two_party(server, client)
    assert np.array_equal(outcome.server ^ outcome.client, table[:, 1])


def test_an_interrupted_answer_is_not_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sender, other = ideal_sender()
    other.send(bytes(N // 8))
    batch = sender.accept(N, 1)

    def interrupt(*_: object) -> None:
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(kernels, "mux_send", interrupt)
        with pytest.raises(Interrupted):
            sender.multiply(batch, np.zeros(N, np.uint64), np.zeros(N, np.uint8), 20)
    with pytest.raises(ContractViolation, match="answered once"):
        sender.multiply(batch, np.zeros(N, np.uint64), np.zeros(N, np.uint8), 20)


def hashed(batch: SentBatch | ReceivedBatch) -> HashedPads:
    assert isinstance(batch.pads, HashedPads)
    return batch.pads


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize(("k", "n", "group"), [(1, 700, 1), (1, 200, 7), (4, 130, 1), (2, 300, 3)])
def test_both_parties_count_the_keys_of_every_row(rows: int, k: int, n: int, group: int) -> None:
    """Batches that were opened together have keys of their own, as many as their elements take."""
    first = np.arange(16, dtype=np.uint8)
    server, client = channel_pair()
    sender = TransferSender(server, IdealSender(), HashKeys(first))
    receiver = TransferReceiver(client, IdealReceiver(), HashKeys(first))
    choices = np.zeros((rows, n), np.uint8)
    per_key = {1: 512, 2: 256, 3: 128, 4: 64}[k]
    used = 0
    for _ in range(2):
        asked = receiver.choose_rows(choices, k, group)
        for mine, theirs in zip(sender.accept_rows(rows, n, k, group), asked, strict=True):
            for at in range(0, n * group, per_key):
                for batch in (mine, theirs):
                    assert hashed(batch).key_at(at).tobytes() == count_key(first, used).tobytes()
                used += 1


def test_every_row_takes_correlations_of_its_own() -> None:
    """Of batches that are opened together, no two have a block, or a u, in common."""
    n, rows, k = 500, 4, 3
    choices = np.zeros((rows, n), np.uint8)

    def client(session: Session) -> tuple[U8, U8]:
        batches = session.receiver.choose_rows(choices, k)
        return np.stack([each.u for each in batches]), np.stack(
            [hashed(each).blocks() for each in batches]
        )

    def server(session: Session) -> tuple[U8, U8]:
        batches = session.sender.accept_rows(rows, n, k)
        shifts = [each.shifts(slice(0, n)) for each in batches]
        return np.stack(shifts), np.stack([hashed(each).blocks() for each in batches])

    (shifts, w), (u, v) = run_two_party(server, client)
    assert np.array_equal(shifts, u)
    for blocks in (w, v):
        assert len(np.unique(blocks.reshape(-1, 16), axis=0)) == rows * n
    for one in range(rows):
        for other in range(one):
            assert np.count_nonzero(u[one] == u[other]) < n / 8 + 7 * (n * 7 / 64) ** 0.5


# --- what arrives has the length that is waited for -----------------------------------------------


def opening(kind: str, extra: int) -> None:
    """A kernel given a message that is `extra` bytes too long."""
    v, zeros = np.zeros((N, 16), np.uint8), np.zeros(N, np.uint8)
    key, words = np.zeros(16, np.uint8), np.zeros(N, np.uint64)
    sizes = {"lookup": 3 * N // 8, "leaves": 4 * N // 8, "arith": 20 * N // 8, "widen": 10 * N // 8}
    message = np.zeros(sizes[kind] + extra, np.uint8)
    calls: dict[str, Callable[[], U8 | U64]] = {
        "lookup": lambda: kernels.lookup_recv(v, 1, key, zeros, zeros, 3, message),
        "leaves": lambda: kernels.leaves_recv(v, 1, key, zeros, zeros, 2, True, message),
        "arith": lambda: kernels.arith_recv(v, 1, key, zeros, zeros, 20, message),
        "widen": lambda: kernels.widen_recv(v, key, zeros, zeros, words, zeros, 20, 30, message),
    }
    calls[kind]()


@pytest.mark.parametrize("kind", ["lookup", "leaves", "arith", "widen"])
def test_an_answer_of_another_length_is_refused(kind: str) -> None:
    opening(kind, 0)
    for extra in (-1, 1):
        with pytest.raises(ValueError, match=r"must have shape|bytes"):
            opening(kind, extra)
