"""A receiver of silent correlations that lies about its sums of u when they are settled. It is the
one who compares, so nobody notices, and what the sender answers is a digest of what it expected
plus the lie, a polynomial over F_16, times delta. Where that has fewer unknown bits than delta,
they are found by trying.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from moiety.protocols.arrays import U8
from moiety.protocols.errors import DeviatingPeer
from moiety.protocols.ot import mixed
from moiety.protocols.ot.generators import ALWAYS_SILENT
from moiety.protocols.prg import Prg
from moiety.protocols.session import Role, Session
from moiety.protocols.settlement import settle
from tests.protocols.oracles import nibbles, times
from tests.support.two_party import run_two_party, vole


def lie_of(*elements: int) -> U8:
    """uint8 `(4, 16)`: the polynomial with these coefficients, from that of y^0 on."""
    coefficients = np.zeros(128, np.uint8)
    coefficients[: len(elements)] = elements
    bits = coefficients >> np.arange(4, dtype=np.uint8)[:, None] & np.uint8(1)
    return np.packbits(bits, axis=1, bitorder="little")


X = 2
"""Of F_16, bit 1 of an element."""
LIES = {
    "one_bit": lie_of(1),
    "the_last_bit": lie_of(*[0] * 127, 8),
    "X": lie_of(X),
    # Were rows elements of F_2^128, X*delta and z*delta would differ in 32 bits only, the highest
    # of each nibble, as z takes bit 4*i + j of a row to 4*i + j + 1, and so does X for j < 3.
    "z_and_X": lie_of(X, 1),
    "z^2_and_X^2": lie_of(X**2, 0, 1),
    "z*X_and_X^2": lie_of(X**2, X),
    "a_step_of_a_component": lie_of(1, 0, 0, 0, 1),
    "a_step_of_X": lie_of(X, 0, 0, 0, 1),
    "to_the_end_and_round": lie_of(1, *[0] * 126, 1),
    "all_ones": lie_of(*[1] * 128),
    "every_fourth": lie_of(*[1, 0, 0, 0] * 32),
    **{
        f"drawn_{number}": Prg(b"a lie of sums " + bytes([number] * 2)).bytes(64).reshape(4, 16)
        for number in range(20)
    },
}


def times_delta(lie: U8, delta: U8) -> U8:
    """`lie(y) * delta(y^4)`, element by element, uint8 `(4, 32)`."""
    bits = np.unpackbits(lie, axis=1, bitorder="little")
    product = np.zeros(256, np.uint8)
    components = list(enumerate(map(int, nibbles(delta))))
    for k, element in enumerate((bits << np.arange(4, dtype=np.uint8)[:, None]).sum(axis=0)):
        for i, component in components:
            if component:  # of a unit, one of 32
                product[4 * i + k] ^= times(int(element), component)
    planes = product >> np.arange(4, dtype=np.uint8)[:, None] & np.uint8(1)
    return np.packbits(planes, axis=1, bitorder="little")


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
def test_a_lie_leaves_all_bits_of_delta(lie: U8) -> None:
    """The map from delta to the lie times delta is linear and has rank 128."""
    units = np.packbits(np.eye(128, dtype=np.uint8), axis=1, bitorder="little")
    assert rank(np.stack([times_delta(lie, unit).reshape(-1) for unit in units])) == 128


@pytest.mark.parametrize("lie", list(LIES.values())[::4], ids=list(LIES)[::4])
def test_the_digest_has_all_bits_of_delta(monkeypatch: pytest.MonkeyPatch, lie: U8) -> None:
    """What a lie adds to what the server digests is the lie times delta."""
    summed: dict[Role, U8] = {}
    seen: dict[str, Any] = {}
    honest_digest = mixed._digest

    def body(session: Session) -> None:
        if session.is_server:
            seen["delta"] = vole(session.sender).delta
            vole(session.sender).extend(5, 4)
            session.channel.send(b"0")
        else:
            _, later = vole(session.receiver).begin(5, 4)
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


def _lie_in(session: Session, lie: U8) -> None:
    channel, honest = session.channel, session.channel.send
    receiver: Any = vole(session.receiver)
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
