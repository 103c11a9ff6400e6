"""Parameters, ring and kernels of the RLWE layers, against
big-integer arithmetic and each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moiety.protocols import kernels
from moiety.protocols.errors import BadPlan, ContractViolation
from moiety.protocols.kernels.reference import rlwe as reference
from moiety.protocols.linear import rlwe
from moiety.protocols.linear.parameters import (
    FAILURE_BITS,
    MAX_LOG2_Q,
    PHASE_PRIMES,
    STATISTICAL_BITS,
    answer_noise,
    check_parameters,
    fit,
    is_prime,
    ntt_primes,
)
from moiety.protocols.prg import Prg

SEED = bytes(range(16))
SMALL = ntt_primes(27, 2)


def instruction_sets() -> list[str]:
    try:
        from moiety.protocols.kernels import _native
    except ImportError:
        return []
    return list(_native.rlwe_isa_names())


@pytest.fixture(params=["reference", *instruction_sets()])
def family(request: pytest.FixtureRequest) -> Iterator[object]:
    """One implementation of the kernels: the NumPy reference, or the compiled
    ones for one instruction set.
    """
    if request.param == "reference":
        yield reference
        return
    from moiety.protocols.kernels import _native

    before = _native.rlwe_isa()
    _native.set_rlwe_isa(request.param)
    yield _native
    _native.set_rlwe_isa(before)


def schoolbook(x: list[int], y: list[int], modulus: int) -> list[int]:
    n = len(x)
    out = [0] * n
    for i, a in enumerate(x):
        for j, b in enumerate(y):
            out[(i + j) % n] += a * b if i + j < n else -a * b
    return [v % modulus for v in out]


def residues(rng: np.random.Generator, primes: tuple[int, ...], *shape: int) -> np.ndarray:
    return np.stack([rng.integers(0, p, shape, dtype=np.uint32) for p in primes])


def from_residues(x: np.ndarray, primes: tuple[int, ...]) -> list[int]:
    q = math.prod(primes)
    basis = [q // p * pow(q // p, -1, p) for p in primes]
    return [sum(int(v) * b for v, b in zip(column, basis, strict=True)) % q for column in x.T]


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
    assert MAX_LOG2_Q == {2048: 54, 4096: 109, 8192: 218}
    for degree, limit in MAX_LOG2_Q.items():
        check_parameters(degree, ntt_primes(27, limit // 27))
        with pytest.raises(BadPlan, match="128-bit security"):
            check_parameters(degree, ntt_primes(27, limit // 27 + 1))
    with pytest.raises(BadPlan, match="not supported"):
        check_parameters(1024, SMALL[:1])
    with pytest.raises(BadPlan, match="distinct"):
        check_parameters(4096, (SMALL[0], SMALL[0]))
    with pytest.raises(BadPlan, match="NTT prime"):
        check_parameters(2048, (SMALL[0] - 2,))


def test_flooding_hides_the_noise_and_still_decrypts() -> None:
    noise = answer_noise(4096, 11, 1152, 1, 100_000)
    primes = ntt_primes(27, 4)
    found = fit(primes, "flooded", 28, noise)
    assert found is not None
    # Distance of all coefficients together: mean |v| / 2^(f+1) each.
    distance = noise.coefficients * math.sqrt(noise.variance) / 2 ** (found.flood_bits + 1)
    assert distance <= 2**-STATISTICAL_BITS
    error = (2**found.flood_bits + noise.bound + 1) / math.prod(
        primes
    ) + noise.rounding() / 2**found.answer_bits
    assert error < 2.0**-29
    assert 2 * math.exp(-(noise.bound**2) / (2 * noise.variance)) * noise.coefficients <= 2.0 ** -(
        FAILURE_BITS - 1
    )
    assert fit(primes, "flooded", 28, noise, found.flood_bits - 1) is None
    assert fit(ntt_primes(27, 3), "flooded", 28, noise) is None
    assert fit(ntt_primes(25, 2), "uniform", 28, noise) is not None


# --- kernels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("primes", [SMALL, PHASE_PRIMES], ids=["27-bit", "30-bit"])
def test_transform_multiplies_like_the_schoolbook(family: object, primes: tuple[int, ...]) -> None:
    degree = 256
    rng = np.random.default_rng(1)
    p, tables = np.array(primes, np.uint32), rlwe.ntt_tables(degree, primes)
    x, y = residues(rng, primes, 2, degree), residues(rng, primes, 1, degree)
    x[:, 0] = p[:, None] - 1
    y_hat = family.ntt_forward(y, p, tables)[:, 0]
    product = family.ntt_inverse(
        family.multiply_mod(family.ntt_forward(x, p, tables), y_hat, p), p, tables
    )
    for i, prime in enumerate(primes):
        for j in range(2):
            assert product[i, j].tolist() == schoolbook(x[i, j].tolist(), y[i, 0].tolist(), prime)


@pytest.mark.parametrize("degree", [256, 512, 2048, 8192])
def test_transform_is_a_linear_bijection(family: object, degree: int) -> None:
    rng = np.random.default_rng(degree)
    p, tables = np.array(SMALL, np.uint32), rlwe.ntt_tables(degree, SMALL)
    x, y = residues(rng, SMALL, 3, degree), residues(rng, SMALL, 3, degree)
    fx, fy = family.ntt_forward(x, p, tables), family.ntt_forward(y, p, tables)
    total = family.add_mod(x.reshape(2, -1), y.reshape(2, -1), p).reshape(x.shape)
    assert np.array_equal(
        family.ntt_forward(total, p, tables), (fx.astype(np.uint64) + fy) % p[:, None, None]
    )
    assert np.array_equal(family.ntt_inverse(fx, p, tables), x)
    assert np.array_equal(fx, reference.ntt_forward(x, p, tables))


@pytest.mark.parametrize("size", [1, 15, 16, 17, 1000])
def test_samplers(family: object, size: int) -> None:
    words = np.random.default_rng(size).integers(0, 2**64, size, np.uint64)
    words[:1] = 2**64 - 1
    trits, errors = family.sample_ternary(words), family.sample_binomial(words)
    expected = []
    for word in words.tolist():
        for _ in range(4):
            word *= 3
            expected.append((word >> 64) - 1)
            word &= 2**64 - 1
    assert trits.tolist() == expected
    assert errors.tolist() == [
        (w & 0x1FFFFF).bit_count() - (w >> 21 & 0x1FFFFF).bit_count() for w in words.tolist()
    ]
    p = np.array(SMALL, np.uint32)
    assert np.array_equal(
        family.lift_small(errors, p), errors.astype(np.int64) % p.astype(np.int64)[:, None]
    )


def test_sampled_distributions() -> None:
    prg = Prg(SEED)
    trits, errors = rlwe.ternary(prg, (60_000,)), rlwe.error(prg, (60_000,))
    assert np.allclose([np.mean(trits == v) for v in (-1, 0, 1)], 1 / 3, atol=0.01)
    assert abs(errors.mean()) < 0.06
    assert abs(errors.astype(float).var() - 10.5) < 0.3


def test_uniform_residues(family: object) -> None:
    prime = ntt_primes(24, 1)[0]
    words = np.random.default_rng(3).integers(0, 2**32, 5000, np.uint32)
    words[:4] = (prime, prime - 1, 2**24 - 1, 0)
    expected = [w & 0xFFFFFF for w in words.tolist() if w & 0xFFFFFF < prime]
    assert family.uniform_residues(words, prime, 4000).tolist() == expected[:4000]
    with pytest.raises(ValueError, match="asked for"):
        family.uniform_residues(words[:10], prime, 10)


@pytest.mark.parametrize("bits", [1, 8, 28, 41, 52])
@pytest.mark.parametrize(
    "primes", [SMALL, ntt_primes(27, 4), ntt_primes(25, 3)], ids=["2", "4", "3"]
)
def test_conversions_against_big_integers(
    family: object, bits: int, primes: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(bits)
    p, q = np.array(primes, np.uint32), math.prod(primes)
    x = rng.integers(0, 2**bits, 67, np.uint64)
    x[:2] = (0, 2**bits - 1)
    dither = rng.integers(0, 2**64, 67, np.uint64)
    inverses = np.array([pow(1 << bits, -1, v) for v in primes], np.uint32)
    encoded = from_residues(
        family.encode_residues(x, dither, bits, q % 2**bits, inverses, p), primes
    )
    for value, noise, result in zip(x.tolist(), dither.tolist(), encoded, strict=True):
        floor, rest = divmod(q * value, 2**bits)
        assert result == (floor + (noise % 2**bits < rest)) % q

    signed = [v - 2**bits if v >= 2 ** (bits - 1) else v for v in x.tolist()]
    lifted = family.lift_centred(x, bits, p)
    assert lifted.T.tolist() == [[v % r for r in primes] for v in signed]
    if q > 2 ** (bits + 2):
        assert family.crt_signed(lifted, p, bits).tolist() == x.tolist()

    y = residues(rng, primes, 67)
    basis = np.array([pow(q // v, -1, v) for v in primes], np.uint32)
    for value, result in zip(
        from_residues(y, primes), family.torus_round(y, p, basis, bits).tolist(), strict=True
    ):
        # The sum of floored fractions may be low by L * 2^-64, which matters only
        # next to a rounding boundary.
        assert result in {
            (2 * (value * 2**bits - d * q) // q + 1) // 2 % 2**bits for d in (0, 2.0**-10)
        }


@pytest.mark.parametrize("bits", [5, 63, 64, 79, 103])
def test_flood_residues(family: object, bits: int) -> None:
    primes = ntt_primes(27, 4)
    words = np.random.default_rng(bits).integers(0, 2**64, (50, 2), np.uint64)
    words[0], words[1] = 0, 2**64 - 1
    got = from_residues(family.flood_residues(words, bits, np.array(primes, np.uint32)), primes)
    for (low, high), value in zip(words.tolist(), got, strict=True):
        assert value == ((low | high << 64) % 2 ** (bits + 1) - 2**bits) % math.prod(primes)


@pytest.mark.parametrize(
    ("offset", "stride", "count", "length"),
    [(0, 1, 1, 256), (-5, 7, 3, 300), (-259, 128, 4, 700), (255, 1, 2, 5)],
)
def test_shifted_rows_continue_negacyclically(
    family: object, offset: int, stride: int, count: int, length: int
) -> None:
    x = residues(np.random.default_rng(5), SMALL[:1], 2, 256)[0]
    rows = family.shifted_rows(x, offset, stride, count, length)
    assert rows.shape == (2 * count, length)
    for i in range(2):
        for c in range(count):
            for j in range(0, length, 13):
                turns, k = divmod(offset + c * stride + j, 256)
                assert rows[i * count + c, j] == (-1) ** turns * int(x[i, k])


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(-(2**53) + 1, 2**53 - 1), min_size=1, max_size=40),
    st.sampled_from(ntt_primes(27, 3) + ntt_primes(24, 2)),
)
def test_reduce_products(values: list[int], prime: int) -> None:
    x = np.array(values, np.float64)
    expected = [v % prime for v in values]
    assert reference.reduce_products(x, prime).tolist() == expected
    assert kernels.reduce_products(x, prime).tolist() == expected


# --- encryption -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("degree", "count"), [(2048, 2), (4096, 4)])
def test_encryption_and_zeros_have_small_noise(degree: int, count: int) -> None:
    ring = rlwe.Ring.of(degree, ntt_primes(27, count))
    prg = Prg(SEED)
    key = rlwe.ClientKey.generate(ring, prg)

    def noise(a_hat: np.ndarray, b: np.ndarray) -> list[int]:
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
    bound = answer_noise(degree, 1, 0, 1, 3 * degree).bound
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
