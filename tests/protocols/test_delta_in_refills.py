"""What a receiver is shown in a silent refill over F_16 contains multiples of the sender's delta:
in the hole of a tree, `leaf + beta*delta`, and so in the sum of leaves that it was not to open.

The hash inside a refill has to bear this: no sum of what the receiver knows may leave a bare
cipher's output, which anybody can invert, or a value of fewer than 128 unknown bits to guess.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from moiety.protocols import kernels
from moiety.protocols.arrays import U8, U16
from moiety.protocols.kernels.reference.blocks import sigma
from moiety.protocols.ot import lpn
from moiety.protocols.ot.keys import HashKeys, later_key
from moiety.protocols.ot.silent import SilentReceiver, SilentSender
from moiety.protocols.session import Session
from tests.protocols.oracles import multiples
from tests.support.two_party import run_two_party, vole

TREES = lpn.LpnParameters(seeds=160, trees=400, depth=5)
"""Small, with every noise value many times."""

UNITS = np.packbits(np.eye(128, dtype=np.uint8), axis=1, bitorder="little")


def hash_keys() -> HashKeys:
    return HashKeys(np.arange(16, dtype=np.uint8))


class Noting(SilentReceiver):
    """Follows the protocol, and keeps what it sees of its first iteration."""

    seen: dict[str, Any]

    def _choose(self, u: U8) -> tuple[U16, U8, U8]:
        alpha, beta, shifts = super()._choose(u)
        self.seen = getattr(self, "seen", {}) or {"alpha": alpha, "beta": beta}
        return alpha, beta, shifts

    def _iterate(self, code: U8, keys: U8, alpha: U16, beta: U8, answer: U8) -> Any:
        if "answer" not in self.seen:
            v = self._base_v[self.parameters.seeds :].reshape(len(keys), -1, 16).copy()
            self.seen |= {"keys": keys, "answer": answer.copy(), "v": v}
            taken = self._keys.used
            sums = self._opened(answer, v, alpha)
            self._keys.used = taken
            self.seen |= {"leaves": self._leaves(keys, alpha, sums)}
        return super()._iterate(code, keys, alpha, beta, answer)

    def _leaves(self, keys: U8, alpha: U16, sums: U8) -> U8:
        """Its leaves without the code, uint8 `(t, 2^h, 16)`."""
        p, nothing = self.parameters, np.zeros((1, 16), np.uint8)
        rows = np.empty((p.length, 16), np.uint8)
        trees, code = (keys, alpha, sums, p.depth, p.width), (nothing, nothing[0], 0)
        kernels.expand_punctured(*trees, *code, rows, self._checks(p.trees))
        return rows.reshape(p.trees, -1, 16)


def refilled() -> tuple[U8, dict[str, Any]]:
    """(the sender's delta, what an honest receiver has seen)."""

    def server(session: Session) -> U8:
        softspoken = vole(session.sender).softspoken
        sender = SilentSender(session.channel, softspoken, session.prg, hash_keys(), TREES, batch=1)
        sender.extend(1, 4)
        session.channel.send(b"0")
        return sender.delta

    def client(session: Session) -> dict[str, Any]:
        softspoken = vole(session.receiver).softspoken
        receiver = Noting(session.channel, softspoken, session.prg, hash_keys(), TREES, batch=1)
        _, make = receiver.begin(1, 4)
        session.channel.recv(1)
        make()
        return receiver.seen

    delta, seen = run_two_party(server, client)
    return delta, seen


def decrypt(key: U8, block: U8) -> U8:
    decryptor = Cipher(algorithms.AES(key.tobytes()), modes.ECB()).decryptor()
    return np.frombuffer(decryptor.update(block.tobytes()), np.uint8)


def test_the_unopened_sum_of_leaves_hides_delta() -> None:
    """The sum of the leaves on the hole's side is `known + beta*delta`. Under a hash whose feed
    forward is delta itself, those trees with beta = 1 would lose both, and one decryption would
    give delta. All trees are tried, with the hash of the pads and with that of refills.
    """
    delta, seen = refilled()
    assert set(range(1, 16)) == set(seen["beta"].tolist())
    goes_right = (seen["alpha"] & 1).astype(bool)
    for tree in range(TREES.trees):
        key = later_key(hash_keys().first, tree // 512 * 512, 1)
        side = np.bitwise_xor.reduce(seen["leaves"][tree, int(goes_right[tree]) :: 2])
        unopened = seen["answer"][tree, -2 if goes_right[tree] else -3]
        v = seen["v"][tree, -2]
        for known in (v, sigma(v[None])[0]):
            found = decrypt(key, unopened ^ side ^ known) ^ known
            assert not np.array_equal(found, delta)
            assert not np.array_equal(found, sigma(delta[None])[0])


def test_the_unopened_sum_is_what_the_test_above_takes_it_for() -> None:
    """Who knows delta accounts for it to the last bit."""
    delta, seen = refilled()
    goes_right = (seen["alpha"] & 1).astype(bool)
    for tree in range(0, TREES.trees, 7):
        key = later_key(hash_keys().first, tree // 512 * 512, 1)
        side = np.bitwise_xor.reduce(seen["leaves"][tree, int(goes_right[tree]) :: 2])
        unopened = seen["answer"][tree, -2 if goes_right[tree] else -3]
        point = sigma((seen["v"][tree, -2] ^ delta)[None])[0]
        multiple = multiples(seen["beta"][tree : tree + 1], delta[None])[0]
        assert np.array_equal(decrypt(key, unopened ^ side ^ multiple ^ point), point)


def rank(rows: U8) -> int:
    """Over F_2, of rows of 16 bytes."""
    basis: dict[int, int] = {}
    for row in rows:
        value = int.from_bytes(row.tobytes(), "little")
        while value and value.bit_length() in basis:
            value ^= basis[value.bit_length()]
        if value:
            basis[value.bit_length()] = value
    return len(basis)


def plus_multiple(images: U8, multiplier: int) -> U8:
    """`image + multiplier * unit` of every unit."""
    return images ^ multiples(np.full(128, multiplier, np.uint8), UNITS)


@pytest.mark.parametrize("multiplier", range(16))
def test_no_multiple_of_delta_cancels_in_the_hash(multiplier: int) -> None:
    """`sigma(delta) + b*delta` has all 128 bits of delta, whatever b: its rank over F_2."""
    assert rank(plus_multiple(sigma(UNITS), multiplier)) == 128


def test_the_usual_orthomorphism_would_leave_64_bits() -> None:
    """`(a, b) -> (a + b, a)` on the halves: enough for b = 0 and 1, and for all but the two roots
    of `T^2 + T + 1` in F_16.
    """
    halves = UNITS.reshape(128, 2, 8)
    images = np.stack([halves[:, 0] ^ halves[:, 1], halves[:, 0]], axis=1).reshape(128, 16)
    found = [rank(plus_multiple(images, multiplier)) for multiplier in range(16)]
    assert found[:2] == [128, 128]
    assert sorted(found) == [64, 64] + [128] * 14


def test_sigma_has_no_eigenvalue_in_the_small_field() -> None:
    """It is linear over F_16, and `sigma(sigma(x)) + X*sigma(x) + x = 0`: `T^2 + X*T + 1`."""
    images = sigma(UNITS)
    for multiplier in range(16):
        scaled = multiples(np.full(128, multiplier, np.uint8), UNITS)
        assert np.array_equal(sigma(scaled), multiples(np.full(128, multiplier, np.uint8), images))
    times_x = multiples(np.full(128, 2, np.uint8), images)
    assert np.array_equal(sigma(images), times_x ^ UNITS)
