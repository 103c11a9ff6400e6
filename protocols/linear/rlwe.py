"""The ring R_q = Z_q[X]/(X^N+1) in residue form, and symmetric encryption under per-query secrets.

Polynomials are uint32 arrays `(L, n, N)`: one row of residues per prime. Encryption is RLWE with
messages in Z_{2^l} at scale `q / 2^l` (BFV, Fan and Vercauteren 2012): `b = a*s + e + q*m/2^l`. The
`a` are public, expanded from the model's seed, and the same for every query (many secrets against
one `a` is multi-secret RLWE; Peikert, Vaikuntanathan, Waters 2008, section 7.2); one secret must
never meet one `a` twice, which `ClientKey.claim` enforces.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Generic, TypeVar

import numpy as np

from moiety.protocols import kernels
from moiety.protocols.arrays import I8, U32, U64
from moiety.protocols.errors import ContractViolation
from moiety.protocols.linear.parameters import PHASE_PRIMES, check_parameters
from moiety.protocols.parallel import Workers
from moiety.protocols.prg import Prg

SEED_BYTES = 16


def ntt_tables(degree: int, primes: tuple[int, ...]) -> U32:
    """Twiddles `(L, 4, N)`: psi^bitrev(i), its Shoup quotient `floor(2^32 w / p)`, psi^-bitrev(i),
    its quotient; entry 0 of the inverse pair is 1/N.
    """
    bits = degree.bit_length() - 1
    order = np.array([int(f"{i:0{bits}b}"[::-1], 2) for i in range(degree)])
    tables = np.empty((len(primes), 4, degree), np.uint32)
    for i, p in enumerate(primes):
        psi = _root_of_unity(2 * degree, p)
        for row, root in ((0, psi), (2, pow(psi, -1, p))):
            powers = np.empty(degree, np.uint64)
            power = 1
            for j in range(degree):
                powers[j] = power
                power = power * root % p
            powers = powers[order]
            if row == 2:
                powers[0] = pow(degree, -1, p)
            tables[i, row] = powers
            tables[i, row + 1] = (powers << np.uint64(32)) // np.uint64(p)
    return tables


def _root_of_unity(order: int, p: int) -> int:
    """The smallest-base primitive `order`-th root of unity modulo p (order a power of two)."""
    for base in range(2, p):
        root = pow(base, (p - 1) // order, p)
        if pow(root, order // 2, p) == p - 1:
            return root
    raise ContractViolation(f"{p} has no root of unity of order {order}")


@dataclass(frozen=True)
class Ring:
    """R_q with its tables. Make it with `Ring.of`."""

    degree: int
    primes: tuple[int, ...]
    p: U32 = field(repr=False)
    tables: U32 = field(repr=False)

    @staticmethod
    @lru_cache(maxsize=256)
    def of(degree: int, primes: tuple[int, ...]) -> Ring:
        """Raises `BadPlan` for parameters outside the security table."""
        check_parameters(degree, primes)
        return Ring(degree, primes, np.array(primes, np.uint32), ntt_tables(degree, primes))

    @property
    def modulus(self) -> int:
        return math.prod(self.primes)

    def forward(self, x: U32) -> U32:
        return kernels.ntt_forward(x, self.p, self.tables)

    def inverse(self, x: U32) -> U32:
        return kernels.ntt_inverse(x, self.p, self.tables)

    def times(self, x: U32, y_hat: U32) -> U32:
        """`x * y` for x `(L, n, N)` and one transformed y `(L, N)`."""
        return self.inverse(kernels.multiply_mod(self.forward(x), y_hat, self.p))

    def add(self, x: U32, y: U32) -> U32:
        size = len(self.primes)
        return kernels.add_mod(x.reshape(size, -1), y.reshape(size, -1), self.p).reshape(x.shape)

    def lift(self, small: I8) -> U32:
        """Residues `(L, *small.shape)` of small integers."""
        return kernels.lift_small(small.reshape(-1), self.p).reshape(len(self.primes), *small.shape)

    def encode(self, x: U64, bits: int, prg: Prg) -> U32:
        """Residues `(L, *x.shape)` of `q*x / 2^bits`, stochastically rounded (see parameters)."""
        inverses = np.array([pow(1 << bits, -1, p) for p in self.primes], np.uint32)
        flat = x.reshape(-1)
        q_low = self.modulus % (1 << bits)
        out = kernels.encode_residues(flat, prg.uint64(flat.size), bits, q_low, inverses, self.p)
        return out.reshape(len(self.primes), *x.shape)

    def to_torus(self, x: U32, bits: int) -> U64:
        """`round(x * 2^bits / q) mod 2^bits`, of shape `x.shape[1:]`."""
        inverses = np.array([pow(self.modulus // p, -1, p) for p in self.primes], np.uint32)
        return kernels.torus_round(x.reshape(len(self.primes), -1), self.p, inverses, bits).reshape(
            x.shape[1:]
        )

    def public_hat(
        self, seed: bytes, domain: str, count: int, workers: Workers | None = None
    ) -> U32:
        """`count` public uniform polynomials in the NTT domain, `(L, count, N)`, from a stream that
        only this domain and ring have. Threads share the primes.
        """
        if len(seed) != SEED_BYTES:
            raise ContractViolation(
                f"the public seed of a model has {SEED_BYTES} bytes, not {len(seed)}"
            )
        need = count * self.degree
        name = f"moiety.rlwe.public/{self.degree}/{','.join(map(str, self.primes))}/{domain}"
        out = np.empty((len(self.primes), count, self.degree), np.uint32)

        def draw(i: int) -> None:
            p = self.primes[i]
            key = hashlib.sha256(seed + f"{name}/{i}".encode()).digest()[:16]
            # Expected rejections plus 12 standard deviations of slack, made the same way by both
            # parties.
            reject = 1 - p / (1 << p.bit_length())
            slack = math.ceil(need * reject * 2 + 12 * math.sqrt(need * reject) + 64)
            words = Prg(key).bytes(4 * (need + slack)).view(np.uint32)
            out[i] = kernels.uniform_residues(words, p, need).reshape(count, self.degree)

        (workers or Workers()).each(draw, range(len(self.primes)))
        return out


def ternary(prg: Prg, shape: tuple[int, ...]) -> I8:
    """Uniform in {-1, 0, 1}."""
    size = math.prod(shape)
    return kernels.sample_ternary(prg.uint64(-(-size // 4)))[:size].reshape(shape)


def error(prg: Prg, shape: tuple[int, ...]) -> I8:
    """Centred binomial of parameter 21."""
    return kernels.sample_binomial(prg.uint64(math.prod(shape))).reshape(shape)


def public_key_a(ring: Ring, public_seed: bytes) -> U32:
    """The `a` of every public key of this ring, NTT domain, `(L, N)`; its own domain, apart from
    all ciphertexts'.
    """
    return ring.public_hat(public_seed, "public-key", 1)[:, 0]


def ciphertext_a(
    ring: Ring,
    public_seed: bytes,
    layer: int,
    tile: int,
    count: int,
    workers: Workers | None = None,
) -> U32:
    """The `a_j` of one tile's ciphertexts of one layer, NTT domain, `(L, count, N)`."""
    return ring.public_hat(public_seed, f"layer/{layer}/tile/{tile}", count, workers)


