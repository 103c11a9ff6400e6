"""Base transfers and the set-up: laws of the keys and trees, refusal of invalid points."""

from __future__ import annotations

import os
import queue

import numpy as np
import pytest
from nacl import bindings as sodium

from moiety.protocols import setup
from moiety.protocols.arrays import U8
from moiety.protocols.cost import extension_bytes
from moiety.protocols.errors import NetworkFailure
from moiety.protocols.ot import base_ot
from moiety.protocols.ot.consistency import Chain
from moiety.protocols.ot.keys import Transcript
from moiety.protocols.ot.softspoken import (
    LEAVES,
    PUNCTURE_BYTES,
    TRANSFERS,
    TREES,
    SoftSpokenReceiver,
    SoftSpokenSender,
    delta_bits,
    full_trees,
    punctured_trees,
)
from moiety.protocols.prg import Prg
from tests.protocols.oracles import multiples, nibbles
from tests.support.two_party import MemoryChannel, channel_pair


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
    got, keys = transfer(TRANSFERS, 1 - delta_bits(delta).reshape(-1))
    doubling = Prg.from_os().bytes(32).reshape(2, 16)
    message, leaves = full_trees(Prg.from_os().bytes(16 * TREES).reshape(-1, 16), keys, doubling)
    assert len(message) == PUNCTURE_BYTES
    relative = punctured_trees(delta, message, got, doubling)
    holes = nibbles(delta)
    for tree in range(TREES):
        for y in range(1, LEAVES):
            assert np.array_equal(relative[tree, y], leaves[tree, y ^ holes[tree]])
        assert not relative[tree, 0].any()


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_correlations_hold(k: int) -> None:
    delta = Prg.from_os().bytes(16)
    got, keys = transfer(TRANSFERS, 1 - delta_bits(delta).reshape(-1))
    doubling = Prg.from_os().bytes(32).reshape(2, 16)
    message, leaves = full_trees(Prg.from_os().bytes(16 * TREES).reshape(-1, 16), keys, doubling)
    server, client = channel_pair()
    receiver = SoftSpokenReceiver(client, leaves, Chain(bytes(32)))
    sender = SoftSpokenSender(
        server, punctured_trees(delta, message, got, doubling), Chain(bytes(32)), delta
    )
    seen = []
    for n in (1, 128, 300):
        u, v = receiver.extend(n, k)
        w = sender.extend(n, k)
        assert np.array_equal(w ^ v, multiples(u, delta))
        assert u.max() < 1 << k
        seen.append(v[0].tobytes())
    assert len(set(seen)) == 3
    assert client.meter.total.sent == sum(extension_bytes(n, k) for n in (1, 128, 300))


def test_delta_has_no_fixed_bit() -> None:
    class Mute(MemoryChannel):
        def _write(self, data: memoryview) -> None:
            pass

    channel = Mute(queue.SimpleQueue(), queue.SimpleQueue(), 1.0)
    deltas = [
        setup._puncture(b"server->client", channel, Prg.from_os(), Transcript(bytes(32)))[1]
        for _ in range(40)
    ]
    bits = np.unpackbits(np.array(deltas), axis=1).sum(axis=0)
    assert np.all((bits > 0) & (bits < 40))


def test_base_transfers_of_two_directions_have_nothing_in_common() -> None:
    """A peer that sends our own receiver's message back gets other keys, and cannot
    tell our choices from the order.
    """
    start = base_ot.BaseReceiver.start(b"server->client", np.zeros(8, np.uint8), Prg.from_os())
    seed = os.urandom(16)
    (answer, there), (same, back) = (
        base_ot.send(tag, start.message, Prg(seed))
        for tag in (b"server->client", b"client->server")
    )
    assert answer == same
    assert np.array_equal(start.finish(answer), there[:, 0])
    assert len(np.unique(np.concatenate([there, back]).reshape(-1, 16), axis=0)) == 4 * 8
    assert "choices" not in repr(start)
    assert "scalars" not in repr(start)


def test_base_transfers_without_a_key_are_refused() -> None:
    """Two valid points, of which one is minus the hash of the other."""
    other = base_ot._map_pair(os.urandom(64))
    hashed = base_ot._hash_to_point(b"tag", 0, other)
    neutral = sodium.crypto_core_ed25519_sub(hashed, hashed)
    message = sodium.crypto_core_ed25519_sub(neutral, hashed) + other
    with pytest.raises(NetworkFailure):
        base_ot.send(b"tag", message, Prg.from_os())
