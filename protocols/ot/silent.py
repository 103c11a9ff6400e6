"""Silent VOLE over F_2 and F_16 from regular primal LPN: correlations at about 1.4
bits each over F_2 and 1.7 over F_16, instead of SoftSpoken's 31 per bit of the choice.

One *iteration* turns K + t*h (F_16: t*(h+1)) correlations `w = v + u*delta` into n = t * 2^h (Yang,
Weng, Lan, Zhang, Wang, CCS 2020, "Ferret", also carried over to F_16; Weng, Yang, Katz, Wang, S&P
2021, "Wolverine", for fields):

1. *Single-point VOLE*, t times. The sender grows a half-tree with offset delta (Guo et al.,
   EUROCRYPT 2023); the receiver gets all leaves but number alpha. Each level costs one block: the
   receiver announces `shift = u ^ b` for a base correlation and b = 1 - (bit of alpha), the sender
   sends `K_0 ^ w + shift*delta`, and v takes that to `K_b = K_0 + b*delta`. Over F_2 all levels are
   so (correlated GGM): the receiver's XOR of all other leaves is the missing one plus delta, the
   correlation with u = 1 at alpha. Over F_16 the last level is a hashed 1-of-2 transfer
   (pseudo-random leaves); one more correlation, shifted to the noise value beta, and the XOR of all
   leaves put `leaf + beta*delta` in the hole. Leaves are then correlations with u = beta at alpha,
   0 elsewhere.
2. *LPN*: both sides add the code's image of the first K correlations: `w = s_w*A + leaves` and so
   on, see protocols/ot/lpn.py.

Rows are made when they are asked for, a tree at a time (kernels.expand_full, expand_punctured):
between a refill and its use only the seeds, the keys and the sums of the trees are kept. What a
tree is checked by (ot/tree_checks) is made with its rows, and goes to the tally (ot/tally). The
receiver's u needs nothing from the sender, and its v is made while a transfer waits for its answer.

The iterations of a refill have one code, so two of them are made side by side: an entry of the code
is made once and reads both seeds at one place. Outputs are released in that order, a tree of the
one, then a tree of the other.

A correlation over F_16 for a k-bit choice has u in all of F_16; the receiver sends its bits k..3,
which are uniform and of no further use, and the sender adds their part to w: what remains is what
SoftSpoken would have made, `u < 2^k`.

The outputs of the last trees start the next iteration and are never released. The first iteration
starts from SoftSpoken.

Nothing the receiver sends depends on the sender, so a refill of any number of iterations takes no
flight of its own. All its shifts leave with the choices that asked for it, the answers in front of
the sender's next flight (`Channel.expect`); the receiver takes them for v (lpn.Pool has sizes).

Public randomness is fresh for every refill and comes from the party whom it protects. The sender
draws a nonce from which every tree gets its own AES key: an attacker who tabulates hashes can aim
at one tree at a time (the concern of Guo, Katz, Wang, Weng, Yu, CRYPTO 2020), not at all trees made
under one delta. The receiver, whose u is what LPN hides, draws the seed of the code: no work on one
code serves against another refill. The transfers inside a refill are hashed under keys of the
connection, apart from those of the transfers above (ot/keys).

What leaks: nothing under LPN and the circular correlation robustness of the hash: the receiver is
shown hashes plus multiples of delta (kernels' reference, blocks.sigma). A receiver that deviates in
its shifts has other noise, or over F_16 nodes that it does not know, and nothing else, as the base
correlations are checked; a sender that deviates in its answers is caught by the tally (ot/tally).
Preconditions: both endpoints get the same calls in the same order, and `HashKeys` at the same
count.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from moiety.protocols import kernels
from moiety.protocols.arrays import U8, U16
from moiety.protocols.channel import Channel
from moiety.protocols.ot.consistency import Chain
from moiety.protocols.ot.forest import Forest
from moiety.protocols.ot.keys import HashKeys
from moiety.protocols.ot.lpn import NIBBLES, NONCE_BYTES, LpnParameters, Pool
from moiety.protocols.ot.stock import Make, Source, Stock
from moiety.protocols.ot.tally import NONE, Tally, answer_hash
from moiety.protocols.ot.tree_checks import elements_of
from moiety.protocols.ot.vole import VoleReceiver, VoleSender
from moiety.protocols.parallel import Workers, pieces
from moiety.protocols.prg import Prg

_SIDE = 2
"""Iterations whose outputs are made side by side."""


class _Silent:
    """What the two endpoints share: pool, keys of the hash, keys of the trees."""

    def __init__(
        self,
        channel: Channel,
        prg: Prg,
        keys: HashKeys,
        parameters: LpnParameters,
        batch: int,
        chain: Chain | None,
        workers: Workers | None,
    ) -> None:
        self.parameters = parameters
        self.tally = Tally(chain or Chain(bytes(32)))
        self._channel = channel
        self._prg = prg
        self._keys = keys
        self._threads = (workers or Workers()).pool
        self._pool = Pool(parameters, batch)
        self._rows = Stock((16,))
        self._unmade: deque[Callable[[], None]] = deque()

    def _expand(self, forest: Forest, trees: slice, rows: U8) -> tuple[U8, U8]:
        """The rows of these trees of each iteration; returns what they are checked by, as
        `Tally.add` takes it.
        """
        raise NotImplementedError

    def _make(self, forest: Forest, trees: slice, rows: U8) -> None:
        self.tally.add(*self._expand(forest, trees, rows))

    def _release(self, forests: Sequence[Forest]) -> None:
        """The iterations of a refill are taken from now on."""
        for at in range(0, len(forests), _SIDE):
            forest = Forest.side_by_side(forests[at : at + _SIDE], self.parameters.released_trees)
            self._rows.add(self._source(partial(self._make, forest), forest.side))

    def _source(self, make: Make, side: int) -> Source:
        """The released outputs of `side` iterations, from what makes some trees of each."""
        p, grain = self.parameters, side << self.parameters.depth

        def whole(outputs: slice, to: U8) -> None:
            make(slice(outputs.start // grain, outputs.stop // grain), to)

        return Source(whole, side * p.released, grain)

    def _reserved(self, forest: Forest) -> tuple[U8, tuple[U8, U8]]:
        """The rows that the next iteration starts from, and what they are checked by."""
        p = self.parameters
        rows = np.empty((p.length - p.released, 16), np.uint8)
        checks = self._expand(forest, slice(p.released_trees, p.trees), rows)
        return rows[: p.reserved], checks

    def _later(self, rows: Callable[[], U8]) -> Callable[[], U8]:
        """What makes these rows, once, after all that was begun before: the tally takes the rows of
        both parties in one order.
        """
        late: list[U8] = []
        self._unmade.append(lambda: late.append(rows()))

        def make() -> U8:
            while not late:
                self._unmade.popleft()()
            return late[0]

        return make

    def make_all(self) -> None:
        """All rows that were begun, so that the tally has them."""
        while self._unmade:
            self._unmade.popleft()()

    def _checks(self, trees: int) -> U8:
        """Room for what trees are checked by."""
        return np.empty((trees, self.parameters.checks, 16), np.uint8)

    def _tree_keys(self, nonce: U8, iterations: int) -> U8:
        """uint8 `(iterations, t, 16)`."""
        trees = self.parameters.trees
        return kernels.aes_ctr(nonce, 0, iterations * trees * 16).reshape(iterations, trees, 16)


class SilentSender(_Silent, VoleSender):
    """Knows delta and w."""

    def __init__(
        self,
        channel: Channel,
        bootstrap: VoleSender,
        prg: Prg,
        keys: HashKeys,
        parameters: LpnParameters = NIBBLES,
        batch: int = 2,
        chain: Chain | None = None,
        workers: Workers | None = None,
    ) -> None:
        """`bootstrap`: the SoftSpoken sender whose delta this one keeps; it is called once, by the
        first `extend`. `parameters`, `batch` (the iterations that a refill makes at least) and
        `chain` must be the peer's.
        """
        super().__init__(channel, prg, keys, parameters, batch, chain, workers)
        self._bootstrap = bootstrap
        self.delta = bootstrap.delta
        self._base = np.zeros((0, 16), np.uint8)
        self._sent: list[U8] = []  # the answer of the latest refill

    def extend(self, n: int, k: int) -> U8:
        """w uint8 `(n,16)`, of which k says how many bits u has."""
        return self.begin(n, k)()

    def begin(self, n: int, k: int) -> Callable[[], U8]:
        """What makes w, see `VoleSender`."""
        p = self.parameters
        iterations = self._pool.take(n, k).iterations
        if iterations:
            self._refill(iterations)
        high = self._channel.recv(p.high_bytes(n, k)) if k < p.width else None

        def rows() -> U8:
            w = self._rows.take(n)
            if high is not None:
                upper = kernels.unpack8(high, n, p.width - k, self._threads) << np.uint8(k)
                kernels.add_multiples(w, self.delta, upper, self._threads)
            self.tally.used()
            return w

        return self._later(rows)

    def _refill(self, iterations: int) -> None:
        p = self.parameters
        if not len(self._base):
            self._base = np.ascontiguousarray(self._bootstrap.extend(p.reserved, p.width))
        size = p.trees * p.levels
        received = self._channel.recv(p.shift_bytes(iterations))
        code, packed_shifts = received[:NONCE_BYTES], received[NONCE_BYTES:]
        shifts = kernels.unpack8(packed_shifts, iterations * size, p.width, self._threads)
        shifts = shifts.reshape(iterations, size)
        nonce = self._prg.bytes(NONCE_BYTES)
        keys = self._tree_keys(nonce, iterations)
        self._channel.send(nonce, ahead=True)
        self._sent = [nonce]
        made = [self._iterate(code, keys[i], shifts[i]) for i in range(iterations)]
        self._release([forest for forest, _ in made])
        answer = answer_hash(self._sent)

        def tallied() -> None:
            self.tally.refilled(code, answer)
            for _, checks in made:
                self.tally.add(*checks)

        self._unmade.append(tallied)

    def _iterate(self, code: U8, keys: U8, shifts: U8) -> tuple[Forest, tuple[U8, U8]]:
        """One iteration from `_base`, with what its reserved rows are checked by: sends its answer
        ahead, uint8 `(t, tree_blocks, 16)`.
        """
        p = self.parameters
        seeds, base = self._base[: p.seeds], self._base[p.seeds :]
        kernels.add_multiples(
            base, self.delta, shifts, self._threads
        )  # now base = v + choice*delta
        roots = self._prg.bytes(16 * p.trees).reshape(p.trees, 16)
        sums = kernels.tree_sums(keys, self.delta, roots, p.depth, p.width, self._threads)

        answer = self._answer(sums, base.reshape(p.trees, p.levels, 16))
        self._channel.send(answer, ahead=True)
        self._sent.append(answer)
        forest = Forest((keys, roots), seeds, code)
        self._base, checks = self._reserved(forest)
        return forest, checks

    def _expand(self, forest: Forest, trees: slice, rows: U8) -> tuple[U8, U8]:
        keys, roots = forest.at(trees)
        p, checks = self.parameters, self._checks(len(keys))
        kernels.expand_full(
            keys,
            self.delta,
            roots,
            p.depth,
            p.width,
            forest.seeds,
            forest.code,
            trees.start << p.depth,
            rows,
            checks,
            self._threads,
        )
        return checks, NONE

    def _answer(self, sums: U8, w: U8) -> U8:
        if self.parameters.width == 1:
            return sums ^ w
        answer = np.empty((len(sums), self.parameters.tree_blocks, 16), np.uint8)
        key = self._keys.take(len(sums), 1)
        last = np.ascontiguousarray(w[:, -2])
        answer[:, :-3] = sums[:, :-2] ^ w[:, :-2]
        answer[:, -3] = sums[:, -2] ^ kernels.hash_blocks(last, key)
        answer[:, -2] = sums[:, -1] ^ kernels.hash_blocks(last ^ self.delta, key)
        answer[:, -1] = sums[:, -2] ^ sums[:, -1] ^ w[:, -1]  # of all leaves
        return answer


class SilentReceiver(_Silent, VoleReceiver):
    """Knows u and v."""

    def __init__(
        self,
        channel: Channel,
        bootstrap: VoleReceiver,
        prg: Prg,
        keys: HashKeys,
        parameters: LpnParameters = NIBBLES,
        batch: int = 2,
        chain: Chain | None = None,
        workers: Workers | None = None,
    ) -> None:
        """Arguments as `SilentSender`'s."""
        super().__init__(channel, prg, keys, parameters, batch, chain, workers)
        self._bootstrap = bootstrap
        self._base_u = np.zeros(0, np.uint8)
        self._base_v = np.zeros((0, 16), np.uint8)
        self._elements = Stock(())

    def extend(self, n: int, k: int) -> tuple[U8, U8]:
        """(u uint8 `(n,)`, below 2^k, v uint8 `(n,16)`)."""
        u, v = self.begin(n, k)
        return u, v()

    def begin(self, n: int, k: int) -> tuple[U8, Callable[[], U8]]:
        """(u, what makes v), see `VoleReceiver`."""
        p = self.parameters
        iterations = self._pool.take(n, k).iterations
        if iterations:
            self._refill(iterations)
        u = self._elements.take(n)
        if k < p.width:
            u = self._send_high(u, k)

        def rows() -> U8:
            v = self._rows.take(n)
            self.tally.used()
            return v

        return u, self._later(rows)

    def _send_high(self, u: U8, k: int) -> U8:
        """Gives away the bits of u that a k-bit choice does not need; returns the others."""
        for at in pieces(u.size):
            high = u[at] >> np.uint8(k)
            self._channel.send(kernels.pack(high, self.parameters.width - k, self._threads))
        return u & np.uint8((1 << k) - 1)

    def _refill(self, iterations: int) -> None:
        p = self.parameters
        if not len(self._base_u):
            self._base_u, v = self._bootstrap.extend(p.reserved, p.width)
            self._base_v = np.ascontiguousarray(v)
        # u of all iterations needs no answer: all shifts go out at once.
        code = self._prg.bytes(NONCE_BYTES)
        instances: list[_Instances] = []
        shifts = []
        for _ in range(iterations):
            alpha, beta, shift = self._choose(self._base_u[p.seeds :])
            instance = _Instances(code, self._base_u[: p.seeds], alpha[None], beta[None])
            instances.append(instance)
            shifts.append(shift)
            self._base_u = self._encode(instance, slice(p.released, p.released + p.reserved))
        self._channel.send(code)
        self._channel.send(kernels.pack(np.concatenate(shifts), p.width))
        answer = self._channel.expect(p.answer_bytes(iterations))
        self._unmade.append(lambda: self._take(code, answer(), instances))
        for at in range(0, iterations, 8 // p.width):
            self._stock_elements(_Instances.packed(instances[at : at + 8 // p.width], p.width))

    def _encode(self, instances: _Instances, outputs: slice) -> U8:
        """u of these outputs, of all instances side by side in a byte."""
        p = self.parameters
        return kernels.encode_elements(
            instances.seeds,
            instances.code,
            outputs.start,
            outputs.stop - outputs.start,
            p.depth,
            p.width,
            instances.holes,
            instances.values,
            self._threads,
        )

    def _stock_elements(self, instances: _Instances) -> None:
        """The u of instances that share a byte are made together, when the first ones' are asked
        for: the code is the same.
        """
        p = self.parameters
        packed, made = np.empty(p.released, np.uint8), 0

        def make(places: range, trees: slice, elements: U8) -> None:
            nonlocal made
            start, stop = trees.start << p.depth, trees.stop << p.depth
            if stop > made:
                packed[made:stop] = self._encode(instances, slice(made, stop))
                made = stop
            bytes_ = packed[start:stop].reshape(-1, 1 << p.depth)
            of_each = elements.reshape(-1, len(places), 1 << p.depth)
            for i, place in enumerate(places):
                np.right_shift(bytes_, np.uint8(place), out=of_each[:, i])
            elements &= np.uint8((1 << p.width) - 1)

        count = len(instances.holes)
        for first in range(0, count, _SIDE):
            side = min(_SIDE, count - first)
            places = range(p.width * first, p.width * (first + side), p.width)
            self._elements.add(self._source(partial(make, places), side))

    def _choose(self, u: U8) -> tuple[U16, U8, U8]:
        """(alpha uint16 `(t,)`, beta uint8 `(t,)`, not zero, shifts uint8 `(t*levels,)`) of one
        iteration.
        """
        p = self.parameters
        alpha = self._prg.uint64(p.trees, p.depth).astype(np.uint16)
        choices = np.empty((p.trees, p.levels), np.uint8)
        choices[:, : p.depth] = ~alpha[:, None] >> np.arange(
            p.depth - 1, -1, -1, dtype=np.uint16
        ) & np.uint16(1)
        if p.width == 1:
            beta = np.ones(p.trees, np.uint8)
        else:
            beta = (
                np.uint64(1) + (self._prg.uint64(p.trees, 60) * np.uint64(15) >> np.uint64(60))
            ).astype(np.uint8)
            choices[:, p.depth] = beta
        return alpha, beta, choices.reshape(-1) ^ u

    def _take(self, code: U8, answer: U8, instances: Sequence[_Instances]) -> None:
        """The answer of a refill."""
        p = self.parameters
        keys = self._tree_keys(answer[:NONCE_BYTES], len(instances))
        blocks = answer[NONCE_BYTES:].reshape(len(instances), p.trees, p.tree_blocks, 16)
        self.tally.refilled(code, answer_hash([answer]))
        forests = []
        for key, instance, block in zip(keys, instances, blocks, strict=True):
            forest, checks = self._iterate(code, key, instance.holes[0], instance.values[0], block)
            forests.append(forest)
            self.tally.add(*checks)
        self._release(forests)

    def _iterate(
        self, code: U8, keys: U8, alpha: U16, beta: U8, answer: U8
    ) -> tuple[Forest, tuple[U8, U8]]:
        """One iteration from `_base_v`, with what its reserved rows are checked by."""
        p = self.parameters
        seeds, v = self._base_v[: p.seeds], self._base_v[p.seeds :]
        sums = self._opened(answer, v.reshape(p.trees, p.levels, 16), alpha)
        elements = elements_of(alpha, beta, p.depth, p.width)
        forest = Forest((keys, alpha, sums, elements), seeds, code)
        self._base_v, checks = self._reserved(forest)
        return forest, checks

    def _expand(self, forest: Forest, trees: slice, rows: U8) -> tuple[U8, U8]:
        keys, holes, sums, elements = forest.at(trees)
        p, checks = self.parameters, self._checks(len(keys))
        kernels.expand_punctured(
            keys,
            holes,
            sums,
            p.depth,
            p.width,
            forest.seeds,
            forest.code,
            trees.start << p.depth,
            rows,
            checks,
            self._threads,
        )
        return checks, elements

    def _opened(self, answer: U8, v: U8, alpha: U16) -> U8:
        """The sums that expand_punctured takes."""
        if self.parameters.width == 1:
            return answer ^ v
        sums = np.empty_like(v)
        sums[:, :-2] = answer[:, :-3] ^ v[:, :-2]
        left, right = answer[:, -3], answer[:, -2]
        wants_left = -(alpha & np.uint16(1)).astype(np.uint8)[:, None]
        pad = kernels.hash_blocks(np.ascontiguousarray(v[:, -2]), self._keys.take(len(v), 1))
        sums[:, -2] = right ^ ((left ^ right) & wants_left) ^ pad
        sums[:, -1] = answer[:, -1] ^ v[:, -1]
        return sums


@dataclass(frozen=True)
class _Instances:
    """What u of one or more iterations is made of, side by side in a byte: seed of the code
    uint8 `(16,)`, seeds uint8 `(K,)`, holes uint16 `(instances, t)`, values of the noise uint8
    `(instances, t)`.
    """

    code: U8
    seeds: U8
    holes: U16
    values: U8

    @classmethod
    def packed(cls, instances: list[_Instances], width: int) -> _Instances:
        """Single instances of one code, as many as a byte has elements of `width` bits or fewer."""
        places = width * np.arange(len(instances), dtype=np.uint8)[:, None]
        return cls(
            instances[0].code,
            np.bitwise_or.reduce(np.stack([each.seeds for each in instances]) << places),
            np.concatenate([each.holes for each in instances]),
            np.concatenate([each.values for each in instances]) << places,
        )