@dataclass
class ClientKey:
    """A secret for one query and one ring. It encrypts for each layer once."""

    ring: Ring
    secret: I8 = field(repr=False)
    hat: U32 = field(repr=False)
    _used: set[int] = field(default_factory=set, repr=False)

    @staticmethod
    def generate(ring: Ring, prg: Prg) -> ClientKey:
        secret = ternary(prg, (ring.degree,))
        return ClientKey(ring, secret, ring.forward(ring.lift(secret)[:, None])[:, 0])

    def claim(self, layer: int) -> None:
        """Call before encrypting for a layer. Raises `ContractViolation` the second time: the same
        `a` under the same secret reveals the shares.
        """
        if layer in self._used:
            raise ContractViolation(
                f"this RLWE secret has already encrypted for layer {layer}; "
                "every image needs new_query_client before its first layer"
            )
        self._used.add(layer)

    def mask(self, a_hat: U32, prg: Prg) -> U32:
        """`a*s + e` for every a `(L, n, N)` in the NTT domain, coefficients."""
        product = self.ring.inverse(kernels.multiply_mod(a_hat, self.hat, self.ring.p))
        return self.ring.add(product, self.ring.lift(error(prg, a_hat.shape[1:])))

    def phase_product(self, a: U64, bits: int) -> U64:
        """`a*s mod 2^bits` in Z[X]/(X^N+1), a `(n, N)` in Z_{2^bits}: exact, modulo a few
        NTT primes.
        """
        work = _phase_ring(self.ring.degree, phase_primes(self.ring.degree, bits))
        hat = work.forward(work.lift(self.secret)[:, None])[:, 0]
        lifted = kernels.lift_centred(a.reshape(-1), bits, work.p).reshape(
            len(work.primes), *a.shape
        )
        product = work.times(lifted, hat)
        return kernels.crt_signed(product.reshape(len(work.primes), -1), work.p, bits).reshape(
            a.shape
        )


