"""Silent VOLE over F_16 from regular primal LPN, semi-honest: correlations at about 1.7 bits each
instead of SoftSpoken's 124.

One *iteration* turns K + t*(h+1) correlations `w = v + u*delta` into n = t * 2^h (Yang, Weng, Lan,
Zhang, Wang, CCS 2020, "Ferret", carried over to F_16; Weng, Yang, Katz, Wang, S&P 2021,
"Wolverine", for fields):

1. *Single-point VOLE*, t times. The sender grows a half-tree with offset delta (Guo et al.,
   EUROCRYPT 2023: correlated GGM with a pseudorandom last level); the receiver gets all leaves but
   number alpha. Each level costs one block: the receiver announces `shift = u ^ b` for a base
   correlation and b = 1 - (bit of alpha), the sender sends `K_0 ^ w + shift*delta`, and v takes
   that to `K_b = K_0 + b*delta`. The last level is a hashed 1-of-2 transfer. One more correlation,
   shifted to the noise value beta, and the XOR of all leaves put `leaf + beta*delta` in the hole.
   Leaves are then correlations with u = beta at alpha, 0 elsewhere.
2. *LPN*: both sides add the code's image of the first K correlations: `w = s_w*A + leaves` and so
   on, see protocols/ot/lpn.py.

A correlation for a k-bit choice has u in all of F_16; the receiver sends its bits k..3, which are
uniform and of no further use, and the sender adds their part to w: what remains is what SoftSpoken
would have made, `u < 2^k`.

The last K + t*(h+1) outputs start the next iteration and are never released. The first iteration
starts from SoftSpoken.

Nothing the receiver sends depends on the sender: however many iterations a refill makes, it is one
flight each way (lpn.Pool has flights and sizes).

Public randomness is fresh for every refill and comes from the party whom it protects. The sender
draws a nonce from which every tree gets its own AES key: an attacker who tabulates hashes can aim
at one tree at a time (the concern of Guo, Katz, Wang, Weng, Yu, CRYPTO 2020), not at all trees made
under one delta. The receiver, whose u is what LPN hides, draws the seed of the code: no work on one
code serves against another refill. The transfers inside a refill are hashed under keys of the
connection, apart from those of the transfers above (ot/keys).

What leaks: nothing under LPN and correlation robustness. Preconditions: both endpoints get the same
calls in the same order, and `HashKeys` at the same count.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from moiety.protocols import kernels
from moiety.protocols.arrays import U8, U16
from moiety.protocols.channel import Channel
from moiety.protocols.ot.keys import HashKeys
from moiety.protocols.ot.lpn import BASE_WIDTH, NONCE_BYTES, SMALL, LpnParameters, Pool, high_bytes
from moiety.protocols.ot.vole import VoleReceiver, VoleSender
from moiety.protocols.parallel import LEAST, Workers
from moiety.protocols.prg import Prg


class _Silent:
    """What the two endpoints share: pool, keys of the hash, keys of the trees."""

    def __init__(
        self,
        channel: Channel,
        prg: Prg,
        keys: HashKeys,
        parameters: LpnParameters,
        batch: int,
        workers: Workers | None,
    ) -> None:
        self.parameters = parameters
        self._channel = channel
        self._prg = prg
        self._keys = keys
        self._workers = workers or Workers()
        self._pool = Pool(parameters, batch)

    def _encode(self, code: U8, seeds: U8, out: U8) -> None:
        """Add the image under the code of seed `code` to all rows of `out`; threads share them."""

        def part(rows: slice) -> None:
            kernels.encode_blocks(seeds, code, rows.start, out[rows])

        for _ in self._workers.map(part, self._workers.ranges(len(out))):
            pass

    def _encode_u(self, code: U8, seeds: U8, n: int, holes: U16, values: U8) -> U8:
        """The first n outputs of the code for single elements, with the noise; threads
        share them.
        """

        def part(rows: slice) -> U8:
            size = rows.stop - rows.start
            return kernels.encode_nibbles(
                seeds, code, rows.start, size, self.parameters.depth, holes, values
            )

        return np.concatenate(list(self._workers.map(part, self._workers.ranges(n))))

    def _grow(self, out: U8, grow: Callable[[slice, U8], None]) -> None:
        """`grow` all trees' leaves into their rows of `out`; threads share the trees."""
        p = self.parameters

        def part(trees: slice) -> None:
            grow(trees, out[trees.start << p.depth : trees.stop << p.depth])

        least = max(1, LEAST >> p.depth)
        for _ in self._workers.map(part, self._workers.ranges(p.trees, grain=1, least=least)):
            pass

    def _tree_keys(self, nonce: U8, iterations: int) -> U8:
        """uint8 `(iterations, t, 16)`."""
        trees = self.parameters.trees
        return kernels.aes_ctr(nonce, 0, iterations * trees * 16).reshape(iterations, trees, 16)


