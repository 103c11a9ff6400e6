"""Silent VOLE over F_16 from regular primal LPN, semi-honest: correlations at about 1.7 bits each instead of SoftSpoken's 124.

One *iteration* turns K + t*(h+1) correlations `w = v + u*delta` into n = t * 2^h (Yang, Weng, Lan, Zhang, Wang, CCS 2020, "Ferret", carried
over to F_16; Weng, Yang, Katz, Wang, S&P 2021, "Wolverine", for fields):

1. *Single-point VOLE*, t times. The sender grows a half-tree with offset delta (Guo et al., EUROCRYPT 2023, Figures 4 to 7); the receiver gets all
   leaves but number alpha. Each level costs one block: the receiver announces `shift = u ^ b` for a base correlation and b = 1 - (bit of
   alpha), the sender sends `K_0 ^ w + shift*delta`, and v takes that to `K_b = K_0 + b*delta`. The last level is a hashed 1-of-2 transfer. One more
   correlation, shifted to the noise value beta, and the XOR of all leaves put `leaf + beta*delta` in the hole.
   Leaves are then correlations with u = beta at alpha, 0 elsewhere.
2. *LPN*: both sides add the code's image of the first K correlations: `w = s_w*A + leaves` and so on, see protocols/vole/lpn.py.

The last K + t*(h+1) outputs start the next iteration and are never released. The first iteration starts from SoftSpoken.

Nothing the receiver sends depends on the sender: however many iterations a refill makes, it is one flight each way (lpn.Pool has sizes).
Each tree is hashed under its own AES key, derived from a nonce that the sender draws for every refill: an attacker who tabulates hashes
can aim at one tree at a time (the concern of Guo, Katz, Wang, Weng, Yu, CRYPTO 2020), not at all trees made under one delta.

What leaks: nothing under LPN and correlation robustness. Preconditions: both endpoints get the same calls in the same order.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from moiety.protocols import kernels
from moiety.protocols.channel import Channel
from moiety.protocols.errors import ContractViolation
from moiety.protocols.prg import Prg
from moiety.protocols.vole import VoleReceiver, VoleSender
from moiety.protocols.vole.lpn import BASE_WIDTH, NONCE_BYTES, SMALL, LpnParameters, Pool

Blocks = npt.NDArray[np.uint8]
Holes = npt.NDArray[np.uint16]

#: Public key of the code's entries; any constant does.
CODE_KEY = np.frombuffer(b"moiety LPN code.", np.uint8)
#: Transfers count their tweaks up from 0; the transfers inside a refill count from here.
FIRST_TWEAK = 1 << 63
#: Leaves made and encoded at a time, so that they are still in the cache when the code is added.
_TILE_BYTES = 1 << 18


def multiples(delta: Blocks) -> Blocks:
    """`x * delta`, nibble by nibble in F_16, for all x: uint8 `(16,16)` from uint8 `(16,)`."""
    table = np.zeros((16, 16), np.uint8)
    power = delta
    for bit in range(4):
        table[np.arange(16) >> bit & 1 == 1] ^= power
        power = (power << np.uint8(1) & np.uint8(0xEE)) ^ (power >> np.uint8(3) & np.uint8(0x11)) * np.uint8(3)
    return table


class _Silent:
    """What the two endpoints share: pool, tweaks, and the walk over an iteration's trees."""

    def __init__(self, channel: Channel, prg: Prg, parameters: LpnParameters, batch: int) -> None:
        self.parameters = parameters
        self._channel = channel
        self._prg = prg
        self._pool = Pool(parameters, batch)
        self._tweak = FIRST_TWEAK

    @staticmethod
    def shift_bits(k: int) -> int:
        """u is a full element of F_16, whatever the choice's width."""
        if not 1 <= k <= 4:
            raise ContractViolation(f"no choice of {k} bits")
        return 4

    def _tree_tweaks(self) -> int:
        tweak = self._tweak
        self._tweak += self.parameters.trees
        return tweak

    def _tree_keys(self, nonce: Blocks, iterations: int) -> Blocks:
        """uint8 `(iterations, t, 16)`."""
        trees = self.parameters.trees
        return kernels.aes_ctr(nonce, 0, iterations * trees * 16).reshape(iterations, trees, 16)

    def _tiles(self) -> list[tuple[slice, slice]]:
        """(trees, their leaves), a cacheful at a time."""
        p = self.parameters
        step = max(1, _TILE_BYTES >> (p.depth + 4))
        bounds = [(at, min(at + step, p.trees)) for at in range(0, p.trees, step)]
        return [(slice(a, b), slice(a << p.depth, b << p.depth)) for a, b in bounds]


