"""The coefficients that sums of silent trees are hashed with: not known before the answer, never
used twice, the same at both parties. Else errors are chosen that cancel, or honest peers fail.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise

import pytest

from moiety.protocols import kernels
from moiety.protocols.arrays import U8
from moiety.protocols.errors import DeviatingPeer
from moiety.protocols.ot import tally as tally_module
from moiety.protocols.ot.generators import ALWAYS_SILENT
from moiety.protocols.ot.lpn import BITS, NIBBLES
from moiety.protocols.ot.tally import BLOCK, Tally
from moiety.protocols.session import Role, Session
from moiety.protocols.settlement import settle
from tests.attacks.deviations import ROWS, changed_sum, deviating, used
from tests.support.two_party import run_two_party, vole


@pytest.mark.parametrize("k", [1, 4])
def test_the_challenge_follows_from_the_answer(monkeypatch: pytest.MonkeyPatch, k: int) -> None:
    """A sender that changes its answer, with all else as before, changes the coefficients of the
    rows.
    """
    honest = kernels.polynomial_hash
    keys: dict[bool, set[bytes]] = {False: set(), True: set()}

    def noting(rows: U8, elements: U8, key: U8, counter: int) -> tuple[U8, U8]:
        keys[changed].add(key.tobytes())
        return honest(rows, elements, key, counter)

    for changed in keys:
        with monkeypatch.context() as patch:
            if changed:
                deviating(patch, changed_sum, Role.SERVER)
            patch.setattr(kernels, "polynomial_hash", noting)
            with contextlib.suppress(DeviatingPeer):
                used(Role.SERVER, ROWS, k, 1, {})
    assert len(keys[False]) == len(keys[True]) == 1  # both parties have one
    assert keys[False] != keys[True]


DRAWS = ((5, 4), (17, 1), (70_000, 4), (1, 4), (2_000_000, 1), (33, 1), (1_700_000, 4))
"""The last of each width but one is behind a refill."""


@pytest.mark.parametrize("who", Role)
def test_no_coefficient_serves_twice(monkeypatch: pytest.MonkeyPatch, who: Role) -> None:
    """Not in two calls, not in two draws, not after a refill, and not when what came before is
    settled: two errors in sums with one coefficient would cancel. And both parties take the same
    ones for the same sums, whatever order the receiver opens its draws in, or none.
    """
    honest = kernels.polynomial_hash
    calls: dict[bool, dict[bytes, list[range]]] = {
        True: defaultdict(list),
        False: defaultdict(list),
    }

    def noting(rows: U8, elements: U8, key: U8, counter: int) -> tuple[U8, U8]:
        end = counter + -(-len(rows) // BLOCK) * 4
        calls[len(elements) > 0][key.tobytes()].append(range(counter, end))
        return honest(rows, elements, key, counter)

    monkeypatch.setattr(kernels, "polynomial_hash", noting)

    def body(session: Session) -> None:
        later: list[Callable[[], U8]] = []
        for n, k in DRAWS:
            if session.role is who:
                vole(session.sender).extend(n, k)
            else:
                later.append(vole(session.receiver).begin(n, k)[1])
            if n != 1:
                continue
            if session.role is who:
                session.channel.send(b"0")
            else:
                session.channel.recv(1)
                for at in (2, 0):
                    later[at]()
            settle(session)
        settle(session)

    run_two_party(body, body, silent_from=ALWAYS_SILENT)
    sender, receiver = calls[False], calls[True]
    assert sender == receiver
    assert len(sender) == 4  # of two generators, both refilled once more
    for ranges in sender.values():
        assert ranges[0].start == 0
        assert all(a.stop == b.start for a, b in pairwise(ranges))
    assert sum(len(ranges) for ranges in sender.values()) > len(DRAWS) + 4


Place = tuple[int, int, int]
"""The call of `Tally.add`, the tree in it and the sum of the tree. The first two calls of a
generator are of reserved trees.
"""


@pytest.mark.parametrize(
    "places",
    [
        ((2, 0, 2), (2, 0, 6)),
        ((2, 0, 1), (2, 0, 18)),
        ((2, 0, 5), (2, 1, 5)),
        ((2, 0, 5), (3, 0, 5)),
        ((0, 0, 0), (1, 0, 0)),
        ((0, 0, 0), (2, 0, 0)),
    ],
    ids=["one_coefficient", "two_blocks", "two_trees", "two_draws", "two_calls", "three_calls"],
)
def test_equal_errors_do_not_cancel(
    monkeypatch: pytest.MonkeyPatch, places: tuple[Place, Place]
) -> None:
    """In two sums of a tree with one coefficient, or of two blocks; in the same sum of two trees,
    of two draws, and at the same place of two calls of the hash.
    """
    honest, calls = Tally.add, 0

    def add(tally: Tally, checks: U8, elements: U8 = tally_module.NONE) -> None:
        nonlocal calls
        if len(elements):
            for call, tree, at in places:
                if call == calls:
                    checks[tree, at, 3] ^= 5
            calls += 1
        honest(tally, checks, elements)

    monkeypatch.setattr(Tally, "add", add)

    def server(session: Session) -> None:
        for _ in range(2):
            vole(session.sender).extend(ROWS, 4)
        session.channel.send(b"0")
        settle(session)

    def client(session: Session) -> None:
        later = [vole(session.receiver).begin(ROWS, 4)[1] for _ in range(2)]
        session.channel.recv(1)
        later[-1]()
        settle(session)

    with pytest.raises(DeviatingPeer, match="silent correlations"):
        run_two_party(server, client, silent_from=ALWAYS_SILENT)
    assert calls == 4


def test_the_sums_of_a_tree_are_as_many_as_the_documents_say() -> None:
    assert (BITS.checks, NIBBLES.checks) == (45, 56)
