"""Sessions as the parties open them, from the operating system's randomness: what they draw, and
that nothing of one session, party, direction or purpose comes again in another.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from moiety.protocols import kernels
from moiety.protocols.arrays import U8
from moiety.protocols.ot import base_ot
from moiety.protocols.ot.confirmation import Secret
from moiety.protocols.prg import Prg
from moiety.protocols.session import Role, Session
from moiety.protocols.setup import open_session
from tests.protocols.oracles import nibbles
from tests.support.two_party import channel_pair, run_both, vole
from tests.support.wiretap import Wiretap

SHARE, PAIRS, TREES = 32, 128, 32


@dataclass(frozen=True)
class Opened:
    """One party's session, and all that it has sent so far."""

    session: Session
    sent: bytes

    def streams(self) -> dict[str, Prg]:
        """Where its secrets come from."""
        sender, receiver = vole(self.session.sender), vole(self.session.receiver)
        generators = {
            f"{name} {width}": getattr(end, width)._prg
            for name, end in (("sender", sender), ("receiver", receiver))
            for width in ("bits", "nibbles")
        }
        return {"session": self.session.prg, **generators}

    def delta(self) -> U8:
        """Of the direction in which it sends."""
        return vole(self.session.sender).delta

    def leaves(self) -> U8:
        """Of the trees that it grew itself, uint8 `(512, 16)`."""
        grown = vole(self.session.receiver).softspoken._leaves
        return grown.reshape(-1, 16)

    def messages(self) -> Iterator[bytes]:
        """What it sent in pieces of 16 bytes: points and shares in halves, nodes of trees."""
        return (self.sent[at : at + 16] for at in range(0, len(self.sent), 16))


def opened(prgs: tuple[Prg | None, Prg | None] = (None, None)) -> tuple[Opened, Opened]:
    """Both parties of a new session, whose randomness is the operating system's."""
    ends = channel_pair()
    taps = tuple(Wiretap(end._outgoing, end._incoming, 60.0) for end in ends)

    def side(role: Role) -> Callable[[], Opened]:
        def body() -> Opened:
            session = open_session(role, taps[role], prgs[role])
            return Opened(session, b"".join(data for _, data in taps[role].messages))

        return body

    return run_both(side(Role.SERVER), side(Role.CLIENT), (taps[0], taps[1]))


@pytest.fixture(scope="module")
def four() -> list[Opened]:
    """Server and client of one session, then of another."""
    return [*opened(), *opened()]


def distinct(parts: list[bytes]) -> bool:
    return len(set(parts)) == len(parts)


def test_every_party_of_every_session_asks_the_operating_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once, for a key of 128 bits and 64 bits of the counter; a second session asks again."""
    asked: list[int] = []
    real = os.urandom

    def urandom(n: int) -> bytes:
        asked.append(n)
        return real(n)

    monkeypatch.setattr(os, "urandom", urandom)
    for sessions in (1, 2):
        opened()
        assert len(asked) == 2 * sessions
        assert min(asked) >= 16 + 8


def test_what_the_operating_system_gives_is_all_that_a_session_draws_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same bytes give the same session, and either party's alone change it."""

    def both(server: bytes, client: bytes) -> tuple[Opened, Opened]:
        given = []
        for seed in (server, client):
            monkeypatch.setattr(os, "urandom", lambda n, seed=seed: seed[:n])
            given.append(Prg.from_os())
        return opened((given[0], given[1]))

    one, other = b"of one party, 24 bytes..", b"of another, and so again"
    first, again = both(one, other), both(one, other)
    assert [each.sent for each in first] == [each.sent for each in again]
    altered = both(one[:23] + b"#", other)
    assert distinct([*first[0].messages(), *altered[0].messages()])


def test_no_message_of_a_set_up_comes_twice(four: list[Opened]) -> None:
    """Shares, points, answers and nodes, of either party, in this session or the next."""
    parts = [part for each in four for part in each.messages()]
    assert len(parts) > 4 * (2 * 2 * PAIRS + 2 * PAIRS)
    assert distinct(parts)


def test_no_secret_of_a_set_up_comes_twice(four: list[Opened]) -> None:
    secrets = [each.delta().tobytes() for each in four]
    secrets += [leaf.tobytes() for each in four for leaf in each.leaves()]
    assert distinct(secrets)
    sent = b"".join(each.sent for each in four)
    assert not any(secret in sent for secret in secrets)


