"""Base transfers and the set-up: laws of the keys and trees, refusal of invalid points."""

from __future__ import annotations

import hashlib
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
from tests.protocols.oracles import affine_rank, multiples, nibbles
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
    assert len({k.tobytes() for k in keys.reshape(-1, 8)}) == 256


SMALL_ORDER = {
    1: "01" + "00" * 31,
    2: "ec" + "ff" * 30 + "7f",
    4: "00" * 32,
    8: "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
}
"""Points of edwards25519 by their order (RFC 7748's curve has cofactor 8)."""


def beside(order: int) -> bytes:
    """A point of the curve that is not of the prime-order group: one that is, plus one of this
    order.
    """
    point = sodium.crypto_scalarmult_ed25519_base_noclamp((5).to_bytes(32, "little"))
    return sodium.crypto_core_ed25519_add(point, bytes.fromhex(SMALL_ORDER[order]))


OUTSIDE = {
    **{f"of order {order}": bytes.fromhex(small) for order, small in SMALL_ORDER.items()},
    **{f"with a part of order {order}": beside(order) for order in (2, 4, 8)},
    "not on the curve": b"\xff" * 32,
}


@pytest.mark.parametrize("point", OUTSIDE.values(), ids=OUTSIDE)
def test_points_outside_the_prime_order_group_are_refused(point: bytes) -> None:
    """By either party, in any place: of small order, with a part of small order, and no point."""
    receiver = base_ot.BaseReceiver.start(b"t", np.zeros(2, np.uint8), Prg.from_os())
    with pytest.raises(NetworkFailure, match="group element"):
        receiver.finish(point)
    for at in range(0, 128, 32):
        message = receiver.message[:at] + point + receiver.message[at + 32 :]
        with pytest.raises(NetworkFailure, match="group element"):
            base_ot.send(b"t", message, Prg.from_os())


def test_every_transfer_has_randomness_of_its_own() -> None:
    """With one scalar for two transfers, the sender's answer gives the receiver's keys of the one
    to whoever finds those of the other; with one that is guessed, the sender knows all choices.
    """
    n = 280
    choices = np.random.default_rng(0).integers(0, 2, n, np.uint8)
    starts = [base_ot.BaseReceiver.start(b"t", choices, Prg.from_os()) for _ in range(2)]
    answers = [base_ot.send(b"t", start.message[:64], Prg.from_os())[0] for start in starts]
    scalars = [scalar for start in starts for scalar in start.scalars]
    own = [sodium.crypto_scalarmult_ed25519_base_noclamp(scalar) for scalar in scalars]
    points = [start.message[at : at + 32] for start in starts for at in range(0, 64 * n, 32)]
    assert len(set(scalars)) == 2 * n
    # The other point of a pair: of no logarithm that the receiver has.
    assert len({*points, *own, *answers}) == 3 * 2 * n + 2
    low = np.frombuffer(b"".join(scalars), np.uint8).reshape(-1, 32)[:, :31]
    assert affine_rank(low) == 8 * 31 + 1


def test_a_pair_hides_the_choice_in_its_order() -> None:
    """The receiver's own point, less what it is hidden by, is at the place of the choice."""
    choices = np.array([0, 1, 1, 0, 1], np.uint8)
    start = base_ot.BaseReceiver.start(b"t", choices, Prg.from_os())
    for index, (bit, scalar) in enumerate(zip(choices.tolist(), start.scalars, strict=True)):
        pair = start.message[64 * index : 64 * index + 64]
        at = (pair[:32], pair[32:])
        hashed = base_ot._hash_to_point(b"t", 2 * index + bit, at[1 - bit])
        own = sodium.crypto_scalarmult_ed25519_base_noclamp(scalar)
        assert sodium.crypto_core_ed25519_add(at[bit], hashed) == own


def elligator(uniform: bytes) -> bytes:
    """Two independent maps, added."""
    first, second = (
        sodium.crypto_core_ed25519_from_uniform(uniform[at : at + 32]) for at in (0, 32)
    )
    return sodium.crypto_core_ed25519_add(first, second)


