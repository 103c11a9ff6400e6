"""Learning parity with noise over F_16: the parameter sets of the silent generator, what they cost, and when its pool is refilled.

The generator's outputs are `u = s*A + e` (primal LPN): `s` in F_16^K uniform, A public with ten non-zero coefficients of F_16 per output, at
pseudo-random places, e *regular*: cut into `t` blocks of 2^h, it has one uniform non-zero element in each.

What holds 128 bits (docs/decisions/0005-silent-vole.md gives the reasoning and the numbers):

* Guessing K outputs without noise and solving for s succeeds with probability `(1 - K/n)^t`, over any field; `gauss_bits` counts that and the
  cheapest linear algebra anybody could hope for. Information set decoding does better than this over F_2 and gains less the larger the field is.
* The algebraic attack on regular noise (Briaud, Oygarden, EUROCRYPT 2023) uses that the elements of a block sum to 1. Over F_16 the sum
  is unknown: only the quadratic equations `e_i * e_j = 0` remain.
* F_16 has the subfield F_2 and F_2-linear maps to it. Coefficients of A and noise values lie in all of F_16: the image under the trace is then a
  binary code of dimension 4K, with 8/15 of the noise: `projected_bits`, far above. With binary coefficients it would have dimension K; with the
  noise value fixed to 1, three of the four coordinates would carry no noise at all.
* A refill's `s` and the base correlations of its trees are outputs of the one before, never released.

No numerical library is needed here: the compiler's cost model uses `Pool` as the two endpoints do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log2

from moiety.protocols.errors import ContractViolation

NONCE_BYTES = 16
BASE_WIDTH = 4  # width of the correlations that bootstrap a generator


@dataclass(frozen=True)
class LpnParameters:
    """One LPN instance: `seeds` is K, `trees` is t, `depth` is h; n = t * 2^h outputs an iteration."""

    seeds: int
    trees: int
    depth: int

    def __post_init__(self) -> None:
        if not (1 <= self.seeds <= 1 << 20 and 2 <= self.depth <= 16 and self.trees >= 1):
            raise ContractViolation(f"{self}: seeds must be in 1..2^20, depth in 2..16, trees at least 1")
        if self.released < 1:
            raise ContractViolation(f"{self}: an iteration uses up {self.reserved} correlations and makes only {self.length}")

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
        """Bytes receiver -> sender: 4 bits per base correlation of a tree."""
        return -(-iterations * self.tree_base * 4 // 8)

    def answer_bytes(self, iterations: int) -> int:
        """Bytes sender -> receiver: the nonce, and per tree one block for each level but the last, two for the last, one for the noise value."""
        return NONCE_BYTES + iterations * self.trees * (self.depth + 2) * 16

    def bootstrap_bytes(self) -> int:
        """Bytes receiver -> sender of the SoftSpoken correlations of the first iteration (31*4 bits each, in blocks of 128)."""
        return 31 * BASE_WIDTH * 16 * -(-self.reserved // 128)

    def gauss_bits(self) -> float:
        """log2 of the operations to guess K noise-free outputs and check the guess at K operations each; regular noise, any field."""
        return -self.trees * log2(1 - self.seeds / self.length) + log2(self.seeds)

    def projected_bits(self) -> float:
        """The same for the image under an F_2-linear map F_16 -> F_2: dimension 4K, and 8/15 of the noise values stay non-zero."""
        rate = 4 * self.seeds / self.length
        if rate >= 1:
            return float("inf")  # fewer equations than unknowns
        return -self.trees * log2(7 / 15 + 8 / 15 * (1 - rate)) + log2(4 * self.seeds)


#: The seeds fit the second-level cache. The binary set (870400, 2^16, 850) with an eighth more seeds for margin.
SMALL = LpnParameters(seeds=(1 << 16) + (1 << 13), trees=850, depth=10)
#: Half the traffic; seeds take 2.25 MB. The binary set (2396160, 2^17, 1170) with an eighth more seeds.
LARGE = LpnParameters(seeds=(1 << 17) + (1 << 14), trees=1170, depth=11)


@dataclass(frozen=True)
class Refill:
    """What a refill sends: one flight receiver -> sender of `forward` bytes, then one sender -> receiver of `back` bytes."""

    iterations: int
    forward: int
    back: int


@dataclass
class Pool:
    """How many correlations are at hand and how many iterations a demand starts. Both endpoints, and the cost model, keep one: they agree
    because nothing but the sequence of demands enters.

    A demand that the pool cannot serve starts as many iterations as it lacks, but at least `batch`. So the pool never keeps more than
    `batch * released` correlations (16 bytes each, receiver 17) between calls.
    """

    parameters: LpnParameters
    batch: int = 2
    available: int = 0
    started: bool = field(default=False)

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ContractViolation(f"a refill makes at least one iteration, not {self.batch}")

    def take(self, n: int, k: int) -> Refill | None:
        """Account for a demand of `n` correlations for k-bit choices; the refill it starts, or None."""
        if n < 1 or not 1 <= k <= 4:
            raise ContractViolation(f"no extension of {n} correlations of width {k}")
        lacking = n - self.available
        refill = None
        if lacking > 0:
            p = self.parameters
            iterations = max(self.batch, -(-lacking // p.released))
            first = 0 if self.started else p.bootstrap_bytes()
            refill = Refill(iterations, first + p.shift_bytes(iterations), p.answer_bytes(iterations))
            self.started = True
            self.available += iterations * p.released
        self.available -= n
        return refill