class SilentSender(_Silent):
    """Knows delta and w."""

    def __init__(self, channel: Channel, bootstrap: VoleSender, prg: Prg, parameters: LpnParameters = SMALL, batch: int = 2) -> None:
        """`bootstrap`: the SoftSpoken sender whose delta this one keeps; it may not be used by anyone else in between two calls of its peer.
        `batch`: iterations a refill makes at least; the peer's must be equal.
        """
        super().__init__(channel, prg, parameters, batch)
        self._bootstrap = bootstrap
        self.delta = bootstrap.delta
        self._multiples = multiples(bootstrap.delta)
        self._base = np.zeros((0, 16), np.uint8)
        self._rows = np.zeros((0, 16), np.uint8)

    def extend(self, n: int, k: int) -> Blocks:
        """w uint8 `(n,16)`. A refill receives one flight and answers with one."""
        refill = self._pool.take(n, k)
        if refill:
            self._refill(refill.iterations)
        w, self._rows = self._rows[:n], self._rows[n:]
        return w

    def _refill(self, iterations: int) -> None:
        p = self.parameters
        if not len(self._base):
            self._base = self._bootstrap.extend(p.reserved, BASE_WIDTH)
        received = self._channel.recv(p.shift_bytes(iterations))
        shifts = kernels.unpack8(received, iterations * p.tree_base, 4).reshape(iterations, p.trees, p.depth + 1)
        nonce = self._prg.bytes(NONCE_BYTES)
        keys = self._tree_keys(nonce, iterations)
        self._channel.send(nonce)
        kept = len(self._rows)
        rows = np.empty((kept + iterations * p.released + p.reserved, 16), np.uint8)
        rows[:kept] = self._rows
        for i in range(iterations):
            # The reserved rows come last, where the next iteration starts to write.
            out = rows[kept + i * p.released :][: p.length]
            self._channel.send(self._iterate(keys[i], shifts[i], out))
            self._base = out[p.released :].copy()
        self._rows = rows[: len(rows) - p.reserved]

    def _iterate(self, keys: Blocks, shifts: Blocks, out: Blocks) -> Blocks:
        """One iteration from `_base`: w goes to `out`, the message is returned as uint8 `(t, h+2, 16)`."""
        p = self.parameters
        seeds, w = self._base[: p.seeds], self._base[p.seeds :].reshape(p.trees, p.depth + 1, 16)
        w = w ^ self._multiples[shifts]  # shifts are public; now w = v + choice*delta
        roots = self._prg.bytes(16 * p.trees).reshape(p.trees, 16)
        message = np.empty((p.trees, p.depth + 2, 16), np.uint8)
        for trees, leaves in self._tiles():
            message[trees, :-1] = kernels.tree_full(keys[trees], self.delta, roots[trees], p.depth, out[leaves])
            message[trees, -1] = np.bitwise_xor.reduce(message[trees, -3:-1], axis=1)  # of all leaves
            kernels.encode_blocks(seeds, CODE_KEY, leaves.start, out[leaves])
        message[:, :-3] ^= w[:, :-2]
        tweak = self._tree_tweaks()
        message[:, -3] ^= kernels.hash_blocks(np.ascontiguousarray(w[:, -2]), tweak)
        message[:, -2] ^= kernels.hash_blocks(w[:, -2] ^ self.delta, tweak)
        message[:, -1] ^= w[:, -1]
        return message


