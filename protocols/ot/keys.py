"""Keys of one connection: public, fresh, and known to nobody before it begins.

The hash of the set-up's messages is the source of all AES keys that the transfers hash under
(kernels/reference/blocks.mmo) and that grow SoftSpoken's trees. Both parties' messages hold group
elements that they have just drawn, 252 bits each and hundreds of them, so either party's own
freshness makes every key fresh: work that somebody does before the connection, or for another one,
is lost. Whoever speaks last can try answers, and so choose among as many keys as it has tried: q
tries hit one of T keys that it has prepared for with probability q*T/2^128. No commitment comes
before, because preparing one key (tables of its blocks) costs as much as the search it would spare.

A changed message makes the two parties' keys, and with them everything that follows, independent:
nothing opens to what it should. The set-up's last messages detect it (ot/confirmation).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from moiety.protocols.arrays import U8
from moiety.protocols.kernels.reference.blocks import count_key, per_key

KEY = 16


class Transcript:
    """What the connection is (`context`, 32 bytes: the parties, the Program, all that they have
    agreed on), then the set-up's messages in the order of the wire; the same at both parties.
    """

    def __init__(self, context: bytes) -> None:
        self._hash = hashlib.sha256(b"moiety set-up" + context)

    def add(self, message: bytes) -> None:
        """The next message, of either party. Lengths are fixed, so concatenation is injective."""
        self._hash.update(message)

    def digest(self) -> bytes:
        """The hash of all so far."""
        return self._hash.digest()

    def keys(self, label: bytes, count: int) -> U8:
        """`count` AES keys (1 or 2) that follow from the messages so far, uint8 `(count, 16)`;
        every use has its own label.
        """
        digest = hashlib.sha256(b"moiety connection key" + self.digest() + label).digest()
        return np.frombuffer(digest[: KEY * count], np.uint8).reshape(count, KEY)


def later_key(key: U8, elements: int, k: int) -> U8:
    """The key of the elements from number `elements` on, a multiple of `per_key(k)`, where the
    first ones have `key`.
    """
    index = elements // per_key(k)
    return count_key(key, index) if index else key


@dataclass
class HashKeys:
    """The AES keys of one purpose in one direction, one for every 2^10 blocks that the sender
    hashes: they count up from `first`, uint8 `(16,)`, and none serves twice.
    """

    first: U8
    used: int = 0

    def take(self, n: int, k: int) -> U8:
        """The key of the first of n elements of 2^k options, uint8 `(16,)`; the kernels count on
        from it.
        """
        key = count_key(self.first, self.used)
        self.used += -(-n // per_key(k))
        return key
