"""Base oblivious transfers: random 1-of-2 transfers of 128-bit keys from public-key operations.

Functionality: of n pairs of random keys the sender gets both, the receiver the one of its choice.
Nothing else is learned, in the random oracle model under CDH, but either side may influence its own
keys, which random transfers permit. Two flights: 64 bytes per transfer from the receiver, 32 bytes
for all of them back.

Endemic OT (Masny, Rindal: "Endemic Oblivious Transfer", CCS 2019, Figure 8), in the prime-order
subgroup of edwards25519, with libsodium's group operations. The receiver sends for every transfer a
pair of points of which it can know the discrete logarithm (after adding the hash of the other) of
one only; the sender answers one point for all.

Every point that arrives is checked to lie in the prime-order subgroup, so that no cofactor
component survives into a key.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
from nacl import bindings as sodium

from moiety.protocols.arrays import U8
from moiety.protocols.errors import NetworkFailure
from moiety.protocols.prg import Prg

POINT = 32
KEY = 16
_NEUTRAL = bytes([1]) + bytes(31)


def receiver_bytes(n: int) -> int:
    """Length of the receiver's message for `n` transfers."""
    return 2 * POINT * n


SENDER_BYTES = POINT


def _scalar(prg: Prg) -> bytes:
    return sodium.crypto_core_ed25519_scalar_reduce(prg.bytes(64).tobytes())


def _map_pair(seed: bytes) -> bytes:
    """64 uniform bytes to a point: a sum of two independent Elligator maps is indifferentiable from
    a random oracle.
    """
    first = sodium.crypto_core_ed25519_from_uniform(seed[:32])
    return sodium.crypto_core_ed25519_add(first, sodium.crypto_core_ed25519_from_uniform(seed[32:]))


def _hash_to_point(tag: bytes, index: int, point: bytes) -> bytes:
    return _map_pair(
        hashlib.sha512(b"moiety base-ot point" + tag + index.to_bytes(4, "little") + point).digest()
    )


def _key(tag: bytes, index: int, transcript: bytes, shared: bytes) -> bytes:
    return hashlib.sha256(
        b"moiety base-ot key" + tag + index.to_bytes(4, "little") + transcript + shared
    ).digest()[:KEY]


def _checked(point: bytes) -> bytes:
    if not sodium.crypto_core_ed25519_is_valid_point(point):
        raise NetworkFailure(
            "the peer sent an invalid group element in the base transfers; "
            "is it a Moiety peer of this version?"
        )
    return point


@dataclass(frozen=True)
class BaseReceiver:
    """Receiver of `n` transfers with chosen bits. `start` gives the message to send; `finish` takes
    the sender's answer.
    """

    tag: bytes
    choices: U8 = field(repr=False)
    scalars: tuple[bytes, ...] = field(repr=False)
    message: bytes = field(repr=False)

    @classmethod
    def start(cls, tag: bytes, choices: U8, prg: Prg) -> BaseReceiver:
        """`choices` uint8 `(n,)` of bits; `tag` separates the executions of one session."""
        scalars, parts = [], []
        for index, bit in enumerate(choices.tolist()):
            a = _scalar(prg)
            other = _map_pair(prg.bytes(64).tobytes())
            mine = sodium.crypto_core_ed25519_sub(
                sodium.crypto_scalarmult_ed25519_base_noclamp(a),
                _hash_to_point(tag, 2 * index + bit, other),
            )
            # The order on the wire must not be a branch on the choice: both orders are built, a
            # mask picks one.
            straight, crossed = (
                np.frombuffer(mine + other, np.uint8),
                np.frombuffer(other + mine, np.uint8),
            )
            parts.append((straight ^ ((straight ^ crossed) & np.uint8(-bit & 0xFF))).tobytes())
            scalars.append(a)
        return cls(tag, choices, tuple(scalars), b"".join(parts))

    def finish(self, answer: bytes) -> U8:
        """The chosen keys, uint8 `(n,16)`. Raises `NetworkFailure` for an invalid answer."""
        point = _checked(answer)
        keys = [
            _key(
                self.tag,
                index,
                answer + self.message[64 * index : 64 * index + 64],
                sodium.crypto_scalarmult_ed25519_noclamp(a, point),
            )
            for index, a in enumerate(self.scalars)
        ]
        return np.frombuffer(b"".join(keys), np.uint8).reshape(-1, KEY)


def send(tag: bytes, message: bytes, prg: Prg) -> tuple[bytes, U8]:
    """Sender's side: from the receiver's message to (answer, both keys of every transfer as
    uint8 `(n,2,16)`).
    """
    b = _scalar(prg)
    answer = sodium.crypto_scalarmult_ed25519_base_noclamp(b)
    keys = []
    for index in range(len(message) // (2 * POINT)):
        pair = message[64 * index : 64 * index + 64]
        points = (_checked(pair[:POINT]), _checked(pair[POINT:]))
        for bit in (0, 1):
            base = sodium.crypto_core_ed25519_add(
                points[bit], _hash_to_point(tag, 2 * index + bit, points[1 - bit])
            )
            if base == _NEUTRAL:  # a pair of valid points can be made to sum to it
                raise NetworkFailure(
                    "the peer sent base transfers that have no keys; is it an honest Moiety peer?"
                )
            keys.append(
                _key(tag, index, answer + pair, sodium.crypto_scalarmult_ed25519_noclamp(b, base))
            )
    return answer, np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 2, KEY)
