"""Learning parity with noise over F_16: the parameter sets of the silent generator, what they cost,
and when its pool is refilled.

The generator's outputs are `u = s*A + e` (primal LPN): `s` in F_16^K uniform, A public with ten
non-zero coefficients of F_16 per output, at pseudo-random places, e *regular*: cut into `t` blocks
of 2^h, it has one uniform non-zero element in each.

What holds 128 bits (docs/decisions/0005-silent-vole.md gives the numbers):

* Information set decoding, `decoding_bits`: take K outputs with at most p errors among them, solve
  for s. Over F_16 an error has 15 values, so that trying errors costs more than over F_2, where the
  sets come from. The estimate counts one K x K pass per try, although nobody knows how to solve a
  system that fast, and does not count memory.
* The algebraic attack on regular noise (Briaud, Oygarden, EUROCRYPT 2023) uses that the
  elements of a block sum to 1. Over F_16 the sum is unknown: only the quadratic equations
  `e_i * e_j = 0` remain.
* F_16 has the subfield F_2 and F_2-linear maps to it. Coefficients of A and noise values lie in all
  of F_16: its image under the trace is then a binary code of dimension 4K, with 8/15 of the noise:
  `projected_bits`, far above. With binary coefficients it would have dimension K; with the noise
  value fixed to 1, three of the four coordinates would carry no noise at all.
* Ten entries per output, as in Ferret: the hypergraph has no small even covers (docs). No better
  attack on sparse codes is known at this density.
* A refill's `s` and the base correlations of its trees are outputs of the one before,
  never released.

No numerical library is needed here: the compiler's cost model uses `Pool` as the two endpoints do.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb, inf, log2

from moiety.protocols.cost import correction_bytes, packed
from moiety.protocols.errors import ContractViolation

NONCE_BYTES = 16
BASE_WIDTH = 4  # width of the correlations that bootstrap a generator


def high_bytes(n: int, k: int) -> int:
    """Bytes receiver -> sender of the 4 - k bits of u that n correlations for k-bit choices
    give away.
    """
    return int(packed(n, 4 - k))


@dataclass(frozen=True)
class LpnParameters:
    """One LPN instance: `seeds` is K, `trees` is t, `depth` is h; n = t * 2^h outputs
    an iteration.
    """

    seeds: int
    trees: int
    depth: int

    def __post_init__(self) -> None:
        if not (1 <= self.seeds <= 1 << 20 and 2 <= self.depth <= 16 and self.trees >= 1):
            raise ContractViolation(
                f"{self}: seeds must be in 1..2^20, depth in 2..16, trees at least 1"
            )
        if self.released < 1:
            raise ContractViolation(
                f"{self}: an iteration uses up {self.reserved} correlations and makes only "
                f"{self.length}"
            )

    @property
    def length(self) -> int:
        """n: correlations made by an iteration."""
        return self.trees << self.depth

    @property
    def tree_base(self) -> int:
        """Base correlations of the trees: one per level, one for the noise value."""
        return self.trees * (self.depth + 1)

    @property
    def reserved(self) -> int:
        """Correlations an iteration starts from, and hands to the next one."""
        return self.seeds + self.tree_base

    @property
    def released(self) -> int:
        """Correlations of an iteration that may be used."""
        return self.length - self.reserved

    def shift_bytes(self, iterations: int) -> int:
        """Bytes receiver -> sender: the code's seed, 4 bits per base correlation of a tree."""
        return NONCE_BYTES + int(packed(iterations * self.tree_base, 4))

    def answer_bytes(self, iterations: int) -> int:
        """Bytes sender -> receiver: the nonce, and per tree one block for each level but the last,
        two for the last, one for the noise value.
        """
        return NONCE_BYTES + iterations * self.trees * (self.depth + 2) * 16

    def bootstrap_bytes(self) -> int:
        """Bytes receiver -> sender of the SoftSpoken correlations of the first iteration."""
        return int(correction_bytes(self.reserved, BASE_WIDTH))

    def decoding_bits(self) -> float:
        """log2 of the operations of information set decoding (Stern), at the best number p of
        errors allowed in the information set.

        An information set takes the same part f = K/n of every block, so that p is binomial; a try
        costs K^2 for the elimination, which is generous to the attacker, and the two lists of half
        the errors. With K^2.8 and p = 2 the formula is within about three bits of what a public
        estimator says of the binary sets.
        """
        f, t = self.seeds / self.length, self.trees
        best = inf
        for p in range(0, 11, 2):
            probability = log2(comb(t, p)) + p * log2(f) + (t - p) * log2(1 - f)
            lists = log2(comb(self.seeds // 2, p // 2)) + p // 2 * log2(15)
            best = min(best, log2(self.seeds**2 + 3 * 2**lists) - probability)
        return best

    def projected_bits(self) -> float:
        """Finding a noise-free information set of the image under an F_2-linear map F_16 -> F_2:
        dimension 4K, 8/15 of the noise values stay.
        """
        rate = 4 * self.seeds / self.length
        if rate >= 1:
            return inf  # fewer equations than unknowns
        return 2 * log2(4 * self.seeds) - self.trees * log2(1 - 8 / 15 * rate)


SMALL = LpnParameters(seeds=80 << 10, trees=850, depth=10)
"""The default. The binary set (870400, 2^16, 850) with a quarter more seeds; they take 1.25 MB, to
stay in the second-level cache.
"""
LARGE = LpnParameters(seeds=80 << 11, trees=1170, depth=11)
"""Half the traffic for twice the time: the binary set (2396160, 2^17, 1170) with a quarter
more seeds.
"""


@dataclass(frozen=True)
class Extension:
    """What one call of `extend` sends, in this order; a flight of no bytes does not happen.

    `shifts` (receiver -> sender) and `answer` (back) belong to the refill, if there is one; `high`
    (receiver -> sender) are the bits of u that a k-bit choice does not need.
    """

    iterations: int
    shifts: int
    answer: int
    high: int

    @property
    def forward(self) -> int:
        """Bytes receiver -> sender."""
        return self.shifts + self.high

    @property
    def flights(self) -> str:
        """Who sends, in order: 'R' the receiver, 'S' the sender."""
        return "RS" * (self.iterations > 0) + "R" * (self.high > 0)


@dataclass
class Pool:
    """How many correlations are at hand and how many iterations a demand starts. Both
    endpoints keep one, and so can a cost model: they agree because nothing but the sequence of
    demands enters.

    A demand that the pool cannot serve starts as many iterations as it lacks, but at least `batch`.
    So the pool never keeps more than `batch * released` correlations (16 bytes each, receiver 17)
    between calls.
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
        if n < 1 or not 1 <= k <= 4:
            raise ContractViolation(f"no extension of {n} correlations of width {k}")
        p, high = self.parameters, high_bytes(n, k)
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
