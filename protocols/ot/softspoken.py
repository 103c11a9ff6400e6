"""SoftSpoken VOLE over F_16 with the repetition code (Roy, CRYPTO 2022, Figures 7 and
8), semi-honest.

Functionality: n correlations `w = v + u*delta` of width k, u uniform in `[0, 2^k)`; the receiver
gets u and v, the transfer sender w, and delta was fixed at set-up. The sender has `delta` in
F_16^32; 32 puncturable PRFs with 16 leaves each give it all leaves but number `delta_i`. Leaf
streams are combined into correlations by the kernels. One flight, receiver -> sender, of 31*k bits
per correlation in blocks of 128 (`cost.correction_bytes`). Nothing leaks: corrections are sums of
leaf streams, of which one per tree is unknown to the sender.
"""

from __future__ import annotations

import numpy as np

from moiety.protocols import kernels
from moiety.protocols.arrays import U8
from moiety.protocols.channel import Channel
from moiety.protocols.cost import BATCH, correction_bytes
from moiety.protocols.errors import ContractViolation
from moiety.protocols.ot.vole import VoleReceiver, VoleSender
from moiety.protocols.parallel import STREAMED, Workers

TREES = 32
"""One for each nibble of delta."""
DEPTH = 4
LEAVES = 1 << DEPTH
TRANSFERS = TREES * DEPTH
PUNCTURE_BYTES = TRANSFERS * 2 * 16


def blocks(n: int) -> int:
    """Blocks of 128 correlations that hold n."""
    return -(-n // BATCH)


def delta_bits(delta: U8) -> U8:
    """The path bits of all punctured leaves, most significant first: uint8 `(32,4)` from
    uint8 `(16,)`.
    """
    nibbles = np.stack([delta & 15, delta >> 4], axis=1).reshape(TREES)
    return (nibbles[:, None] >> np.arange(DEPTH - 1, -1, -1, dtype=np.uint8)) & np.uint8(1)


def full_trees(roots: U8, keys: U8, doubling: U8) -> tuple[bytes, U8]:
    """Receiver's set-up: expand 32 trees from `roots` uint8 `(32,16)` with the doubling generator's
    two AES keys `doubling`, public and of this connection; returns (message, leaves uint8
    `(32,16,16)`).

    The message carries, per tree and level, the XOR of all left and of all right nodes, each under
    its base transfer key (`keys` uint8 `(128,2,16)`).
    """
    nodes = roots[:, None, :]
    sums = np.empty((TREES, DEPTH, 2, 16), np.uint8)
    for level in range(DEPTH):
        children = kernels.ggm_expand(nodes.reshape(-1, 16), doubling).reshape(TREES, -1, 2, 16)
        sums[:, level] = np.bitwise_xor.reduce(children, axis=1)
        nodes = children.reshape(TREES, -1, 16)
    return (sums.reshape(TRANSFERS, 2, 16) ^ keys).tobytes(), np.ascontiguousarray(nodes)


def punctured_trees(delta: U8, message: bytes, keys: U8, doubling: U8) -> U8:
    """Sender's set-up: all leaves but `delta_i`, in relative order y = x ^ delta_i; leaf 0 is the
    unknown one and stays zero.

    `keys` uint8 `(128,16)` are the base transfer keys received with choice `1 - path bit`,
    `doubling` is the peer's. Relative order makes the position of the hole public, so that no index
    depends on delta.
    """
    flip = -delta_bits(delta) & np.uint8(0xFF)  # (32,4), all-ones where the path goes right
    encrypted = np.frombuffer(message, np.uint8).reshape(TREES, DEPTH, 2, 16)
    nodes = np.zeros((TREES, 1, 16), np.uint8)
    for level in range(DEPTH):
        mask = flip[:, level, None]
        left, right = encrypted[:, level, 0], encrypted[:, level, 1]
        sibling_sum = (right ^ ((left ^ right) & mask)) ^ keys.reshape(TREES, DEPTH, 16)[:, level]
        children = kernels.ggm_expand(nodes.reshape(-1, 16), doubling).reshape(TREES, -1, 2, 16)
        swap = (children[:, :, 0] ^ children[:, :, 1]) & mask[:, :, None]
        children = children ^ swap[:, :, None, :]
        children[:, 0] = 0
        children[:, 0, 1] = sibling_sum ^ np.bitwise_xor.reduce(children[:, 1:, 1], axis=1)
        nodes = children.reshape(TREES, -1, 16)
    return np.ascontiguousarray(nodes)


class _Stream:
    """Counter of consumed leaf-stream blocks: every extension uses fresh ones."""

    def __init__(self, channel: Channel, leaves: U8, workers: Workers | None = None) -> None:
        self._channel = channel
        self._workers = workers or Workers()
        self._leaves = leaves
        self._counter = 0

    def _take(self, n: int, k: int) -> list[tuple[int, int]]:
        """(correlations, first counter) of each part of the next n: parts of `STREAMED`, the last
        one shorter, have their own blocks, so the peer can work on one while the next is made, and
        threads on several at once.
        """
        if n < 1 or not 1 <= k <= DEPTH:
            raise ContractViolation(f"no extension of {n} correlations of width {k}")
        parts = []
        for at in range(0, n, STREAMED):
            size = min(STREAMED, n - at)
            parts.append((size, self._counter))
            self._counter += k * blocks(size)
        return parts


class SoftSpokenReceiver(_Stream, VoleReceiver):
    """Knows all leaves."""

    def extend(self, n: int, k: int) -> tuple[U8, U8]:
        """(u uint8 `(n,)`, v uint8 `(n,16)`); sends the corrections."""

        def make(part: tuple[int, int]) -> tuple[U8, U8, U8]:
            size, counter = part
            u, v, corrections = kernels.vole_receiver(self._leaves, counter, k, blocks(size))
            return u[:size], v[:size], corrections

        made = []
        for u, v, corrections in self._workers.map(make, self._take(n, k)):
            self._channel.send(corrections)
            made.append((u, v))
        if len(made) == 1:
            return made[0]
        return np.concatenate([u for u, _ in made]), np.concatenate([v for _, v in made])


class SoftSpokenSender(_Stream, VoleSender):
    """Knows all leaves but one per tree, and delta."""

    def __init__(
        self, channel: Channel, leaves: U8, delta: U8, workers: Workers | None = None
    ) -> None:
        super().__init__(channel, leaves, workers)
        self.delta = delta

    def extend(self, n: int, k: int) -> U8:
        """w uint8 `(n,16)` with `w = v + u*delta`; receives the corrections."""

        def arrived(part: tuple[int, int]) -> tuple[int, int, U8]:
            return *part, self._channel.recv(correction_bytes(part[0], k))

        def make(part: tuple[int, int, U8]) -> U8:
            size, counter, corrections = part
            return kernels.vole_sender(
                self._leaves, self.delta, counter, k, blocks(size), corrections
            )[:size]

        made = list(self._workers.map(make, self._take(n, k), arrived))
        return made[0] if len(made) == 1 else np.concatenate(made)
