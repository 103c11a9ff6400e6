"""A receiver of silent correlations that lies about its sums of u when they are settled. It is the
one who compares, so nobody notices, and what the sender answers is a digest of what it expected
plus the lie times delta. Where that has fewer unknown bits than delta, they are found by trying.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from moiety.protocols.arrays import U8
from moiety.protocols.errors import DeviatingPeer
from moiety.protocols.ot import mixed
from moiety.protocols.ot.consistency import times_delta
from moiety.protocols.ot.generators import ALWAYS_SILENT
from moiety.protocols.prg import Prg
from moiety.protocols.session import Role, Session
from moiety.protocols.settlement import settle
from tests.support.two_party import run_two_party


def lie_of(*sums: int) -> U8:
    """uint8 `(4, 16)`: what is added to the sum of each bit of u."""
    return np.stack([np.frombuffer(each.to_bytes(16, "little"), np.uint8) for each in sums])


LIES = {
    "one_bit": lie_of(1, 0, 0, 0),
    "the_last_bit": lie_of(0, 0, 0, 1 << 127),
    # Were rows elements of F_2^128, X*delta and z*delta would differ in 32 bits only, the highest
    # of each nibble, as z takes bit 4*i + j of a row to 4*i + j + 1, and so does X for j < 3.
    "z_and_X": lie_of(2, 1, 0, 0),
    "z^2_and_X^2": lie_of(4, 0, 1, 0),
    "z*X_and_X^2": lie_of(0, 2, 1, 0),
    "drawn": Prg(b"a lie of sums of").bytes(64).reshape(4, 16),
}


def rank(rows: U8) -> int:
    """Over F_2, of rows of bytes."""
    found: list[int] = []
    for row in rows:
        left = int.from_bytes(row.tobytes(), "little")
        for each in found:
            left = min(left, left ^ each)
        if left:
            found.append(left)
    return len(found)


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_the_digest_has_all_bits_of_delta(monkeypatch: pytest.MonkeyPatch, lie: U8) -> None:
    """What the lie adds to what the server digests is linear in delta, and of rank 128."""
    summed: dict[Role, U8] = {}
    seen: dict[str, Any] = {}
    honest_digest = mixed._digest

    def body(session: Session) -> None:
        if session.is_server:
            seen["delta"] = session.sender._vole.delta
            session.sender._vole.extend(5, 4)
            session.channel.send(b"0")
        else:
            _, later = session.receiver._vole.begin(5, 4)
            session.channel.recv(1)
            later()
            _lie_in(session, lie)
        settle(session)

    def noting(tallies: Any, sums: U8) -> bytes:
        summed[Role.CLIENT if Role.SERVER in summed else Role.SERVER] = sums
        return honest_digest(tallies, sums)

    monkeypatch.setattr(mixed, "_digest", noting)
    with pytest.raises(DeviatingPeer):  # the client itself, if it compares
        run_two_party(body, body, 5, silent_from=ALWAYS_SILENT)
    added = summed[Role.SERVER] ^ summed[Role.CLIENT]
    assert np.array_equal(added, times_delta(lie, seen["delta"]))
    units = np.packbits(np.eye(128, dtype=np.uint8), axis=1, bitorder="little")
    assert rank(np.stack([times_delta(lie, unit).reshape(-1) for unit in units])) == 128


def _lie_in(session: Session, lie: U8) -> None:
    channel, honest = session.channel, session.channel.send
    receiver: Any = session.receiver._vole
    honest_show = receiver.show

    def show() -> None:
        sent: list[Any] = []
        channel.send = lambda data, **kept: sent.append((data, kept))  # type: ignore[method-assign]
        honest_show()
        channel.send = honest  # type: ignore[method-assign]
        for data, kept in sent[:-1]:
            honest(data, **kept)
        honest(np.ascontiguousarray(sent[-1][0] ^ lie))

    receiver.show = show
