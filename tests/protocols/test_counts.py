"""Counts at thresholds on shares: against plain integers for any decisions and labels, and what
either party sees and can change.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moiety.protocols import ring
from moiety.protocols.aggregate import sealed
from moiety.protocols.aggregate.auroc import MAX_IMAGES
from moiety.protocols.aggregate.counts import (
    DECISION_BITS,
    HALF,
    Counts,
    count_up,
    possible,
    reveal,
)
from moiety.protocols.aggregate.marks import NEGATIVE, POSITIVE, UNKNOWN
from moiety.protocols.aggregate.quorum import Quorum, share_keys
from moiety.protocols.arrays import I64, U8, U64
from moiety.protocols.compare.convert import bit_to_ring
from moiety.protocols.compare.extend import extend
from moiety.protocols.compare.relu import gates
from moiety.protocols.cost import declared_costs
from moiety.protocols.ot.generators import NEVER_SILENT
from moiety.protocols.session import Role, Session
from moiety.protocols.setup import open_session
from moiety.runtime.party.handlers import COUNTS
from tests.support import sealed_sums
from tests.support.cohorts import counts_of
from tests.support.sealed_sums import Tapped
from tests.support.two_party import MemoryChannel, Pipe, run_both, run_two_party, share

TWO = Quorum(2, 2)


def counted(
    decisions: I64, marks: U8, least: Quorum, added: I64 | None = None
) -> list[Counts | None]:
    """What the client is told, of shares of the decisions; `added`: what one that deviates adds to
    its own.
    """
    mine = share(decisions.astype(np.uint64), DECISION_BITS, np.random.default_rng(3))

    def body(session: Session) -> Any:
        if session.is_server:
            return reveal(session, count_up(session, mine[session.role], least))
        own = mine[session.role]
        own = own if added is None else own + added.astype(np.uint64)
        return reveal(session, count_up(session, own, least, marks))

    outcome = run_two_party(body, body)
    assert outcome.server is None
    told: list[Counts | None] = outcome.client
    return told


@st.composite
def cohorts(draw: st.DrawFn) -> tuple[I64, U8, Quorum]:
    labels, images = draw(st.integers(1, 3)), draw(st.integers(2, 12))
    size, shape = labels * images, (labels, images)
    said = draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))
    marks = draw(st.lists(st.integers(0, 2), min_size=size, max_size=size))
    least = Quorum(draw(st.integers(2, 4)), draw(st.integers(2, 4)))
    return (
        np.array(said, np.int64).reshape(shape),
        np.array(marks, np.uint8).reshape(shape),
        least,
    )


@settings(max_examples=25, deadline=None)
@given(cohorts())
def test_two_parties_count_as_plain_integers_do(cohort: tuple[I64, U8, Quorum]) -> None:
    decisions, marks, least = cohort
    told = counted(decisions, marks, least)
    assert told == counts_of(decisions, marks, least)
    for row, counts in zip(marks, told, strict=True):
        if counts is not None:
            assert possible(counts, int(np.sum(row == POSITIVE)), int(np.sum(row == NEGATIVE)))


@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_every_score_share_and_threshold_of_small_rings(bits: int) -> None:
    """From scores on: a label for each threshold, also that which no score reaches; labels whose
    images are all positive, all negative, all unknown.
    """
    values = np.arange(1 << bits, dtype=np.uint64)
    shares = np.tile(values, values.size), np.repeat(values, values.size)
    scores = ring.to_signed(ring.reduce(shares[0] + shares[1], bits), bits)
    least = np.repeat(np.arange(-(1 << (bits - 1)), (1 << (bits - 1)) + 1), 4)[:, None]
    marks = np.random.default_rng(bits).integers(0, 3, (least.size, scores.size)).astype(np.uint8)
    for mark in (UNKNOWN, POSITIVE, NEGATIVE):
        marks[mark::4] = mark
    told = counted_from_scores(shares, bits, least, marks)
    assert told == counts_of((scores >= least).astype(np.int64), marks, TWO)
    assert [each is None for each in told] == [True, True, True, False] * (least.size // 4)


def counted_from_scores(
    shares: tuple[U64, U64], bits: int, least: I64, marks: U8, added: int | I64 = 0
) -> list[Counts | None]:
    """What the client is told of shares of scores, `(n,)`, by the last steps of a Program of this
    policy, with the least integers `(L, 1)` above the thresholds; `added`: what one that deviates
    adds to its own shares before they are compared.
    """
    thresholds = ring.from_signed(-least, bits + 1)

    def body(session: Session) -> Any:
        wide = extend(session, shares[session.role], bits, bits + 1)
        if not session.is_server:
            wide = ring.reduce(wide + ring.from_signed(np.asarray(added), bits + 1), bits + 1)
        x = np.tile(wide, (len(marks), 1))
        said = gates(session, x, bits + 1, 1, thresholds[None] if session.is_server else None)
        decisions = bit_to_ring(session, COUNTS, said.reshape(-1), DECISION_BITS).reshape(x.shape)
        known = None if session.is_server else marks
        return reveal(session, count_up(session, decisions, TWO, known))

    told: list[Counts | None] = run_two_party(body, body).client
    return told


@pytest.mark.parametrize("positives", [2, 1000, MAX_IMAGES - 2])
def test_the_largest_counts_do_not_touch_each_other(positives: int) -> None:
    marks = np.repeat(np.array([POSITIVE, NEGATIVE], np.uint8), [positives, MAX_IMAGES - positives])
    for said in (np.ones(MAX_IMAGES, np.int64), marks == POSITIVE, marks == NEGATIVE):
        decisions = said.astype(np.int64)[None]
        (told,) = counted(decisions, marks[None], TWO)
        assert told == counts_of(decisions, marks[None], TWO)[0]
    assert MAX_IMAGES < 1 << HALF


@pytest.mark.parametrize(
    ("counts", "may_be"),
    [
        (Counts(3, 5), True),
        (Counts(0, 0), True),
        (Counts(4, 0), False),
        (Counts(0, 6), False),
        (Counts(1 << 31, 1 << 31), False),
    ],
)
def test_counts_that_no_decisions_have(counts: Counts, may_be: bool) -> None:
    """Of three positive and five negative images."""
    assert possible(counts, 3, 5) == may_be


def test_how_often_noise_is_taken_for_counts() -> None:
    """Every integer of the ring is as likely, and so many of them are counts of m and k images."""
    m, k = 3, 5
    passing = [possible(Counts(t, f), m, k) for t in range(2 * m) for f in range(2 * k)]
    assert sum(passing) == (m + 1) * (k + 1)
    most = max((m + 1) * (MAX_IMAGES - m + 1) for m in range(MAX_IMAGES + 1))
    assert 1 << (DECISION_BITS - 42) < most < 1 << (DECISION_BITS - 41)
    decision = Path(__file__).resolve().parents[2] / "docs" / "decisions" / "0037-aggregates.md"
    for text in (possible.__doc__ or "", decision.read_text(encoding="utf-8")):
        assert "below 2^-41" in " ".join(text.split())


# --- what either party sees -----------------------------------------------------------------------


def tapped(marks: U8) -> Tapped:
    """All decisions are against the label."""
    return sealed_sums.tapped(partial(_counted_up, TWO), reveal, marks)


def _counted_up(least: Quorum, session: Session, mine: U64, marks: U8 | None) -> Any:
    return count_up(session, mine, least, marks)


@pytest.mark.parametrize("mark", [UNKNOWN, POSITIVE, NEGATIVE])
def test_messages_are_uniform_for_any_labels(mark: int) -> None:
    seen = tapped(np.full((2, 4000), mark, np.uint8))
    assert seen.told == [None, None]
    sealed_sums.check_uniform(seen, 1 << 11)


def test_messages_are_as_long_and_as_many_for_any_labels() -> None:
    sealed_sums.check_lengths(tapped)


def test_what_too_few_labels_stand_behind_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that takes what it is told for counts has noise, though it knows its shares."""
    monkeypatch.setattr(sealed, "_told", lambda key, integers: integers)
    marks = np.array([[1, 1, 2, 2, 0], [1, 2, 2, 2, 2]], np.uint8)
    _, told, (server, client) = tapped(marks)
    assert (server + client).tolist() == [[0, 0]]
    assert told[0] == Counts(0, 0)
    assert told[1] != Counts(0, 0)
    assert not possible(told[1], 1, 4)