@pytest.mark.parametrize("tag", [b"t", b"another"])
def test_keys_are_those_of_the_paper(tag: bytes) -> None:
    """Endemic OT written down again. What a key is bound to: the direction and what the parties
    agreed on (the tag), the transfer, both parties' messages, and the shared point.
    """
    n, seed = 3, os.urandom(16)
    start = base_ot.BaseReceiver.start(tag, np.array([0, 1, 1], np.uint8), Prg.from_os())
    answer, keys = base_ot.send(tag, start.message, Prg(seed))
    b = sodium.crypto_core_ed25519_scalar_reduce(Prg(seed).bytes(64).tobytes())
    assert answer == sodium.crypto_scalarmult_ed25519_base_noclamp(b)
    for index in range(n):
        pair = start.message[64 * index : 64 * index + 64]
        for bit in (0, 1):
            point, other = pair[32 * bit :][:32], pair[32 * (1 - bit) :][:32]
            place = (2 * index + bit).to_bytes(4, "little")
            hashed = hashlib.sha512(b"moiety base-ot point" + tag + place + other).digest()
            base = sodium.crypto_core_ed25519_add(point, elligator(hashed))
            shared = sodium.crypto_scalarmult_ed25519_noclamp(b, base)
            bound = tag + index.to_bytes(4, "little") + answer + pair + shared
            key = hashlib.sha256(b"moiety base-ot key" + bound).digest()[:16]
            assert keys[index, bit].tobytes() == key


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


def test_delta_has_all_its_entropy(monkeypatch: pytest.MonkeyPatch) -> None:
    """No bit of it is fixed, and none follows from others; it is what this party has drawn, and
    what its base transfers leave out.
    """

    class Mute(MemoryChannel):
        def _write(self, data: memoryview) -> None:
            pass

    drawn, chosen = [], []
    real = Prg.bytes

    def note(prg: Prg, n: int) -> U8:
        drawn.append(real(prg, n))
        return drawn[-1]

    def start(tag: bytes, choices: U8, prg: Prg) -> base_ot.BaseReceiver:
        chosen.append(choices)
        return base_ot.BaseReceiver(tag, choices, (), b"")

    monkeypatch.setattr(Prg, "bytes", note)
    monkeypatch.setattr(base_ot.BaseReceiver, "start", start)
    channel = Mute(queue.SimpleQueue(), queue.SimpleQueue(), 1.0)
    deltas = [
        setup._puncture(b"server->client", channel, Prg.from_os(), Transcript(bytes(32)))[1]
        for _ in range(180)
    ]
    assert affine_rank(np.array(deltas)) == 128 + 1
    assert {delta.tobytes() for delta in deltas} <= {each.tobytes() for each in drawn}
    for delta, choices in zip(deltas, chosen, strict=True):
        path = (choices ^ 1).reshape(TREES, 4) << np.arange(3, -1, -1, dtype=np.uint8)
        assert np.array_equal(path.sum(axis=1), nibbles(delta))


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


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("bit", [0, 1])
def test_base_transfers_without_a_key_are_refused(index: int, bit: int) -> None:
    """Two valid points, of which one is minus the hash of the other."""
    honest = base_ot.BaseReceiver.start(b"tag", np.zeros(2, np.uint8), Prg.from_os()).message
    other = base_ot._map_pair(os.urandom(64))
    hashed = base_ot._hash_to_point(b"tag", 2 * index + bit, other)
    neutral = sodium.crypto_core_ed25519_sub(hashed, hashed)
    minus = sodium.crypto_core_ed25519_sub(neutral, hashed)
    pair = other + minus if bit else minus + other
    message = honest[: 64 * index] + pair + honest[64 * index + 64 :]
    with pytest.raises(NetworkFailure, match="have no keys"):
        base_ot.send(b"tag", message, Prg.from_os())
