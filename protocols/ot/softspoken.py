"""SoftSpoken VOLE over F_16 with the repetition code (Roy, CRYPTO 2022, Figures 7 and
8), with its consistency checks.

Functionality: n correlations `w = v + u*delta` of width k, u uniform in `[0, 2^k)`; the receiver
gets u and v, the transfer sender w, and delta was fixed at set-up. The sender has `delta` in
F_16^32; 32 puncturable PRFs with 16 leaves each give it all leaves but number `delta_i`. Leaf
streams are combined into correlations by the kernels. One flight, receiver -> sender, of 31*k bits
per correlation in blocks of 128 (`cost.extension_bytes`). Nothing leaks: corrections are sums of
leaf streams, of which one per tree is unknown to the sender.

A receiver that deviates could give the trees other u: with `u + e_i` in tree i the sender has `w_i
= v_i + (u + e_i)*delta_i`, and whether an answer under it opens says what `delta_i` is. So 128 more
rows are made, u and v of all are hashed (ot/consistency), and the receiver sends its hash of u, for
which those rows are a one-time pad, and a digest of that of v, which the sender computes from w, u
and delta. Where t trees have an e that no common u explains, the digest fits only if `delta_i` is
what the receiver bets on in all t: with probability 16^-t. A bet that fails ends the connection,
before anything was answered.

A receiver chooses the roots of its trees, and each nibble of v comes from a tree of its own: with
sixteen tries a tree it has two equal rows, whose pads are equal under one key (of two trees of a
silent refill they tell delta: tests/attacks/test_equal_rows). So both parties add the same random
block to v and w of a row, which follows from all messages of the set-up and of the draw and which
nobody knows when roots are chosen. Then rows are equal with probability 2^-128 for each pair. Who
tries other roots, or bets on a nibble and tries other corrections, has all other blocks.

The trees are checked when they come (Roy, section 5; Boyle et al., CRYPTO 2019, Figure 5): every
leaf is hashed to 32 bytes for the check and, apart from them, to its key. The receiver sends for
each tree the sum of the 32 bytes, which gives the sender those of its missing leaf, and one digest
of all. Then there is one set of leaves that fits, and a receiver whose messages open others for
some delta has bet on a delta again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from moiety.protocols import kernels
from moiety.protocols.arrays import U8
from moiety.protocols.channel import Channel
from moiety.protocols.cost import BATCH, correction_bytes
from moiety.protocols.errors import ContractViolation
from moiety.protocols.ot.consistency import (
    DIGEST_BYTES,
    PLANE_BYTES,
    ROWS,
    Chain,
    compare,
    hash_of,
    summed,
    times_delta,
)
from moiety.protocols.ot.vole import VoleReceiver, VoleSender
from moiety.protocols.parallel import STREAMED, Workers, pieces

TREES = 32
"""One for each nibble of delta."""
DEPTH = 4
LEAVES = 1 << DEPTH
TRANSFERS = TREES * DEPTH
CHECK_BYTES = 32
"""What a leaf is hashed to for the check of its tree."""
_SUMS_BYTES = TRANSFERS * 2 * 16
PUNCTURE_BYTES = _SUMS_BYTES + TREES * CHECK_BYTES + DIGEST_BYTES


class Part(NamedTuple):
    """Correlations that are made together, from a count of leaf-stream blocks on."""

    size: int
    counter: int


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
    its base transfer key (`keys` uint8 `(128,2,16)`), then what the trees are checked by.
    """
    nodes = roots[:, None, :]
    sums = np.empty((TREES, DEPTH, 2, 16), np.uint8)
    for level in range(DEPTH):
        children = kernels.ggm_expand(nodes.reshape(-1, 16), doubling).reshape(TREES, -1, 2, 16)
        sums[:, level] = np.bitwise_xor.reduce(children, axis=1)
        nodes = children.reshape(TREES, -1, 16)
    checks, leaves = _finished(nodes, doubling)
    message = (sums.reshape(TRANSFERS, 2, 16) ^ keys).tobytes()
    return message + np.bitwise_xor.reduce(checks, axis=1).tobytes() + _digest(checks), leaves


def punctured_trees(delta: U8, message: bytes, keys: U8, doubling: U8) -> U8:
    """Sender's set-up: all leaves but `delta_i`, in relative order y = x ^ delta_i; leaf 0 is the
    unknown one and stays zero.

    `keys` uint8 `(128,16)` are the base transfer keys received with choice `1 - path bit`,
    `doubling` is the peer's. Relative order makes the position of the hole public, so that no index
    depends on delta. Raises `DeviatingPeer` for trees that do not fit together.
    """
    flip = -delta_bits(delta) & np.uint8(0xFF)  # (32,4), all-ones where the path goes right
    received = np.frombuffer(message, np.uint8)
    encrypted = received[:_SUMS_BYTES].reshape(TREES, DEPTH, 2, 16)
    sums = received[_SUMS_BYTES:-DIGEST_BYTES].reshape(TREES, CHECK_BYTES)
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
    checks, leaves = _finished(nodes, doubling)
    checks[:, 0] = sums ^ np.bitwise_xor.reduce(checks[:, 1:], axis=1)
    for level in range(DEPTH):  # from relative to true order
        bit = LEAVES >> level + 1
        swap = checks ^ checks[:, np.arange(LEAVES) ^ bit]
        checks ^= swap & flip[:, level, None, None]
    compare(_digest(checks), message[-DIGEST_BYTES:], "trees of the set-up")
    leaves[:, 0] = 0
    return leaves


