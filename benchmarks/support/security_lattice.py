"""What (ring) LWE costs to solve: the primal attack by a unique short vector and the dual attack,
under the geometric series assumption.

A ring's samples are taken as those of plain LWE of dimension N, as all published estimates do. The
success condition is that of Alkim, Ducas, Pöppelmann, Schwabe (USENIX Security 2016), studied by
Albrecht, Göpfert, Virdia, Wunderer (Asiacrypt 2017); the scaling of a secret that is smaller than
the error is Bai and Galbraith's (ACISP 2014). A block size costs what the homomorphic encryption
standard and the guidelines of ePrint 2024/463 count: 8d calls of a sieve of 2^(0.292 beta + 16.4)
(Becker, Ducas, Gama, Laarhoven, SODA 2016).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import e, log, log2, pi

SIEVE = 0.292
SIEVE_CONSTANT = 16.4
SHORT_VECTORS = 0.2075
"""log2 of how many short vectors a sieve of dimension beta gives at once, by beta."""


@dataclass(frozen=True)
class Lwe:
    """An instance: dimension, log2 of the modulus, standard deviations of error and secret, and the
    samples an attacker has (None: as many as it likes, which is twice the dimension at most).
    """

    dimension: int
    log_q: float
    error: float
    secret: float
    samples: int | None = None


@dataclass(frozen=True)
class Attack:
    """What one attack takes: block size, dimension of the lattice, log2 of operations."""

    block: int
    dimension: int
    bits: float

    @property
    def core_bits(self) -> float:
        """By the count that is least kind to the defender: one call of the sieve, no constant."""
        return SIEVE * self.block


@cache
def log_root_hermite(block: int) -> float:
    """log2 of the root Hermite factor that BKZ with this block size reaches (Chen 2013)."""
    inner = block / (2 * pi * e) * (pi * block) ** (1 / block)
    return log2(inner) / (2 * (block - 1))


def reduction_bits(block: int, dimension: int) -> float:
    """log2 of the operations of BKZ."""
    return SIEVE * block + SIEVE_CONSTANT + log2(8 * dimension)


def primal(lwe: Lwe) -> Attack:
    """The unique-shortest-vector attack: the least block size whose last projected block holds the
    short vector (e, s scaled, sigma) as its shortest.
    """
    n, scale = lwe.dimension, log2(lwe.error / lwe.secret)
    most = 2 * n if lwe.samples is None else lwe.samples
    for block in range(60, 2000):
        root = log_root_hermite(block)
        short = log2(block) / 2 + log2(lwe.error)
        for d in range(n + 2, n + most + 2, max(1, n // 1024)):
            volume = ((d - n - 1) * lwe.log_q + n * scale + log2(lwe.error)) / d
            if short <= (2 * block - d - 1) * root + volume:
                return Attack(block, d, reduction_bits(block, d))
    raise ValueError(f"no block size below 2000 solves {lwe}")


def dual(lwe: Lwe) -> Attack:
    """The distinguishing attack by short vectors of the scaled dual lattice, repeated until the
    advantage is constant, with all short vectors of each sieve put to use.
    """
    n, scale = lwe.dimension, log2(lwe.error / lwe.secret)
    most = 2 * n if lwe.samples is None else lwe.samples
    best: Attack | None = None
    for block in range(60, 2000):
        if best is not None and SIEVE * block + SIEVE_CONSTANT > best.bits:
            break
        root = log_root_hermite(block)
        for samples in range(n // 4, most + 1, max(1, n // 64)):
            d = n + samples
            length = d * root + n * (lwe.log_q - scale) / d
            spread = 2 ** (length + log2(lwe.error) - lwe.log_q)
            advantage = 2 * (2 * (pi * spread) ** 2) / log(2)  # -log2 of its square
            bits = reduction_bits(block, d) + max(0.0, advantage - SHORT_VECTORS * block)
            if best is None or bits < best.bits:
                best = Attack(block, d, bits)
    assert best is not None
    return best