class SilentReceiver(_Silent):
    """Knows u and v."""

    def __init__(self, channel: Channel, bootstrap: VoleReceiver, prg: Prg, parameters: LpnParameters = SMALL, batch: int = 2) -> None:
        """Arguments as `SilentSender`'s."""
        super().__init__(channel, prg, parameters, batch)
        self._bootstrap = bootstrap
        self._base_u = np.zeros(0, np.uint8)
        self._base_v = np.zeros((0, 16), np.uint8)
        self._u = np.zeros(0, np.uint8)
        self._v = np.zeros((0, 16), np.uint8)

    def extend(self, n: int, k: int) -> tuple[Blocks, Blocks]:
        """(u uint8 `(n,)`, below 16, v uint8 `(n,16)`). A refill sends one flight and receives one."""
        refill = self._pool.take(n, k)
        if refill:
            self._refill(refill.iterations)
        u, self._u = self._u[:n], self._u[n:]
        v, self._v = self._v[:n], self._v[n:]
        return u, v

    def _refill(self, iterations: int) -> None:
        p = self.parameters
        if not len(self._base_u):
            self._base_u, self._base_v = self._bootstrap.extend(p.reserved, BASE_WIDTH)
        # u of all iterations needs no answer: all shifts go out at once.
        kept = len(self._u)
        u = np.empty(kept + iterations * p.released, np.uint8)
        u[:kept] = self._u
        holes, shifts, base_u = [], [], self._base_u
        starts = []
        for _ in range(iterations):
            alpha, beta, shift = self._choose(base_u[p.seeds :])
            starts.append((base_u[: p.seeds], alpha, beta))
            holes.append(alpha)
            shifts.append(shift)
            base_u = kernels.encode_nibbles(base_u[: p.seeds], CODE_KEY, p.released, p.reserved, p.depth, alpha, beta)
        self._channel.send(kernels.pack(np.concatenate(shifts), 4))
        self._channel.flush()
        self._base_u = base_u
        for i, (seeds, alpha, beta) in enumerate(starts):  # while the sender works
            at = kept + i * p.released
            u[at : at + p.released] = kernels.encode_nibbles(seeds, CODE_KEY, 0, p.released, p.depth, alpha, beta)
        self._u = u
        self._receive(holes)

    def _choose(self, u: Blocks) -> tuple[Holes, Blocks, Blocks]:
        """(alpha uint16 `(t,)`, beta uint8 `(t,)` in 1..15, shifts uint8 `(t*(h+1),)`) of one iteration."""
        p = self.parameters
        alpha = self._prg.uint64(p.trees, p.depth).astype(np.uint16)
        beta = (np.uint64(1) + (self._prg.uint64(p.trees, 60) * np.uint64(15) >> np.uint64(60))).astype(np.uint8)
        choices = np.empty((p.trees, p.depth + 1), np.uint8)
        choices[:, :-1] = ~alpha[:, None] >> np.arange(p.depth - 1, -1, -1, dtype=np.uint16) & np.uint16(1)
        choices[:, -1] = beta
        return alpha, beta, choices.reshape(-1) ^ u

    def _receive(self, holes: list[Holes]) -> None:
        p = self.parameters
        keys = self._tree_keys(self._channel.recv(NONCE_BYTES), len(holes))
        kept = len(self._v)
        rows = np.empty((kept + len(holes) * p.released + p.reserved, 16), np.uint8)
        rows[:kept] = self._v
        for i, alpha in enumerate(holes):
            message = self._channel.recv(p.trees * (p.depth + 2) * 16).reshape(p.trees, p.depth + 2, 16)
            out = rows[kept + i * p.released :][: p.length]
            self._iterate(keys[i], alpha, message, out)
            self._base_v = out[p.released :].copy()
        self._v = rows[: len(rows) - p.reserved]

    def _iterate(self, keys: Blocks, alpha: Holes, message: Blocks, out: Blocks) -> None:
        """One iteration from `_base_v`: v goes to `out`."""
        p = self.parameters
        seeds, v = self._base_v[: p.seeds], self._base_v[p.seeds :].reshape(p.trees, p.depth + 1, 16)
        sums = np.empty((p.trees, p.depth + 1, 16), np.uint8)
        sums[:, :-2] = message[:, :-3] ^ v[:, :-2]
        left, right = message[:, -3], message[:, -2]
        wants_left = -(alpha & np.uint16(1)).astype(np.uint8)[:, None]
        pad = kernels.hash_blocks(np.ascontiguousarray(v[:, -2]), self._tree_tweaks())
        sums[:, -2] = right ^ ((left ^ right) & wants_left) ^ pad
        sums[:, -1] = message[:, -1] ^ v[:, -1]
        for trees, leaves in self._tiles():
            kernels.tree_punctured(keys[trees], alpha[trees], sums[trees], p.depth, out[leaves])
            kernels.encode_blocks(seeds, CODE_KEY, leaves.start, out[leaves])
