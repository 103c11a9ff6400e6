"""Silent VOLE over F_2 and F_16 from regular primal LPN, semi-honest: correlations at about 1.4
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
between a refill and its use only the seeds, the keys and the sums of the trees are kept. The
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
shown hashes plus multiples of delta (kernels' reference, blocks.sigma). Preconditions: both
endpoints get the same calls in the same order, and `HashKeys` at the same count.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from moiety.protocols import kernels
from moiety.protocols.arrays import U8, U16
from moiety.protocols.channel import Channel
from moiety.protocols.ot.keys import HashKeys
from moiety.protocols.ot.lpn import NIBBLES, NONCE_BYTES, LpnParameters, Pool
from moiety.protocols.ot.vole import VoleReceiver, VoleSender
from moiety.protocols.parallel import HANDED_PASSED, Workers
from moiety.protocols.prg import Prg

_HANDED = 1 << 10
"""Rows that take as long as handing a range of them to another thread."""

_SIDE = 2
"""Iterations whose outputs are made side by side."""
_LINE = 64
"""Bytes of a cache line: seeds that lie side by side must not lie in two."""
_BLOCK = np.complex128
"""A type of 16 bytes, which NumPy copies as one."""

Make = Callable[[slice, U8], None]
"""Writes outputs, a range of whole grains, to an array of as many."""


@dataclass(frozen=True)
class _Source:
    """Outputs that are made when they are taken: `length` of them, in whole multiples of
    `grain`.
    """

    make: Make
    length: int
    grain: int


@dataclass
class _Stock:
    """The outputs of sources, one after the other. Of a grain, what was not taken is kept. `shape`
    is an output's.
    """

    shape: tuple[int, ...]
    _sources: deque[_Source] = field(default_factory=deque)
    _at: int = 0  # in the first source
    _rest: U8 = field(init=False)

    def __post_init__(self) -> None:
        self._rest = np.zeros((0, *self.shape), np.uint8)

    def add(self, source: _Source) -> None:
        """One more source."""
        self._sources.append(source)

    def take(self, n: int) -> U8:
        """The next `n` outputs."""
        end = len(self._rest)
        if n <= end:
            taken, self._rest = self._rest[:n], self._rest[n:]
            return taken
        outputs = np.empty(
            (n + max(source.grain for source in self._sources), *self.shape), np.uint8
        )
        outputs[:end] = self._rest
        while end < n:
            source = self._sources[0]
            lacking = -(-(n - end) // source.grain) * source.grain
            size = min(lacking, source.length - self._at)
            source.make(slice(self._at, self._at + size), outputs[end : end + size])
            end, self._at = end + size, self._at + size
            if self._at == source.length:
                self._sources.popleft()
                self._at = 0
        self._rest = outputs[n:end].copy()
        return outputs[:n]


@dataclass(frozen=True)
class _Forest:
    """What the rows of one iteration, or of two side by side, are made of.

    trees: the arrays that the kernel takes an element of for each tree; of two iterations the trees
    alternate. seeds: uint8 `(K, 16)`, of two iterations `(K, 32)`. code: its key, uint8 `(16,)`.
    """

    trees: tuple[npt.NDArray[Any], ...]
    seeds: U8
    code: U8

    @property
    def side(self) -> int:
        """Iterations."""
        return self.seeds.shape[1] // 16

    def at(self, trees: slice) -> tuple[npt.NDArray[Any], ...]:
        """Some of the trees."""
        return tuple(array[trees] for array in self.trees)

    @classmethod
    def side_by_side(cls, forests: Sequence[_Forest], count: int) -> _Forest:
        """The first `count` trees of each, of one code."""
        if len(forests) == 1:
            return cls(forests[0].at(slice(0, count)), forests[0].seeds, forests[0].code)
        trees = (
            np.stack([array[:count] for array in arrays], axis=1)
            for arrays in zip(*(forest.trees for forest in forests), strict=True)
        )
        seeds = _aligned(len(forests[0].seeds), 16 * len(forests))
        for i, forest in enumerate(forests):
            seeds.view(_BLOCK)[:, i] = forest.seeds.view(_BLOCK)[:, 0]
        return cls(
            tuple(array.reshape(-1, *array.shape[2:]) for array in trees), seeds, forests[0].code
        )


def _aligned(rows: int, columns: int) -> U8:
    """An array uint8 `(rows, columns)` that begins with a cache line."""
    buffer = np.empty(rows * columns + _LINE - 1, np.uint8)
    start = -buffer.ctypes.data % _LINE
    return buffer[start : start + rows * columns].reshape(rows, columns)


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
        self._rows = _Stock((16,))

    def _expand(self, trees: tuple[npt.NDArray[Any], ...], *rest: Any) -> None:
        """The kernel that makes rows, `rest` being its arguments from `depth` on."""
        raise NotImplementedError

    def _ranges(self, trees: int, side: int = 1) -> list[slice]:
        """The threads' ranges of so many trees, each of `side` iterations."""
        handed = max(1, _HANDED // side >> self.parameters.depth)
        return self._workers.ranges(trees, grain=1, handed=handed)

    def _grow(self, forest: _Forest, trees: slice, rows: U8) -> None:
        """The rows of these trees of each iteration; threads share them."""
        p, side = self.parameters, forest.side

        def part(at: slice) -> None:
            first, stop = trees.start + at.start, trees.start + at.stop
            self._expand(
                forest.at(slice(side * first, side * stop)),
                p.depth,
                p.width,
                forest.seeds,
                forest.code,
                first << p.depth,
                rows[side * at.start << p.depth : side * at.stop << p.depth],
            )

        self._workers.each(part, self._ranges(trees.stop - trees.start, side))

    def _release(self, forests: Sequence[_Forest]) -> None:
        """The iterations of a refill are taken from now on."""
        p = self.parameters
        for at in range(0, len(forests), _SIDE):
            forest = _Forest.side_by_side(forests[at : at + _SIDE], p.released_trees)
            self._rows.add(self._source(partial(self._grow, forest), forest.side))

    def _source(self, make: Make, side: int) -> _Source:
        """The released outputs of `side` iterations, from what makes some trees of each."""
        p, grain = self.parameters, side << self.parameters.depth

        def whole(outputs: slice, to: U8) -> None:
            make(slice(outputs.start // grain, outputs.stop // grain), to)

        return _Source(whole, side * p.released, grain)

    def _reserved(self, forest: _Forest) -> U8:
        """The rows that the next iteration starts from."""
        p = self.parameters
        rows = np.empty((p.length - p.released, 16), np.uint8)
        self._grow(forest, slice(p.released_trees, p.trees), rows)
        return rows[: p.reserved]

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

    def extend(self, n: int, k: int) -> U8:
        """w uint8 `(n,16)`, of which k says how many bits u has."""
        p = self.parameters
        iterations = self._pool.take(n, k).iterations
        if iterations:
            self._refill(iterations)
        w = self._rows.take(n)
        if k < p.width:
            high, bits = self._channel.recv(p.high_bytes(n, k)), p.width - k

            def part(at: slice) -> None:
                stream = high[at.start * bits // 8 : p.high_bytes(at.stop, k)]
                upper = kernels.unpack8(stream, at.stop - at.start, bits) << np.uint8(k)
                kernels.add_multiples(w[at], self.delta, upper)

            self._workers.each(part, self._workers.ranges(n, handed=HANDED_PASSED))
        return w

    def _refill(self, iterations: int) -> None:
        p = self.parameters
        if not len(self._base):
            self._base = np.ascontiguousarray(self._bootstrap.extend(p.reserved, p.width))
        size = p.trees * p.levels
        received = self._channel.recv(p.shift_bytes(iterations))
        code, packed_shifts = received[:NONCE_BYTES], received[NONCE_BYTES:]
        shifts = kernels.unpack8(packed_shifts, iterations * size, p.width).reshape(
            iterations, size
        )
        nonce = self._prg.bytes(NONCE_BYTES)
        keys = self._tree_keys(nonce, iterations)
        self._channel.send(nonce, ahead=True)
        self._release([self._iterate(code, keys[i], shifts[i]) for i in range(iterations)])

    def _iterate(self, code: U8, keys: U8, shifts: U8) -> _Forest:
        """One iteration from `_base`: sends its answer ahead, uint8 `(t, tree_blocks, 16)`."""
        p = self.parameters
        seeds, base = self._base[: p.seeds], self._base[p.seeds :]
        kernels.add_multiples(base, self.delta, shifts)  # now base = v + choice*delta
        roots = self._prg.bytes(16 * p.trees).reshape(p.trees, 16)
        sums = np.empty((p.trees, p.levels, 16), np.uint8)

        def add_up(trees: slice) -> None:
            sums[trees] = kernels.tree_sums(keys[trees], self.delta, roots[trees], p.depth, p.width)

        self._workers.each(add_up, self._ranges(p.trees))
        self._channel.send(self._answer(sums, base.reshape(p.trees, p.levels, 16)), ahead=True)
        forest = _Forest((keys, roots), seeds, code)
        self._base = self._reserved(forest)
        return forest

    def _expand(self, trees: tuple[npt.NDArray[Any], ...], *rest: Any) -> None:
        keys, roots = trees
        kernels.expand_full(keys, self.delta, roots, *rest)

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
        workers: Workers | None = None,
    ) -> None:
        """Arguments as `SilentSender`'s."""
        super().__init__(channel, prg, keys, parameters, batch, workers)
        self._bootstrap = bootstrap
        self._base_u = np.zeros(0, np.uint8)
        self._base_v = np.zeros((0, 16), np.uint8)
        self._elements = _Stock(())
        self._unmade: deque[Callable[[], None]] = deque()

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
        late: list[U8] = []
        self._unmade.append(lambda: late.append(self._rows.take(n)))

        def make() -> U8:
            while not late:
                self._unmade.popleft()()  # also what was begun before
            return late[0]

        return u, make

    def _send_high(self, u: U8, k: int) -> U8:
        """Gives away the bits of u that a k-bit choice does not need; returns the others."""

        def part(at: slice) -> tuple[U8, U8]:
            high = kernels.pack(u[at] >> np.uint8(k), self.parameters.width - k)
            return high, u[at] & np.uint8((1 << k) - 1)

        kept = []
        for high, low in self._workers.map(
            part, self._workers.ranges(u.size, handed=HANDED_PASSED)
        ):
            self._channel.send(high)
            kept.append(low)
        return kept[0] if len(kept) == 1 else np.concatenate(kept)

    def _refill(self, iterations: int) -> None:
        p = self.parameters
        if not len(self._base_u):
            self._base_u, v = self._bootstrap.extend(p.reserved, p.width)
            self._base_v = np.ascontiguousarray(v)
        # u of all iterations needs no answer: all shifts go out at once.
        code = self._prg.bytes(NONCE_BYTES)
        instances, shifts = [], []
        for _ in range(iterations):
            alpha, beta, shift = self._choose(self._base_u[p.seeds :])
            instance = _Instances(code, self._base_u[: p.seeds], alpha[None], beta[None])
            instances.append(instance)
            shifts.append(shift)
            self._base_u = self._encode(instance, slice(p.released, p.released + p.reserved))
        self._channel.send(code)
        self._channel.send(kernels.pack(np.concatenate(shifts), p.width))
        answer = self._channel.expect(p.answer_bytes(iterations))
        holes = [instance.holes[0] for instance in instances]
        self._unmade.append(lambda: self._take(code, answer(), holes))
        for at in range(0, iterations, 8 // p.width):
            self._stock_elements(_Instances.packed(instances[at : at + 8 // p.width], p.width))

    def _encode(self, instances: _Instances, outputs: slice) -> U8:
        """u of these outputs, of all instances side by side in a byte; threads share them."""
        p = self.parameters

        def part(at: slice) -> U8:
            return kernels.encode_elements(
                instances.seeds,
                instances.code,
                outputs.start + at.start,
                at.stop - at.start,
                p.depth,
                p.width,
                instances.holes,
                instances.values,
            )

        parts = self._workers.ranges(outputs.stop - outputs.start)
        return np.concatenate(list(self._workers.map(part, parts)))

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
                of_each[:, i] = bytes_ >> np.uint8(place) & np.uint8((1 << p.width) - 1)

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

    def _take(self, code: U8, answer: U8, holes: list[U16]) -> None:
        """The answer of a refill."""
        keys = self._tree_keys(answer[:NONCE_BYTES], len(holes))
        blocks = answer[NONCE_BYTES:].reshape(
            len(holes), self.parameters.trees, self.parameters.tree_blocks, 16
        )
        iterations = zip(keys, holes, blocks, strict=True)
        self._release([self._iterate(code, *iteration) for iteration in iterations])

    def _iterate(self, code: U8, keys: U8, alpha: U16, answer: U8) -> _Forest:
        """One iteration from `_base_v`."""
        p = self.parameters
        seeds, v = self._base_v[: p.seeds], self._base_v[p.seeds :]
        sums = self._opened(answer, v.reshape(p.trees, p.levels, 16), alpha)
        forest = _Forest((keys, alpha, sums), seeds, code)
        self._base_v = self._reserved(forest)
        return forest

    def _expand(self, trees: tuple[npt.NDArray[Any], ...], *rest: Any) -> None:
        keys, holes, sums = trees
        kernels.expand_punctured(keys, holes, sums, *rest)

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
