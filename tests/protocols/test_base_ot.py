"""Base transfers and the set-up: laws of the keys and trees, refusal of invalid points."""

from __future__ import annotations

import numpy as np
import pytest

from moiety.protocols.arrays import U8
from moiety.protocols.cost import correction_bytes
from moiety.protocols.errors import NetworkFailure
from moiety.protocols.ot import base as base_ot
from moiety.protocols.ot import softspoken as ss
from moiety.protocols.prg import Prg
from tests.protocols.oracles import multiples, nibbles
from tests.support.two_party import channel_pair


def transfer(n: int, choices: U8) -> tuple[U8, U8]:
    receiver = base_ot.BaseReceiver.start(b"t", choices, Prg.from_os())
    assert len(receiver.message) == base_ot.receiver_bytes(n)
    answer, keys = base_ot.send(b"t", receiver.message, Prg.from_os())
    assert len(answer) == base_ot.SENDER_BYTES
    return receiver.finish(answer), keys


def test_receiver_gets_the_chosen_key_only() -> None:
    choices = np.random.default_rng(0).integers(0, 2, 64).astype(np.uint8)
    got, keys = transfer(64, choices)
    assert np.array_equal(got, keys[np.arange(64), choices])
    assert not (got == keys[np.arange(64), 1 - choices]).all(axis=1).any()
    assert len({k.tobytes() for k in keys.reshape(-1, 16)}) == 128


@pytest.mark.parametrize(
    "point", [bytes(32), b"\x01" + bytes(31), b"\xec" + b"\xff" * 30 + b"\x7f", b"\xff" * 32]
)
def test_points_outside_the_prime_order_group_are_refused(point: bytes) -> None:
    receiver = base_ot.BaseReceiver.start(b"t", np.zeros(1, np.uint8), Prg.from_os())
    with pytest.raises(NetworkFailure, match="group element"):
        receiver.finish(point)
    with pytest.raises(NetworkFailure, match="group element"):
        base_ot.send(b"t", point + receiver.message[32:], Prg.from_os())


def test_punctured_trees_know_all_leaves_but_one() -> None:
    delta = Prg.from_os().bytes(16)
    got, keys = transfer(ss.TRANSFERS, 1 - ss.delta_bits(delta).reshape(-1))
    message, leaves = ss.full_trees(Prg.from_os().bytes(16 * ss.TREES).reshape(-1, 16), keys)
    assert len(message) == ss.PUNCTURE_BYTES
    relative = ss.punctured_trees(delta, message, got)
    holes = nibbles(delta)
    for tree in range(ss.TREES):
        for y in range(1, ss.LEAVES):
            assert np.array_equal(relative[tree, y], leaves[tree, y ^ holes[tree]])
        assert not relative[tree, 0].any()


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_correlations_hold(k: int) -> None:
    delta = Prg.from_os().bytes(16)
    got, keys = transfer(ss.TRANSFERS, 1 - ss.delta_bits(delta).reshape(-1))
    message, leaves = ss.full_trees(Prg.from_os().bytes(16 * ss.TREES).reshape(-1, 16), keys)
    server, client = channel_pair()
    receiver = ss.SoftSpokenReceiver(client, leaves)
    sender = ss.SoftSpokenSender(server, ss.punctured_trees(delta, message, got), delta)
    seen = []
    for n in (1, 128, 300):
        u, v = receiver.extend(n, k)
        w = sender.extend(n, k)
        assert np.array_equal(w ^ v, multiples(u, delta))
        assert u.max() < 1 << k
        seen.append(v[0].tobytes())
    assert len(set(seen)) == 3
    assert client.meter.total.sent == sum(correction_bytes(n, k) for n in (1, 128, 300))
