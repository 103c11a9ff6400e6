"""Parameters and encryption of the RLWE layers, against big-integer arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest

from moiety.protocols import kernels
from moiety.protocols.arrays import U32
from moiety.protocols.errors import BadPlan, ContractViolation
from moiety.protocols.linear import rlwe
from moiety.protocols.linear.parameters import (
    FAILURE_BITS,
    MAX_LOG2_Q,
    answer_noise,
    check_parameters,
    fit,
    is_prime,
    noise_budget,
    ntt_primes,
    q_primes,
    tail_factor,
)
from moiety.protocols.prg import Prg
from tests.protocols.oracles import from_residues

SEED = bytes(range(16))
SMALL = ntt_primes(26, 2)


# --- parameters -----------------------------------------------------------------------------------


def test_primes_are_ntt_primes() -> None:
    for bits, count in ((24, 4), (25, 4), (26, 4), (27, 8), (30, 3)):
        for p in ntt_primes(bits, count):
            assert p.bit_length() == bits
            assert p % 16384 == 1
            assert all(p % d for d in range(3, math.isqrt(p) + 1, 2))
    assert [n for n in range(2, 60) if is_prime(n)] == [
        2,
        3,
        5,
        7,
        11,
        13,
        17,
        19,
        23,
        29,
        31,
        37,
        41,
        43,
        47,
        53,
        59,
    ]
    assert not is_prime(3215031749 - 2)
    assert not is_prime(25326001)  # strong pseudoprime to bases 2, 3, 5


def test_security_table_is_enforced() -> None:
    assert MAX_LOG2_Q == {2048: 53, 4096: 106, 8192: 214}
    for degree, limit in MAX_LOG2_Q.items():
        check_parameters(degree, q_primes(limit, degree))
        with pytest.raises(BadPlan, match="128-bit security"):
            check_parameters(degree, q_primes(limit + 1, degree))
    with pytest.raises(BadPlan, match="not supported"):
        check_parameters(1024, SMALL[:1])
    with pytest.raises(BadPlan, match="distinct"):
        check_parameters(4096, (SMALL[0], SMALL[0]))
    with pytest.raises(BadPlan, match="NTT prime"):
        check_parameters(2048, (SMALL[0] - 2,))


@pytest.mark.parametrize("guard", [0, 1, 4])
def test_noise_that_fits_keeps_to_its_budget(guard: int) -> None:
    """The bound is Hoeffding's for all coefficients together; the budget is what it must meet, and
    what a bit less in the answers, or a shorter q, misses.
    """
    noise, bits = answer_noise(4096, 11, 1152, 1, 100_000), 28
    primes = ntt_primes(26, 2)
    log_q = math.log2(math.prod(primes))
    found = fit(log_q, bits, guard, noise)
    assert found is not None
    limit = noise_budget(guard) / 2 ** (bits + guard)
    assert noise.bound(log_q, found) < limit <= noise.bound(log_q, found - 1)
    variance = noise.variance / 4**log_q + 4096 / 12 / 4**found
    tail = 2 * math.exp(-(noise.bound(log_q, found) ** 2) / (2 * variance))
    assert tail * noise.coefficients <= 2.0**-FAILURE_BITS
    assert fit(46, bits, guard, noise) is None


def test_guard_bits_leave_up_to_half_a_step() -> None:
    steps = [noise_budget(guard) / 2**guard for guard in (1, 2, 3, 4)]
    assert steps == [1 / 4, 3 / 8, 7 / 16, 15 / 32]


# --- encryption -----------------------------------------------------------------------------------


def test_sampled_distributions() -> None:
    prg = Prg(SEED)
    trits, errors = rlwe.ternary(prg, (60_000,)), rlwe.error(prg, (60_000,))
    assert np.allclose([np.mean(trits == v) for v in (-1, 0, 1)], 1 / 3, atol=0.01)
    assert abs(errors.mean()) < 0.06
    assert abs(errors.astype(float).var() - 10.5) < 0.3


@pytest.mark.parametrize(("degree", "count"), [(2048, 1), (4096, 3)])
def test_encryption_and_zeros_have_small_noise(degree: int, count: int) -> None:
    ring = rlwe.Ring.of(degree, ntt_primes(26, count))
    prg = Prg(SEED)
    key = rlwe.ClientKey.generate(ring, prg)

    def noise(a_hat: U32, b: U32) -> list[int]:
        product = ring.inverse(kernels.multiply_mod(a_hat, key.hat, ring.p))
        difference = ring.add(b, (ring.p[:, None, None] - product) % ring.p[:, None, None])
        values = from_residues(difference.reshape(count, -1), ring.primes)
        return [v - ring.modulus if v > ring.modulus // 2 else v for v in values]

    a_hat = rlwe.ciphertext_a(ring, SEED, 0, 0, 2)
    fresh = noise(a_hat, key.mask(a_hat, prg))
    assert max(map(abs, fresh)) <= 21
    assert any(fresh)

    pa_hat = rlwe.public_key_a(ring, SEED)
    pb = key.mask(pa_hat[:, None], prg)
    zero_a, zero_b = rlwe.ServerKey(ring, pa_hat, ring.forward(pb)[:, 0]).zeros(3, prg)
    # The encryption of zero alone: no products, and a is not rounded.
    bound = tail_factor(3 * degree) * math.sqrt(answer_noise(degree, 1, 0, 1, 1).variance)
    spread = noise(ring.forward(zero_a), zero_b)
    assert max(map(abs, spread)) < bound
    # The bound is not idle: it is within the tail factor of the measured deviation.
    assert np.std(spread) > bound / 20


def test_public_polynomials_are_separated_by_domain() -> None:
    ring = rlwe.Ring.of(2048, SMALL)
    one = rlwe.ciphertext_a(ring, SEED, 1, 0, 2)
    assert np.array_equal(one, rlwe.ciphertext_a(ring, SEED, 1, 0, 2))
    others = [
        one[:, 1],
        rlwe.ciphertext_a(ring, SEED, 0, 1, 1)[:, 0],
        rlwe.ciphertext_a(ring, SEED, 1, 1, 1)[:, 0],
        rlwe.ciphertext_a(ring, SEED, 11, 0, 1)[:, 0],
        rlwe.ciphertext_a(ring, bytes(16), 1, 0, 1)[:, 0],
        rlwe.ciphertext_a(rlwe.Ring.of(2048, SMALL[::-1]), SEED, 1, 0, 1)[::-1, 0],
        rlwe.public_key_a(ring, SEED),
    ]
    assert all(np.mean(one[:, 0] == other) < 0.01 for other in others)
    assert (one < ring.p[:, None, None]).all()
    with pytest.raises(ContractViolation, match="16 bytes"):
        rlwe.ciphertext_a(ring, b"short", 1, 0, 1)


@pytest.mark.parametrize("bits", [20, 37, 45, 52])
def test_phase_product_is_exact(bits: int) -> None:
    ring = rlwe.Ring.of(2048, SMALL)
    key = rlwe.ClientKey.generate(ring, Prg(SEED))
    a = np.random.default_rng(bits).integers(0, 2**bits, (2, 2048), np.uint64)
    a[1] = 2 ** (bits - 1)  # the largest magnitude everywhere
    got = key.phase_product(a, bits)
    secret = key.secret.astype(np.int64)
    for row, result in zip(a, got, strict=True):
        for k in (0, 1, 1000, 2047):
            index = np.arange(2048)
            shifted = secret[(k - index) % 2048] * np.where(index <= k, 1, -1)
            total = sum(
                int(x) * int(s) for x, s in zip(row.tolist(), shifted.tolist(), strict=True)
            )
            assert int(result[k]) == total % 2**bits


def test_a_secret_serves_a_layer_once() -> None:
    key = rlwe.ClientKey.generate(rlwe.Ring.of(2048, SMALL), Prg(SEED))
    key.claim(3)
    key.claim(4)
    with pytest.raises(ContractViolation, match="layer 3"):
        key.claim(3)
    assert "secret" not in repr(key)