def test_parties_have_the_same_trees_but_for_the_holes(four: list[Opened]) -> None:
    """In both directions: what the one grew, the other has, in the order of its delta."""
    for server, client in (four[:2], four[2:]):
        for sender, receiver in ((server, client), (client, server)):
            held = vole(sender.session.sender).softspoken._leaves
            grown, holes = receiver.leaves().reshape(TREES, 16, 16), nibbles(sender.delta())
            order = np.arange(1, 16)[None, :] ^ holes[:, None]
            assert np.array_equal(held[:, 1:], grown[np.arange(TREES)[:, None], order])
            assert not held[:, 0].any()


def test_every_stream_of_a_session_is_one_of_its_own(four: list[Opened]) -> None:
    """The party's, and one for each generator of each direction: under keys and in halves of the
    counter that no other has, and away from what was sent.
    """
    streams = [stream for each in four for stream in each.streams().values()]
    assert len(streams) == 4 * 5
    assert distinct([stream._key.tobytes() for stream in streams])
    assert distinct([stream._upper.to_bytes(8, "little") for stream in streams])
    later = [block.tobytes() for stream in streams for block in stream.bytes(4096).reshape(-1, 16)]
    assert distinct(later)
    assert not set(later) & {part for each in four for part in each.messages()}


def test_every_secret_of_a_set_up_is_drawn_for_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both parties' draws are traced: delta, the scalars, the points without a logarithm, the
    roots of the trees and the share's secret each come from bytes of their own.
    """
    draws: list[bytes] = []
    real = Prg.bytes

    def note(prg: Prg, n: int) -> U8:
        made = real(prg, n)
        draws.append(made.tobytes())
        return made

    scalars: list[bytes] = []
    expanded: list[U8] = []
    secrets: list[bytes] = []
    monkeypatch.setattr(Prg, "bytes", note)
    spy(monkeypatch, base_ot, "_scalar", scalars)
    spy(monkeypatch, kernels, "ggm_expand", expanded, result=False)
    real_fresh = Secret.fresh.__func__  # type: ignore[attr-defined]

    def fresh(cls: type[Secret], prg: Prg) -> Secret:
        made: Secret = real_fresh(cls, prg)
        secrets.append(made.scalar)
        return made

    monkeypatch.setattr(Secret, "fresh", classmethod(fresh))
    parties = opened()
    assert distinct([draw[at : at + 16] for draw in draws for at in range(0, len(draw), 16)])
    deltas = [each.delta().tobytes() for each in parties]
    # The first doubling of 32 nodes is that of the roots; a punctured tree begins with zeros.
    roots = [nodes.tobytes() for nodes in expanded if len(nodes) == TREES and nodes.any()]
    assert len(roots) == 2
    assert all(len({root[at : at + 16] for at in range(0, 512, 16)}) == TREES for root in roots)
    wanted = [*deltas, *roots, *secrets]
    assert len(wanted) == 6
    assert all(draws.count(value) == 1 for value in wanted)
    # 64 bytes for every scalar (128 of the receiver and one of the sender, each way), and for every
    # point whose logarithm nobody knows.
    assert len(scalars) == len(set(scalars)) == 2 * (PAIRS + 1)
    assert sum(len(draw) == 64 for draw in draws) == 2 * (PAIRS + 1 + PAIRS)


def spy(
    monkeypatch: pytest.MonkeyPatch,
    where: object,
    name: str,
    kept: list[bytes] | list[U8],
    result: bool = True,
) -> None:
    """Keep what a function returns, or what its first argument is."""
    real = getattr(where, name)

    def both(*arguments: object) -> object:
        made = real(*arguments)
        kept.append(made if result else arguments[0])  # type: ignore[arg-type]
        return made

    monkeypatch.setattr(where, name, both)


def test_public_keys_of_a_session_are_all_different(four: list[Opened]) -> None:
    """Of pads and refills, in both directions, in two sessions: in the half that does not count."""
    keys: list[U8] = []
    for each in four[::2]:
        ends: tuple[Any, ...] = (each.session.sender, each.session.receiver)
        keys += [part for end in ends for part in (end._keys.first, end._vole.nibbles._keys.first)]
    assert len(keys) == 8
    assert all(
        not np.array_equal(one[8:], other[8:]) for one, other in itertools.combinations(keys, 2)
    )