# --- what a client that deviates has of it --------------------------------------------------------


def test_what_a_client_adds_to_its_shares_it_finds_in_the_counts() -> None:
    """And nothing else: decisions are numbers by then, and what is told is their sum."""
    rng = np.random.default_rng(8)
    decisions, marks = rng.integers(0, 2, (1, 30)), np.tile(np.array([1, 2, 0], np.uint8), 10)[None]
    added = rng.integers(0, 1 << 20, (1, 30))
    (honest,), (moved,) = counted(decisions, marks, TWO), counted(decisions, marks, TWO, added)
    assert honest is not None
    assert moved is not None
    assert moved == Counts(
        honest.true_positives + int(added[marks == POSITIVE].sum()),
        honest.false_positives + int(added[marks == NEGATIVE].sum()),
    )


def test_the_marks_that_count_are_those_that_open_the_key() -> None:
    """All that a client says is one choice of an image and label, which takes both: it sends no
    more than for the key alone, so it counts no fewer images than the quorum. The fourth choice,
    which no honest client makes, is an unknown label.
    """
    costs = declared_costs()
    from_client = [costs[each](3, 500).up for each in (count_up, share_keys)]
    assert from_client[0] == from_client[1] > 0
    decisions = np.ones((1, 8), np.int64)
    marks = np.array([[1, 1, 2, 2, 3, 3, 0, 0]], np.uint8)
    assert counted(decisions, marks, TWO) == [Counts(2, 2)]
    assert counted(decisions, marks, Quorum(3, 2)) == [None]