def _finished(nodes: U8, doubling: U8) -> tuple[U8, U8]:
    """What the last nodes `(32,16,16)` of the trees are hashed to: (for the check, uint8
    `(32,16,32)`; the leaves' keys, uint8 `(32,16,16)`).
    """
    label = b"moiety leaf" + doubling.tobytes()
    hashed = b"".join(
        hashlib.sha512(label + bytes([tree]) + node.tobytes()).digest()
        for tree, of_tree in enumerate(nodes)
        for node in of_tree
    )
    both = np.frombuffer(hashed, np.uint8).reshape(TREES, LEAVES, 64)
    keys = both[:, :, CHECK_BYTES : CHECK_BYTES + 16]
    return both[:, :, :CHECK_BYTES].copy(), np.ascontiguousarray(keys)


def _digest(checks: U8) -> bytes:
    return hashlib.sha256(b"moiety trees" + checks.tobytes()).digest()


class _Stream:
    """Counter of consumed leaf-stream blocks: every extension uses fresh ones."""

    def __init__(
        self, channel: Channel, leaves: U8, chain: Chain, workers: Workers | None = None
    ) -> None:
        """`chain`: from all messages of the set-up, the same at both parties."""
        self._channel = channel
        self._workers = workers or Workers()
        self._leaves = leaves
        self._chain = chain
        self._counter = 0

    def _take(self, n: int, k: int) -> list[Part]:
        """The parts of the next n correlations, and the one that masks their check: parts of
        `STREAMED`, the last one shorter, have their own blocks, so the peer can work on one while
        the next is made, and threads on several at once.
        """
        if n < 1 or not 1 <= k <= DEPTH:
            raise ContractViolation(f"no extension of {n} correlations of width {k}")
        sizes = [min(STREAMED, n - at) for at in range(0, n, STREAMED)]
        parts = []
        for size in (*sizes, ROWS):
            parts.append(Part(size, self._counter))
            self._counter += k * blocks(size)
        return parts

    def _points(self, n: int, k: int, corrections: Sequence[bytes]) -> list[U8]:
        """The challenge for each part but the mask, once the hashes of all their corrections are
        there.
        """
        self._chain.add(n.to_bytes(8, "little"), bytes([k]), *corrections)
        return self._chain.points(len(corrections) - 1)

    def _hashed(self, parts: Sequence[U8], points: Sequence[U8]) -> U8:
        """The hashes of rows; those of the last part mask them."""
        pairs = list(zip(parts[:-1], points, strict=True))
        return summed(
            list(self._workers.map(lambda pair: kernels.column_hash(*pair), pairs)), parts[-1]
        )

    def _moved(self, rows: U8) -> U8:
        """The rows, each plus its block."""

        def add(at: slice) -> None:
            rows[at] ^= self._chain.offsets(at.stop - at.start, at.start)

        self._workers.each(add, pieces(len(rows)))
        return rows


class SoftSpokenReceiver(_Stream, VoleReceiver):
    """Knows all leaves."""

    def extend(self, n: int, k: int) -> tuple[U8, U8]:
        """(u uint8 `(n,)`, v uint8 `(n,16)`); sends the corrections, and what they are checked
        by.
        """

        def make(part: Part) -> tuple[U8, U8, U8, bytes]:
            u, v, corrections = kernels.vole_receiver(
                self._leaves, part.counter, k, blocks(part.size)
            )
            return u[: part.size], v[: part.size], corrections, hash_of(corrections)

        us, vs, sent = [], [], []
        for u, v, corrections, digest in self._workers.map(make, self._take(n, k)):
            self._channel.send(corrections)
            us.append(u)
            vs.append(v)
            sent.append(digest)
        points = self._points(n, k, sent)
        shown = self._hashed([u[:, None] for u in us], points)[:k]
        self._channel.send(shown)
        self._channel.send(self._chain.digest_of(self._hashed(vs, points)))
        return joined(us[:-1]), self._moved(joined(vs[:-1]))


class SoftSpokenSender(_Stream, VoleSender):
    """Knows all leaves but one per tree, and delta."""

    def __init__(
        self,
        channel: Channel,
        leaves: U8,
        chain: Chain,
        delta: U8,
        workers: Workers | None = None,
    ) -> None:
        super().__init__(channel, leaves, chain, workers)
        self.delta = delta

    def extend(self, n: int, k: int) -> U8:
        """w uint8 `(n,16)` with `w = v + u*delta`; receives the corrections. Raises
        `DeviatingPeer` where the trees' u are not the same.
        """

        def arrived(part: Part) -> tuple[Part, U8]:
            return part, self._channel.recv(correction_bytes(part.size, k))

        def make(given: tuple[Part, U8]) -> tuple[U8, bytes]:
            part, corrections = given
            w = kernels.vole_sender(
                self._leaves, self.delta, part.counter, k, blocks(part.size), corrections
            )
            return w[: part.size], hash_of(corrections)

        made = list(self._workers.map(make, self._take(n, k), arrived))
        ws = [w for w, _ in made]
        points = self._points(n, k, [digest for _, digest in made])
        shown = self._channel.recv(k * PLANE_BYTES).reshape(k, PLANE_BYTES)
        received = self._channel.recv(DIGEST_BYTES).tobytes()
        hashes = self._hashed(ws, points) ^ times_delta(shown, self.delta)
        compare(self._chain.digest_of(hashes), received, "corrections of correlations")
        return self._moved(joined(ws[:-1]))


def joined(parts: Sequence[U8]) -> U8:
    """One after the other."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