class SilentSender(_Silent):
    """Knows delta and w."""

    def __init__(
        self,
        channel: Channel,
        bootstrap: VoleSender,
        prg: Prg,
        keys: HashKeys,
        parameters: LpnParameters = SMALL,
        batch: int = 2,
        workers: Workers | None = None,
    ) -> None:
        """`bootstrap`: the SoftSpoken sender whose delta this one keeps; it is called once, by the
        first `extend`. `parameters` and `batch` (the iterations that a refill makes at least) must
        be the peer's.
        """
        super().__init__(channel, prg, keys, parameters, batch, workers)
        self._bootstrap = bootstrap
        self.delta = bootstrap.delta
        self._base = np.zeros((0, 16), np.uint8)
        self._rows = np.zeros((0, 16), np.uint8)

    def extend(self, n: int, k: int) -> U8:
        """w uint8 `(n,16)`, of which k says how many bits u has."""
        iterations = self._pool.take(n, k).iterations
        if iterations:
            self._refill(iterations)
        w, self._rows = self._rows[:n], self._rows[n:]
        if k < 4:
            high = kernels.unpack8(self._channel.recv(high_bytes(n, k)), n, 4 - k)
            kernels.add_multiples(w, self.delta, high << np.uint8(k))
        return w

    def _refill(self, iterations: int) -> None:
        p = self.parameters
        if not len(self._base):
            self._base = np.ascontiguousarray(self._bootstrap.extend(p.reserved, BASE_WIDTH))
        received = self._channel.recv(p.shift_bytes(iterations))
        code, packed_shifts = received[:NONCE_BYTES], received[NONCE_BYTES:]
        shifts = kernels.unpack8(packed_shifts, iterations * p.tree_base, 4).reshape(
            iterations, p.tree_base
        )
        nonce = self._prg.bytes(NONCE_BYTES)
        keys = self._tree_keys(nonce, iterations)
        self._channel.send(nonce)
        kept = len(self._rows)
        rows = np.empty((kept + iterations * p.released + p.reserved, 16), np.uint8)
        rows[:kept] = self._rows
        for i in range(iterations):
            # The reserved rows come last, where the next iteration starts to write.
            out = rows[kept + i * p.released :][: p.length]
            self._channel.send(self._iterate(code, keys[i], shifts[i], out))
            self._base = out[p.released :].copy()
        self._rows = rows[: len(rows) - p.reserved]

    def _iterate(self, code: U8, keys: U8, shifts: U8, out: U8) -> U8:
        """One iteration from `_base`: w goes to `out`, the message is returned as uint8
        `(t, h+2, 16)`.
        """
        p = self.parameters
        seeds, base = self._base[: p.seeds], self._base[p.seeds :]
        kernels.add_multiples(base, self.delta, shifts)  # now base = v + choice*delta
        w = base.reshape(p.trees, p.depth + 1, 16)
        roots = self._prg.bytes(16 * p.trees).reshape(p.trees, 16)
        message = np.empty((p.trees, p.depth + 2, 16), np.uint8)

        def grow(trees: slice, leaves: U8) -> None:
            message[trees, :-1] = kernels.tree_full(
                keys[trees], self.delta, roots[trees], p.depth, leaves
            )

        self._grow(out, grow)
        message[:, -1] = message[:, -3] ^ message[:, -2]  # of all leaves
        self._encode(code, seeds, out)
        message[:, :-3] ^= w[:, :-2]
        key = self._keys.take(p.trees, 1)
        message[:, -3] ^= kernels.hash_blocks(np.ascontiguousarray(w[:, -2]), key)
        message[:, -2] ^= kernels.hash_blocks(w[:, -2] ^ self.delta, key)
        message[:, -1] ^= w[:, -1]
        return message


