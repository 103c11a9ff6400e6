"""What both ends of a consistency check of correlations have in common: the challenge, SoftSpoken's
hashes of columns, and the comparison. Silent rows have a hash of their own (ot/tally).

Correlations `w = v + u*delta` over F_16, n rows of 32 components, are hashed column by column by
one random F_16-linear map (kernels.column_hash), so that the hashes are in the same relation where
the rows are, and, but for a probability of n/128 * 2^-128, only there. Each component is hashed by
itself: a sum of components would leave a peer that deviates in several of them room for choosing
what is compared (Roy, CRYPTO 2022, section 4.1, on the check of Keller, Orsini, Scholl, CRYPTO
2015).

The points of the hash are a challenge that nobody may know before the rows are fixed. They follow
from a SHA-256 of all messages that fix them (Fiat, Shamir): a challenge that the checking party
drew would cost a round trip for every draw of correlations, since the rows must be checked before
anything is answered under them. The price is that a peer can try messages until it likes the
challenge. Hence 128 bits and not the 40 or 64 that a challenge of the other party's would do with:
q tries meet a bad one with probability `q * n/128 * 2^-128`, n the rows of one point.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

import numpy as np

from moiety.protocols import kernels
from moiety.protocols.arrays import U8
from moiety.protocols.errors import DeviatingPeer

ROWS = 128
"""Correlations that mask what is shown of u; their number makes every hash uniform."""
PLANE_BYTES = 16
DIGEST_BYTES = 32


class Chain:
    """A hash of all messages so far, and the challenges that follow from it: the same at both
    parties.
    """

    def __init__(self, start: bytes) -> None:
        self._state = start

    def add(self, *messages: bytes) -> None:
        """The next messages, or their hashes; each of a length that is known."""
        self._state = hashlib.sha256(b"moiety chain" + self._state + b"".join(messages)).digest()

    @property
    def state(self) -> bytes:
        """The hash itself, to add to another chain."""
        return self._state

    def points(self, count: int) -> list[U8]:
        """Points for so many hashes, uint8 `(16,)`; they belong to what was added last."""
        return [
            np.frombuffer(self._derived(b"point", index)[:16], np.uint8) for index in range(count)
        ]

    def key(self) -> U8:
        """An AES key that belongs to what was added last, uint8 `(16,)`."""
        return np.frombuffer(self._derived(b"coefficients", 0)[:16], np.uint8)

    def offsets(self, n: int, start: int = 0) -> U8:
        """What is added to n rows from number `start` on, uint8 `(n, 16)`: known to nobody before
        the rows are fixed.
        """
        key = np.frombuffer(self._derived(b"offsets", 0)[:16], np.uint8)
        return kernels.aes_ctr(key, start, 16 * n).reshape(n, 16)

    def digest_of(self, planes: U8) -> bytes:
        """What is sent of hashes that the peer can compute."""
        return hashlib.sha256(self._derived(b"digest", 0) + planes.tobytes()).digest()

    def _derived(self, use: bytes, index: int) -> bytes:
        label = b"moiety check " + use + index.to_bytes(8, "little")
        return hashlib.sha256(label + self._state).digest()


def hash_of(message: U8) -> bytes:
    """Of one long message, for `Chain.add`."""
    return hashlib.sha256(message.data).digest()


def planes_of(rows: U8) -> U8:
    """The bit columns of 128 rows, uint8 `(128, bytes)` to `(8*bytes, 16)`: as column_hash orders
    them, and not multiplied by any point.
    """
    bits = np.unpackbits(rows, axis=1, bitorder="little")
    return np.packbits(bits.T, axis=1, bitorder="little")


def summed(hashes: Sequence[U8], mask: U8) -> U8:
    """The hashes of all parts and the rows that mask them."""
    return np.bitwise_xor.reduce(np.stack([*hashes, planes_of(mask)]))


def times_delta(planes: U8, delta: U8) -> U8:
    """Hashes of u, uint8 `(k, 16)` by their bits, times delta: those of all 128 columns."""
    powers = np.zeros((len(planes), 16), np.uint8)
    kernels.add_multiples(powers, delta, np.uint8(1) << np.arange(len(planes), dtype=np.uint8))
    present = -np.unpackbits(powers, axis=1, bitorder="little")  # masks: no index depends on delta
    return np.bitwise_xor.reduce(present[:, :, None] & planes[:, None, :])


def compare(expected: bytes, received: bytes, what: str) -> None:
    """Raises `DeviatingPeer` unless they are equal, in a time that does not tell where they
    differ.
    """
    if not hmac.compare_digest(expected, received):
        raise DeviatingPeer(
            f"the peer's {what} do not fit together: it does not follow the protocol, or its "
            "memory is faulty. Nothing was revealed under them, and the connection is over. Is "
            "it an unchanged Moiety peer of this version?"
        )
