"""Parameters of the RLWE linear layers: security table, NTT primes, noise budget. Pure functions of
public numbers.

The noise of an answer is bounded for the worst weights that `weight_bits` admits, and over the
parties' own random choices only: every noise term is a sum of independent, zero-mean, sub-Gaussian
variables whose coefficients have public bounds, so Hoeffding's inequality
`P(|X| > t) <= 2 exp(-t^2 / 2V)` holds with the variance proxy `V` (a centred binomial and a uniform
variable have their own variance as proxy; a variable confined to an interval of length 1 has 1/4).
Encodings round stochastically for this reason: their errors are then zero-mean and independent
whatever the shares are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal

import msgspec

from moiety.protocols.errors import BadPlan

Masking = Literal["flooded", "uniform"]
"""How an answer hides its noise: under flooding, exactly; or by uniform masks, off by at most 1."""

MAX_LOG2_Q = {2048: 53, 4096: 107, 8192: 214}
"""Largest log2 q per ring degree: 128-bit classical security, ternary secrets, sigma about 3.2
(Bossuat et al., "Security Guidelines for Implementing Homomorphic Encryption", ePrint 2024/463;
up to 4 bits below the HomomorphicEncryption.org standard of 2018).
"""

ERROR_PARAMETER = 21
"""Centred binomial errors: the difference of two sums of 21 bits; variance 21/2, sigma 3.24."""

ERROR_VARIANCE = ERROR_PARAMETER / 2
ROUNDING_VARIANCE = 1 / 4  # stochastic rounding of an encoding
UNIFORM_VARIANCE = 1 / 12  # rounding a (pseudo-)uniform torus element

STATISTICAL_BITS = 40
"""Flooding hides a layer's noise to within statistical distance 2^-40, all its answers together."""

FAILURE_BITS = 64
"""A whole layer decrypts wrongly with probability at most 2^-64 (plus what RLWE's
pseudo-randomness changes).
"""

PRIME_BITS = range(21, 28)
"""Sizes of NTT primes: at most 27 bits, so that float64 products of residues and weights
stay exact.
"""

MAX_DEGREE = max(MAX_LOG2_Q)
MAX_ANSWER_BITS = 56
MAX_WEIGHT_BITS = 20
FLOAT_BITS = 53


class RlwePlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters and packing of one homomorphic linear layer, as a Program records them.
    All public.

    degree: N. primes: NTT primes whose product is q. masking: how the answer hides the noise.
    channels_per_ciphertext `cp` and filters_per_answer `mp` as in coefficient packing; tile: output
    rows and columns per ciphertext block. flood_bits: log2 of the flooding noise (0 for uniform
    masking). answer_bits: `k`, answers are rounded to `Z_{2^k}` before they are sent.
    """

    degree: int
    primes: tuple[int, ...]
    masking: Masking
    channels_per_ciphertext: int
    filters_per_answer: int
    tile: tuple[int, int]
    flood_bits: int
    answer_bits: int


def is_prime(n: int) -> bool:
    """Deterministic Miller-Rabin, for n < 3,215,031,751 (bases 2, 3, 5, 7)."""
    if n < 2:
        return False
    for p in (2, 3, 5, 7):
        if n % p == 0:
            return n == p
    d, s = n - 1, 0
    while d % 2 == 0:
        d, s = d // 2, s + 1
    for base in (2, 3, 5, 7):
        x = pow(base, d, n)
        if x in (1, n - 1):
            continue
        for _ in range(s - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True


@cache
def ntt_primes(bits: int, count: int) -> tuple[int, ...]:
    """The `count` largest primes below `2^bits` that are 1 modulo `2 * MAX_DEGREE`,
    largest first.
    """
    step = 2 * MAX_DEGREE
    found: list[int] = []
    candidate = (1 << bits) - step + 1
    while len(found) < count:
        if candidate < 1 << (bits - 1):
            raise BadPlan(
                f"there are only {len(found)} NTT primes of {bits} bits; {count} were asked for"
            )
        if is_prime(candidate):
            found.append(candidate)
        candidate -= step
    return tuple(found)


PHASE_PRIMES = ntt_primes(30, 3)
"""Primes of the client's exact integer product `a*s`; they have nothing to do with q, so 30 bits
are fine.
"""


def check_parameters(degree: int, primes: tuple[int, ...]) -> None:
    """Raises `BadPlan` unless `(N, q)` is in the security table and the primes suit the kernels."""
    if degree not in MAX_LOG2_Q:
        raise BadPlan(f"ring degree {degree} is not supported; use one of {sorted(MAX_LOG2_Q)}")
    if not primes or len(set(primes)) != len(primes):
        raise BadPlan("RLWE primes must be distinct and at least one")
    for p in primes:
        if (
            not 1 << (PRIME_BITS[0] - 1) < p < 1 << PRIME_BITS[-1]
            or p % (2 * degree) != 1
            or not is_prime(p)
        ):
            raise BadPlan(
                f"{p} is not an NTT prime for degree {degree} of {PRIME_BITS[0]} to "
                f"{PRIME_BITS[-1]} bits"
            )
    if math.prod(primes) >= 1 << MAX_LOG2_Q[degree]:
        raise BadPlan(
            f"log2 q = {math.log2(math.prod(primes)):.1f} exceeds {MAX_LOG2_Q[degree]}, "
            f"the limit for 128-bit security at N = {degree}"
        )


def tail_factor(coefficients: int) -> float:
    """`t / sqrt(V)` such that `coefficients` sub-Gaussian variables all stay below t but for
    probability 2^-FAILURE_BITS.
    """
    return math.sqrt(2 * math.log(2) * (FAILURE_BITS + 1 + math.log2(max(coefficients, 1))))


@dataclass(frozen=True)
class Noise:
    """Noise of one layer's answers, in units of 1 (out of q), before flooding and before rounding
    to `Z_{2^k}`.

    variance: sub-Gaussian proxy of one coefficient. coefficients: number of message coefficients of
    all answers of the layer.
    """

    degree: int
    variance: float
    coefficients: int

    @property
    def bound(self) -> float:
        """All coefficients stay below this but for probability 2^-FAILURE_BITS."""
        return tail_factor(self.coefficients) * math.sqrt(self.variance)

    @property
    def flood_bits(self) -> int:
        """Smallest f such that noise uniform in `[-2^f, 2^f)` hides all coefficients to
        within 2^-STATISTICAL_BITS.

        Shifting that distribution by v moves it by |v| / 2^(f+1); the mean of |v| over the parties'
        randomness is at most sqrt(V), and the distances of all coefficients add up.
        """
        return math.ceil(
            STATISTICAL_BITS - 1 + math.log2(self.coefficients) + math.log2(self.variance) / 2
        )

    def rounding(self) -> float:
        """Bound on the error that rounding a to `Z_{2^k}` makes through the ternary secret, in
        units of 2^-k.
        """
        return tail_factor(self.coefficients) * math.sqrt(self.degree * UNIFORM_VARIANCE)


def answer_noise(
    degree: int, weight_bits: int, terms: int, blocks: int, coefficients: int
) -> Noise:
    """Worst case over all weights `|w| <= 2^(weight_bits-1)`.

    terms: products that make one output (channels of a group times taps). blocks: filters
    per answer `mp`; the other blocks carry no message, but noise. The encryption of zero
    adds `e*u + e1 - e2*s`.
    """
    square = float(terms) * 4.0 ** (weight_bits - 1)
    fresh = (2 * degree + 1) * ERROR_VARIANCE
    return Noise(
        degree, square * (blocks * ERROR_VARIANCE + 2 * ROUNDING_VARIANCE) + fresh, coefficients
    )


@dataclass(frozen=True)
class Fit:
    """flood_bits f (0 for uniform masking) and answer_bits k."""

    flood_bits: int
    answer_bits: int


def message_bits(bits: int, answer_bits: int) -> int:
    """Width of the b coefficients of an answer: their own rounding costs 2^-5 of a message step, so
    they need fewer bits than a.
    """
    return min(answer_bits, bits + 4)


def fit(
    primes: tuple[int, ...],
    masking: Masking,
    bits: int,
    noise: Noise,
    flood_bits: int | None = None,
) -> Fit | None:
    """Smallest answer_bits with which answers modulo `2^bits` decrypt; None if q is too small, or
    the flooding given.

    Flooded needs a total error below half a message step, 2^-(bits+1); uniform below one step,
    2^-bits, so that the two roundings together are off by at most 1.
    """
    log_q = math.log2(math.prod(primes))
    if masking == "flooded":
        flood = noise.flood_bits if flood_bits is None else flood_bits
        if not noise.flood_bits <= flood < log_q:
            return None
        # + 1: the encoding of the mask r rounds as well.
        raw, limit = 2.0**flood + noise.bound + 1, 0.5
    else:
        flood, raw, limit = 0, noise.bound, 1.0
    raw /= 2.0 ** (log_q - bits)
    if raw >= limit:
        return None
    for answer_bits in range(bits + 4, min(MAX_ANSWER_BITS, math.floor(log_q)) + 1):
        total = raw + 2.0**-5 + noise.rounding() / 2.0 ** (answer_bits - bits)
        if total < limit:
            return Fit(flood, answer_bits)
    return None