def test_a_deviating_client_finds_a_score_in_three_cohorts() -> None:
    """One image, run 1,024 times, with another number added to the client's share of its score
    each time: a count is in which of 1,025 intervals the threshold lies, and 1,025^3 exceeds the
    24-bit ring. Under `decision` that takes 24 queries.
    """
    bits, score, least, images = 24, -1_234_567, 98_765, 1024
    marks = np.repeat(np.array([[POSITIVE, NEGATIVE]], np.uint8), images // 2, axis=1)
    mine = share(ring.from_signed(np.full(images, score), bits), bits, np.random.default_rng(4))
    low, high, cohorts = -(1 << (bits - 1)), 1 << (bits - 1), 0
    while high - low > 1:
        asked = np.sort(low + (high - low) * np.arange(1, images + 1) // (images + 1))[::-1]
        (told,) = counted_from_scores(mine, bits, np.array([[least]]), marks, asked)
        assert told is not None
        above = told.true_positives + told.false_positives
        low, high = max(low, *asked[above:]), min(high, *asked[:above])
        cohorts += 1
    assert (high, cohorts) == (least - score, 3)


class MovedLine(MemoryChannel):
    """That of a server without TLS, on which somebody adds to the message that reveals."""

    moved = 0

    def _write(self, data: memoryview) -> None:
        if self.moved:
            (word,) = np.frombuffer(data, "<u8").tolist()
            data = memoryview((word + self.moved).to_bytes(8, "little"))
        super()._write(data)


def test_who_is_on_an_open_line_moves_the_counts_at_will() -> None:
    """What SECURITY.md says of --insecure: shares add up, so what is added to one is added to the
    result, and no count is impossible by that.
    """
    down, up = Pipe(), Pipe()
    line, other = MovedLine(down, up, 60.0), MemoryChannel(up, down, 60.0)
    marks = np.tile(np.array([POSITIVE, NEGATIVE], np.uint8), 10)[None]

    def side(channel: MemoryChannel, role: Role) -> Any:
        session = open_session(role, channel, silent_from=NEVER_SILENT)
        known = None if session.is_server else marks
        counted_up = count_up(session, np.zeros(marks.shape, np.uint64), TWO, known)
        session.channel.flush()
        line.moved = 3 + (2 << HALF)
        told = reveal(session, counted_up)
        session.channel.flush()
        return told

    _, told = run_both(
        partial(side, line, Role.SERVER), partial(side, other, Role.CLIENT), (line, other)
    )
    assert told == [Counts(3, 2)]


def test_an_honest_client_finds_single_decisions() -> None:
    """What docs/security.md says of counts: images that are run again and again, the j-th of them
    2^j times, are told one by one; here five of either class, by 31 runs of each.
    """
    rng = np.random.default_rng(1)
    secret = rng.integers(0, 2, (2, 5))
    times = 2 ** np.arange(5)
    decisions = np.concatenate([np.repeat(row, times) for row in secret])[None]
    marks = np.repeat(np.array([[POSITIVE, NEGATIVE]], np.uint8), 31, axis=1)
    (told,) = counted(decisions, marks, Quorum(10, 10))
    assert told is not None
    assert [[count >> j & 1 for j in range(5)] for count in told] == secret.tolist()
