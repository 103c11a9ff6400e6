"""Learning parity with noise over F_2 and F_16: the parameter sets of the silent generator, what
they cost, and when its pool is refilled.

The generator's outputs are `u = s*A + e` (primal LPN): `s` in F^K uniform, A public with ten
entries per output at pseudo-random places, e *regular*: cut into `t` blocks of 2^h, it has one
non-zero element in each, at a uniform place; over F_16 its value is uniform too. Over F_2 the
entries of A are ones; over F_16 they are 1, X, X^2 or X^3 by their number in the output
(kernels.GRADES of the reference).

What holds 128 bits (docs/decisions/0005-silent-vole.md and 0012-silent-rate.md give the numbers):

* Information set decoding, `decoding_bits`: take K outputs with at most p errors among them, solve
  for s. The estimate counts one K x K pass per try, although nobody knows how to solve a system
  that fast, and does not count memory. Over F_2 the elements of a block sum to 1, which gives t of
  the K equations for nothing (Esser, Santini, CRYPTO 2024).
* The algebraic attack on regular noise (Briaud, Oygarden, EUROCRYPT 2023) uses the same sums. Over
  F_16 the sum is unknown: only the quadratic equations `e_i * e_j = 0` remain.
* F_16 has the subfield F_2 and F_2-linear maps to it. Under the trace the four grades of entries
  are four independent maps of a seed: the image is a binary code of dimension 4K, with 8/15 of the
  noise: `projected_bits`, far above. With all coefficients in F_2 it would have dimension K; with
  the noise value fixed to 1, three of the four coordinates would carry no noise at all.
* Ten entries per output, as in Ferret: the hypergraph has no small even covers (docs). No better
  attack on sparse codes is known at this density.
* A refill's `s` and the base correlations of its trees are outputs of the one before,
  never released.

No numerical library is needed here: the compiler's cost model uses `Pool` as the two endpoints do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import comb, inf, log2

from moiety.protocols.cost import extension_bytes, packed
from moiety.protocols.errors import ContractViolation
from moiety.protocols.kernels.reference.silent import check_blocks

NONCE_BYTES = 16


@dataclass(frozen=True)
class LpnParameters:
    """One LPN instance: `seeds` is K, `trees` is t, `depth` is h; n = t * 2^h outputs an iteration,
    over F_2^width.
    """

    seeds: int
    trees: int
    depth: int
    width: int = 4

    def __post_init__(self) -> None:
        if not (1 <= self.seeds <= 1 << 20 and 2 <= self.depth <= 16 and self.trees >= 1):
            raise ContractViolation(
                f"{self}: seeds must be in 1..2^20, depth in 2..16, trees at least 1"
            )
        if self.width not in (1, 4):
            raise ContractViolation(f"{self}: width must be 1 or 4")
        if self.released < 1:
            raise ContractViolation(
                f"{self}: an iteration uses up {self.reserved} correlations and makes only "
                f"{self.length}"
            )

    @cached_property
    def length(self) -> int:
        """n: correlations made by an iteration."""
        return self.trees << self.depth

    @cached_property
    def levels(self) -> int:
        """Base correlations of a tree: one per level, over F_16 one more for the noise value."""
        return self.depth + (self.width == 4)

    @cached_property
    def reserved(self) -> int:
        """Correlations an iteration starts from, and hands to the next one."""
        return self.seeds + self.trees * self.levels

    @cached_property
    def released_trees(self) -> int:
        """Trees of an iteration whose correlations may be used: the first ones. The others hold the
        reserved correlations.
        """
        return self.trees - -(-self.reserved >> self.depth)

    @cached_property
    def released(self) -> int:
        """Correlations of an iteration that may be used."""
        return self.released_trees << self.depth

    @property
    def tree_blocks(self) -> int:
        """Blocks of a tree's answer: one per level, over F_16 two for the last, which is hashed,
        and one for the noise value.
        """
        return self.depth if self.width == 1 else self.depth + 2

    @cached_property
    def checks(self) -> int:
        """Blocks that a tree is checked by (ot/tree_checks)."""
        return check_blocks(self.depth, self.width)

    def shift_bytes(self, iterations: int) -> int:
        """Bytes receiver -> sender: seed of the code, an element per base correlation."""
        return NONCE_BYTES + int(packed(iterations * self.trees * self.levels, self.width))

    def answer_bytes(self, iterations: int) -> int:
        """Bytes sender -> receiver: the nonce, and the blocks of all trees."""
        return NONCE_BYTES + iterations * self.trees * self.tree_blocks * 16

    def bootstrap_bytes(self) -> int:
        """Bytes receiver -> sender of the SoftSpoken correlations of the first iteration."""
        return int(extension_bytes(self.reserved, self.width))

    def high_bytes(self, n: int, k: int) -> int:
        """Bytes receiver -> sender of the bits of u that n correlations for k-bit choices
        give away.
        """
        return int(packed(n, self.width - k))

    def decoding_bits(self) -> float:
        """log2 of the operations of information set decoding (Stern), at the best number p of
        errors allowed in the information set.

        An information set takes the same part f of every block, so that p is binomial; a try costs
        the square of the dimension for the elimination, which is generous to the attacker, and the
        two lists of half the errors.
        """
        dimension = self.seeds - (self.trees if self.width == 1 else 0)
        f, t, values = dimension / self.length, self.trees, (1 << self.width) - 1
        best = inf
        for p in range(0, 11, 2):
            probability = log2(comb(t, p)) + p * log2(f) + (t - p) * log2(1 - f)
            lists = log2(comb(dimension // 2, p // 2)) + p // 2 * log2(values)
            best = min(best, log2(dimension**2 + 3 * 2**lists) - probability)
        return best

    def projected_bits(self) -> float:
        """Finding a noise-free information set of the image under an F_2-linear map F_16 -> F_2:
        dimension 4K, 8/15 of the noise values stay.
        """
        rate = 4 * self.seeds / self.length
        if rate >= 1:
            return inf  # fewer equations than unknowns
        return 2 * log2(4 * self.seeds) - self.trees * log2(1 - 8 / 15 * rate)


BITS = LpnParameters(seeds=80 << 10, trees=850, depth=10, width=1)
"""For choices of one bit. The binary set (870400, 2^16, 850) with a quarter more seeds."""
NIBBLES = LpnParameters(seeds=80 << 10, trees=850, depth=10, width=4)
"""For choices of two to four bits: the same set over F_16. The seeds take 1.25 MB, to stay near the
second-level cache.
"""


def parameters_for(k: int) -> LpnParameters:
    """Of the generator that serves k-bit choices."""
    return BITS if k == 1 else NIBBLES


@dataclass(frozen=True)
class Extension:
    """What one call of `extend` sends.

    `shifts` (receiver -> sender) and `answer` (back, in front of the sender's next flight) belong
    to the refill, if there is one; `high` (receiver -> sender) are the bits of u that a k-bit
    choice does not need, and leave with the shifts.
    """

    iterations: int
    shifts: int
    answer: int
    high: int

    @property
    def forward(self) -> int:
        """Bytes receiver -> sender."""
        return self.shifts + self.high


@dataclass
class Pool:
    """How many correlations are at hand and how many iterations a demand starts. Both
    endpoints keep one, and so can a cost model: they agree because nothing but the sequence of
    demands enters.

    A demand that the pool cannot serve starts as many iterations as it lacks, but at least `batch`.
    So the pool never has more than `batch * released` correlations at hand between calls.
    """

    parameters: LpnParameters
    batch: int = 2
    available: int = 0
    started: bool = False

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ContractViolation(f"a refill makes at least one iteration, not {self.batch}")

    def take(self, n: int, k: int) -> Extension:
        """Account for a demand of `n` correlations for k-bit choices."""
        p = self.parameters
        if n < 1 or not 1 <= k <= p.width:
            raise ContractViolation(f"no extension of {n} correlations of width {k}")
        high = p.high_bytes(n, k)
        lacking = n - self.available
        self.available -= n
        if lacking <= 0:
            return Extension(0, 0, 0, high)
        iterations = max(self.batch, -(-lacking // p.released))
        self.available += iterations * p.released
        bootstrap = 0 if self.started else p.bootstrap_bytes()
        self.started = True
        return Extension(
            iterations, bootstrap + p.shift_bytes(iterations), p.answer_bytes(iterations), high
        )
