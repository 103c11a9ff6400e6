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
from bisect import bisect_left
from dataclasses import dataclass
from functools import cache

import msgspec

from moiety.protocols.errors import BadPlan

MAX_LOG2_Q = {2048: 53, 4096: 106, 8192: 214}
"""Largest log2 q per ring degree: 128-bit classical security, ternary secrets, sigma about 3.2
(Bossuat et al., "Security Guidelines for Implementing Homomorphic Encryption", ePrint 2024/463;
up to 4 bits below the HomomorphicEncryption.org standard of 2018).
"""

ERROR_PARAMETER = 21
"""Centred binomial errors: the difference of two sums of 21 bits; variance 21/2, sigma 3.24."""

ERROR_VARIANCE = ERROR_PARAMETER / 2
ROUNDING_VARIANCE = 1 / 4  # stochastic rounding of an encoding
UNIFORM_VARIANCE = 1 / 12  # rounding a (pseudo-)uniform torus element

FAILURE_BITS = 64
"""The noise of a whole layer leaves its budget with probability at most 2^-64 (plus what RLWE's
pseudo-randomness changes).
"""

MAX_GUARD = 8
"""Guard bits that a Program may ask for."""

PRIME_BITS = range(14, 28)
"""Sizes of NTT primes: at most 27 bits, so that float64 products of residues and weights
stay exact.
"""

MAX_DEGREE = max(MAX_LOG2_Q)
MAX_ANSWER_BITS = 56
TORUS_LOSS = 8 * 2.0**-64
"""What `Ring.to_torus` may lose before it rounds, out of 1: 2^-64 for each of at most 8 primes."""
MAX_WEIGHT_BITS = 20
FLOAT_BITS = 53


class RlwePlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters and packing of one homomorphic linear layer, as a Program records them.
    All public.

    degree: N. primes: NTT primes whose product is q. channels_per_ciphertext `cp` and
    filters_per_answer `mp` as in coefficient packing; tile: output rows and columns per ciphertext
    block. answer_bits: `k`, the a parts of answers are rounded to `Z_{2^k}` before they are sent.
    """

    degree: int
    primes: tuple[int, ...]
    channels_per_ciphertext: int
    filters_per_answer: int
    tile: tuple[int, int]
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
def ntt_primes(bits: int, count: int, degree: int = MAX_DEGREE) -> tuple[int, ...]:
    """The `count` largest primes of `bits` bits that are 1 modulo `2 * degree`, largest first."""
    step = 2 * degree
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


def q_primes(bits: int, degree: int) -> tuple[int, ...]:
    """The primes of the largest q whose residues have `bits` bits together, as few primes as can
    be; largest first. Raises `BadPlan` where there are none.
    """
    largest = PRIME_BITS[-1]
    found = _largest(bits, -(-bits // largest), largest, degree)
    if found is None:
        raise BadPlan(f"no NTT primes for degree {degree} have {bits} bits together")
    return found


@cache
def _largest(bits: int, count: int, widest: int, degree: int) -> tuple[int, ...] | None:
    """Of `count` primes of at most `widest` bits each, `bits` together, those of the largest
    product.
    """
    if count == 0 or widest < PRIME_BITS[0]:
        return () if count == bits == 0 else None
    options = []
    for taken in range(min(count, bits // widest) + 1):
        try:
            first = ntt_primes(widest, taken, degree)
        except BadPlan:
            break
        rest = _largest(bits - taken * widest, count - taken, widest - 1, degree)
        if rest is not None:
            options.append(first + rest)
    return max(options, key=math.prod, default=None)


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


@cache
def tail_factor(coefficients: int) -> float:
    """`t / sqrt(V)` such that `coefficients` sub-Gaussian variables all stay below t but for
    probability 2^-FAILURE_BITS.
    """
    return math.sqrt(2 * math.log(2) * (FAILURE_BITS + 1 + math.log2(max(coefficients, 1))))


@dataclass(frozen=True)
class Noise:
    """Noise of one layer's answers, in units of 1 (out of q), before anything is rounded.

    variance: sub-Gaussian proxy of one coefficient. coefficients: number of message coefficients of
    all answers of the layer.
    """

    degree: int
    variance: float
    coefficients: int

    def deviation(self, log_q: float, answer_bits: int) -> float:
        """Bound on the standard deviation of a coefficient, in units of q, with a rounded to
        `Z_{2^k}`: that adds uniform errors of 2^-k times the ternary secret.
        """
        rounding = self.degree * UNIFORM_VARIANCE * 4.0**-answer_bits
        return math.sqrt(self.variance * 4.0**-log_q + rounding)

    def bound(self, log_q: float, answer_bits: int) -> float:
        """All coefficients of the layer stay below this but for probability 2^-FAILURE_BITS,
        likewise; `to_torus` loses less than `TORUS_LOSS` on b and on each coefficient of a.
        """
        loss = (self.degree + 1) * TORUS_LOSS
        return tail_factor(self.coefficients) * self.deviation(log_q, answer_bits) + loss


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


def noise_budget(guard: int) -> float:
    """What the noise must stay below, in steps of the result's ring, 2^-(bits + guard): less than
    `2^(guard-1) - 1/2` leaves the result within its guard bits; without any, less than 1 leaves it
    off by at most 1, the two parties' roundings included (protocols/linear/server).
    """
    return 2.0 ** (guard - 1) - 0.5 if guard else 1.0


def keeps_to_budget(noise: Noise, log_q: float, answer_bits: int, bits: int, guard: int) -> bool:
    """Do all coefficients, but for probability 2^-FAILURE_BITS? Where low bits of the result are
    left behind (guard < 0), its last place is below what a stochastic truncation drops, and a
    standard deviation of one step will do.
    """
    step = 2.0 ** -(bits + guard)
    if guard < 0:
        return noise.deviation(log_q, answer_bits) <= step
    return noise.bound(log_q, answer_bits) < noise_budget(guard) * step


def fit(
    log_q: float, bits: int, guard: int, noise: Noise, most: int = MAX_ANSWER_BITS
) -> int | None:
    """Smallest `answer_bits` with which messages of `Z_{2^bits}` come out in `Z_{2^(bits+guard)}`
    within the noise budget; None if more than `most` would be needed, or q is too small.
    """
    tried = range(bits + guard + 1, min(most, math.floor(log_q)) + 1)

    def suffices(answer_bits: int) -> bool:
        return keeps_to_budget(noise, log_q, answer_bits, bits, guard)

    if not tried or not suffices(tried[-1]):
        return None
    return tried[bisect_left(tried, True, key=suffices)]