def phase_primes(degree: int, bits: int) -> int:
    """How many NTT primes hold `a*s` for an a in Z_{2^bits}."""
    # |a*s| <= N * 2^(bits-1); crt_signed needs it below a quarter of the primes' product (29.9 bits
    # each).
    count = math.ceil((bits - 1 + math.log2(degree) + 2) / 29.9)
    if count > len(PHASE_PRIMES):
        raise ContractViolation(f"answers of {bits} bits need more than {len(PHASE_PRIMES)} primes")
    return max(count, 2)


@lru_cache(maxsize=16)
def _phase_ring(degree: int, count: int) -> Ring:
    """Arithmetic only, no security: not checked against the table."""
    primes = PHASE_PRIMES[:count]
    return Ring(degree, primes, np.array(primes, np.uint32), ntt_tables(degree, primes))


@dataclass
class ServerKey:
    """The client's public key `(pa, pb = pa*s + e)` of one query, NTT domain."""

    ring: Ring
    pa_hat: U32
    pb_hat: U32

    def zeros(self, count: int, prg: Prg) -> tuple[U32, U32]:
        """Fresh encryptions of zero, `(a, b)`, each `(L, count, N)` (Lyubashevsky, Peikert,
        Regev 2010).
        """
        ring = self.ring
        shape = (count, ring.degree)
        u_hat = ring.forward(ring.lift(ternary(prg, shape)))
        parts = []
        for key in (self.pa_hat, self.pb_hat):
            product = ring.inverse(kernels.multiply_mod(u_hat, key, ring.p))
            parts.append(ring.add(product, ring.lift(error(prg, shape))))
        return parts[0], parts[1]


K = TypeVar("K", ClientKey, ServerKey)


class QueryKeys(Generic[K]):
    """One party's keys of the current query: one per ring (N, q) that its layers use."""

    def __init__(self) -> None:
        self._keys: dict[tuple[int, tuple[int, ...]], K] = {}

    def __iter__(self) -> Iterator[K]:
        return iter(self._keys.values())

    def forget(self) -> None:
        """Before every query: no key serves two."""
        self._keys.clear()

    def add(self, key: K) -> None:
        self._keys[key.ring.degree, key.ring.primes] = key

    def of(self, degree: int, primes: tuple[int, ...]) -> K:
        """Raises `ContractViolation` where this query has made none."""
        try:
            return self._keys[degree, primes]
        except KeyError:
            raise ContractViolation(
                f"no RLWE key for N = {degree} and {len(primes)} primes: new_query comes first"
            ) from None