class SilentReceiver(_Silent):
    """Knows u and v."""

    def __init__(
        self,
        channel: Channel,
        bootstrap: VoleReceiver,
        prg: Prg,
        keys: HashKeys,
        parameters: LpnParameters = SMALL,
        batch: int = 2,
        workers: Workers | None = None,
    ) -> None:
        """Arguments as `SilentSender`'s."""
        super().__init__(channel, prg, keys, parameters, batch, workers)
        self._bootstrap = bootstrap
        self._base_u = np.zeros(0, np.uint8)
        self._base_v = np.zeros((0, 16), np.uint8)
        self._u = np.zeros(0, np.uint8)
        self._v = np.zeros((0, 16), np.uint8)

    def extend(self, n: int, k: int) -> tuple[U8, U8]:
        """(u uint8 `(n,)`, below 2^k, v uint8 `(n,16)`)."""
        iterations = self._pool.take(n, k).iterations
        if iterations:
            self._refill(iterations)
        u, self._u = self._u[:n], self._u[n:]
        v, self._v = self._v[:n], self._v[n:]
        if k < 4:
            self._channel.send(kernels.pack(u >> np.uint8(k), 4 - k))
            u = u & np.uint8((1 << k) - 1)
        return u, v

    def _refill(self, iterations: int) -> None:
        p = self.parameters
        if not len(self._base_u):
            self._base_u, self._base_v = self._bootstrap.extend(p.reserved, BASE_WIDTH)
        # u of all iterations needs no answer: all shifts go out at once.
        kept = len(self._u)
        u = np.empty(kept + iterations * p.released, np.uint8)
        u[:kept] = self._u
        code = self._prg.bytes(NONCE_BYTES)
        holes, shifts, base_u = [], [], self._base_u
        starts = []
        for _ in range(iterations):
            alpha, beta, shift = self._choose(base_u[p.seeds :])
            starts.append((base_u[: p.seeds], alpha, beta))
            holes.append(alpha)
            shifts.append(shift)
            base_u = kernels.encode_nibbles(
                base_u[: p.seeds], code, p.released, p.reserved, p.depth, alpha, beta
            )
        self._channel.send(code)
        self._channel.send(kernels.pack(np.concatenate(shifts), 4))
        self._channel.flush()
        self._base_u = base_u
        for i, (seeds, alpha, beta) in enumerate(starts):  # while the sender works
            at = kept + i * p.released
            u[at : at + p.released] = self._encode_u(code, seeds, p.released, alpha, beta)
        self._u = u
        self._receive(code, holes)

    def _choose(self, u: U8) -> tuple[U16, U8, U8]:
        """(alpha uint16 `(t,)`, beta uint8 `(t,)` in 1..15, shifts uint8 `(t*(h+1),)`) of
        one iteration.
        """
        p = self.parameters
        alpha = self._prg.uint64(p.trees, p.depth).astype(np.uint16)
        beta = (
            np.uint64(1) + (self._prg.uint64(p.trees, 60) * np.uint64(15) >> np.uint64(60))
        ).astype(np.uint8)
        choices = np.empty((p.trees, p.depth + 1), np.uint8)
        choices[:, :-1] = ~alpha[:, None] >> np.arange(
            p.depth - 1, -1, -1, dtype=np.uint16
        ) & np.uint16(1)
        choices[:, -1] = beta
        return alpha, beta, choices.reshape(-1) ^ u

    def _receive(self, code: U8, holes: list[U16]) -> None:
        p = self.parameters
        keys = self._tree_keys(self._channel.recv(NONCE_BYTES), len(holes))
        kept = len(self._v)
        rows = np.empty((kept + len(holes) * p.released + p.reserved, 16), np.uint8)
        rows[:kept] = self._v
        for i, alpha in enumerate(holes):
            message = self._channel.recv(p.trees * (p.depth + 2) * 16).reshape(
                p.trees, p.depth + 2, 16
            )
            out = rows[kept + i * p.released :][: p.length]
            self._iterate(code, keys[i], alpha, message, out)
            self._base_v = out[p.released :].copy()
        self._v = rows[: len(rows) - p.reserved]

    def _iterate(self, code: U8, keys: U8, alpha: U16, message: U8, out: U8) -> None:
        """One iteration from `_base_v`: v goes to `out`."""
        p = self.parameters
        seeds, v = (
            self._base_v[: p.seeds],
            self._base_v[p.seeds :].reshape(p.trees, p.depth + 1, 16),
        )
        sums = np.empty((p.trees, p.depth + 1, 16), np.uint8)
        sums[:, :-2] = message[:, :-3] ^ v[:, :-2]
        left, right = message[:, -3], message[:, -2]
        wants_left = -(alpha & np.uint16(1)).astype(np.uint8)[:, None]
        pad = kernels.hash_blocks(np.ascontiguousarray(v[:, -2]), self._keys.take(p.trees, 1))
        sums[:, -2] = right ^ ((left ^ right) & wants_left) ^ pad
        sums[:, -1] = message[:, -1] ^ v[:, -1]

        def grow(trees: slice, leaves: U8) -> None:
            kernels.tree_punctured(keys[trees], alpha[trees], sums[trees], p.depth, leaves)

        self._grow(out, grow)
        self._encode(code, seeds, out)
