"""The primitives against vectors from outside, and against arithmetic that shares no line with
ours: FLINT for polynomials, big integers for the curve, a page of Python for trees and code.

AES against FIPS-197 and AESAVS is in test_symmetric_kernels.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from nacl import bindings as sodium

from moiety.protocols.arrays import U32
from moiety.protocols.kernels.reference import silent as reference
from moiety.protocols.linear import rlwe
from moiety.protocols.linear.parameters import ntt_primes
from moiety.protocols.ot import base_ot
from moiety.protocols.prg import Prg
from tests.protocols.twins import KernelFamily

SEED = b"known answers 01"
FAMILY = KernelFamily("silent", reference)


@pytest.fixture(params=FAMILY.twins)
def twin(request: pytest.FixtureRequest) -> Iterator[SimpleNamespace]:
    with FAMILY.twin(request.param) as kernels:
        yield kernels


def aes(key: bytes, block: int) -> int:
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return int.from_bytes(encryptor.update(block.to_bytes(16, "little")), "little")


# --- polynomials: FLINT ---------------------------------------------------------------------------


def negacyclic(a: U32, b: list[int], p: int) -> list[int]:
    """`a*b` in Z_p[X]/(X^N + 1), by FLINT."""
    flint = pytest.importorskip("flint", reason="python-flint is not installed")
    n = len(a)
    product = flint.nmod_poly(a.tolist(), p) * flint.nmod_poly([v % p for v in b], p)
    values = [int(v) for v in product.coeffs()]
    values += [0] * (2 * n - len(values))
    return [(low - high) % p for low, high in zip(values[:n], values[n:], strict=True)]


def centred(values: list[int], p: int) -> np.ndarray:
    return np.array([v - p if v > p // 2 else v for v in values])


@pytest.mark.parametrize(("degree", "bits", "count"), [(2048, 26, 2), (4096, 27, 3), (8192, 27, 7)])
def test_products_are_those_of_flint(degree: int, bits: int, count: int) -> None:
    ring = rlwe.Ring.of(degree, ntt_primes(bits, count))
    a_hat = ring.public_hat(SEED, "flint", 1)
    a = ring.inverse(a_hat)
    secret = rlwe.ternary(Prg(SEED), (degree,))
    product = ring.times(a, ring.forward(ring.lift(secret)[:, None])[:, 0])
    for i, p in enumerate(ring.primes):
        assert product[i, 0].tolist() == negacyclic(a[i, 0], secret.tolist(), p)


@pytest.mark.parametrize(("degree", "bits", "count"), [(2048, 26, 2), (4096, 26, 4)])
def test_ciphertexts_decrypt_to_noise_of_the_claimed_size(
    degree: int, bits: int, count: int
) -> None:
    """Key, ciphertexts and encryptions of zero, decrypted by FLINT: fresh errors are centred
    binomial of variance 10.5 and the same modulo every prime; those of an encryption of zero are
    `e*u + e2*s + e3`, of variance `10.5 * (1 + 2 * N * 2/3)`.
    """
    ring = rlwe.Ring.of(degree, ntt_primes(bits, count))
    prg = Prg.from_os()
    key = rlwe.ClientKey.generate(ring, prg)
    secret = key.secret.tolist()
    assert sorted(set(secret)) == [-1, 0, 1]

    def noise(a: U32, b: U32) -> np.ndarray:
        found = [
            centred(
                [
                    (y - x) % p
                    for y, x in zip(b[i].tolist(), negacyclic(a[i], secret, p), strict=True)
                ],
                p,
            )
            for i, p in enumerate(ring.primes)
        ]
        assert all(np.array_equal(found[0], other) for other in found)
        return found[0]

    a_hat = ring.public_hat(SEED, "fresh", 4)
    a, b = ring.inverse(a_hat), key.mask(a_hat, prg)
    fresh = np.concatenate([noise(a[:, j], b[:, j]) for j in range(4)])
    assert abs(fresh).max() <= 21
    spread = 6 * 10.5 * math.sqrt(2 / fresh.size)
    assert abs(fresh.var() - 10.5) < spread
    assert abs(fresh.mean()) < 6 * math.sqrt(10.5 / fresh.size)

    pa_hat = rlwe.public_key_a(ring, SEED)
    pb = key.mask(pa_hat[:, None], prg)
    zero_a, zero_b = rlwe.ServerKey(ring, pa_hat, ring.forward(pb)[:, 0]).zeros(4, prg)
    zeros = np.concatenate([noise(zero_a[:, j], zero_b[:, j]) for j in range(4)])
    claimed = 10.5 * (1 + 4 / 3 * degree)
    assert 0.8 * claimed < zeros.var() < 1.25 * claimed


# --- the curve: RFC 8032 and big integers ---------------------------------------------------------

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int]


def plus(a: Point, b: Point) -> Point:
    (x1, y1), (x2, y2) = a, b
    t = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + t, -1, P)
    y = (y1 * y2 + x1 * x2) * pow(1 - t, -1, P)
    return x % P, y % P


def times(k: int, point: Point) -> Point:
    result = (0, 1)
    while k:
        if k & 1:
            result = plus(result, point)
        point, k = plus(point, point), k >> 1
    return result


def decoded(octets: bytes) -> Point:
    number = int.from_bytes(octets, "little")
    sign, y = number >> 255, number & ((1 << 255) - 1)
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert x * x % P == square
    return (P - x if x & 1 != sign else x), y


def encoded(point: Point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


BASE = decoded(bytes.fromhex("58" + "66" * 31))


@pytest.mark.parametrize(
    ("secret", "public"),
    [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        ),
    ],
)
def test_the_curve_is_that_of_rfc_8032(secret: str, public: str) -> None:
    digest = bytearray(hashlib.sha512(bytes.fromhex(secret)).digest()[:32])
    digest[0] &= 248
    digest[31] = digest[31] & 63 | 64
    scalar = int.from_bytes(digest, "little")
    assert encoded(times(scalar, BASE)).hex() == public
    reduced = (scalar % ORDER).to_bytes(32, "little")
    made = sodium.crypto_scalarmult_ed25519_base_noclamp(reduced)
    assert made.hex() == public


def test_base_transfers_restated() -> None:
    """Endemic OT (Masny, Rindal, CCS 2019, Figure 8), with the curve's arithmetic in big integers:
    only the hash to a point is taken as it is, and seen to lie in the prime-order group.
    """
    choices = np.array([0, 1, 1, 0], np.uint8)
    receiver = base_ot.BaseReceiver.start(b"tag", choices, Prg.from_os())
    answer, keys = base_ot.send(b"tag", receiver.message, Prg.from_os())
    chosen = receiver.finish(answer)
    b_point = decoded(answer)
    assert times(ORDER, b_point) == (0, 1)
    for index, bit in enumerate(choices.tolist()):
        pair = receiver.message[64 * index : 64 * index + 64]
        points = [decoded(pair[:32]), decoded(pair[32:])]
        other = pair[32 * (1 - bit) : 32 * (2 - bit)]
        offset = decoded(base_ot._hash_to_point(b"tag", 2 * index + bit, other))
        assert times(ORDER, offset) == (0, 1)
        scalar = int.from_bytes(receiver.scalars[index], "little")
        # The receiver's own point and the other's hash add up to what it knows the logarithm of.
        assert plus(points[bit], offset) == times(scalar, BASE)
        shared = encoded(times(scalar, b_point))
        hashed = hashlib.sha256(
            b"moiety base-ot key" + b"tag" + index.to_bytes(4, "little") + answer + pair + shared
        )
        assert chosen[index].tobytes() == hashed.digest()[:16] == keys[index, bit].tobytes()
        assert keys[index, 1 - bit].tobytes() != keys[index, bit].tobytes()


# --- trees and code: a page of Python -------------------------------------------------------------

MASK = (1 << 64) - 1


def by_x(block: int) -> int:
    """Every nibble times X in F_2[X]/(X^4 + X + 1)."""
    nibbles = [block >> 4 * i & 15 for i in range(32)]
    return sum(((n << 1) ^ (0x13 if n & 8 else 0)) << 4 * i for i, n in enumerate(nibbles))


def sigma(block: int) -> int:
    """(low, high) -> (high, low + X*high)."""
    low, high = block & MASK, block >> 64
    return high | (low ^ by_x(high)) << 64


def hashed(key: bytes, block: int) -> int:
    return aes(key, sigma(block)) ^ sigma(block)


def tree(key: bytes, delta: int, root: int, depth: int, width: int) -> tuple[list[int], list[int]]:
    """(sums of left nodes by level, and over F_16 of right leaves; leaves)."""
    nodes, sums = [root, root ^ delta], [root]
    for _ in range(depth - (2 if width == 4 else 1)):
        left = [hashed(key, node) for node in nodes]
        sums.append(_xor(left))
        nodes = [each for h, node in zip(left, nodes, strict=True) for each in (h, h ^ node)]
    if width == 4:
        left, right = ([hashed(key, node ^ side) for node in nodes] for side in (0, 1))
        sums += [_xor(left), _xor(right)]
        nodes = [each for pair in zip(left, right, strict=True) for each in pair]
    return sums, nodes


def code_output(code: bytes, index: int, seeds: list[int], width: int) -> int:
    """Ten seeds at places of the key stream's 32-bit words, over F_16 by grades 3 to 0."""
    total = 0
    for j, grade in enumerate((3, 3, 2, 2, 1, 1, 1, 0, 0, 0)):
        block, word = divmod(10 * index + j, 4)
        seed = seeds[(aes(code, block) >> 32 * word & 0xFFFFFFFF) * len(seeds) >> 32]
        for _ in range(grade if width == 4 else 0):
            seed = by_x(seed)
        total ^= seed
    return total


def _xor(blocks: list[int]) -> int:
    total = 0
    for block in blocks:
        total ^= block
    return total


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("depth", [2, 3, 6])
def test_trees_and_code_restated(twin: SimpleNamespace, depth: int, width: int) -> None:
    rng = np.random.default_rng(depth)

    def noise(*shape: int) -> np.ndarray:
        return rng.integers(0, 256, shape).astype(np.uint8)

    trees, start = 3, 5
    keys, delta, roots, seeds, code = (
        noise(trees, 16),
        noise(16),
        noise(trees, 16),
        noise(50, 16),
        noise(16),
    )

    def number(block: np.ndarray) -> int:
        return int.from_bytes(block.tobytes(), "little")

    grown = [
        tree(keys[i].tobytes(), number(delta), number(roots[i]), depth, width) for i in range(trees)
    ]
    sums = twin.tree_sums(keys, delta, roots, depth, width)
    assert [[number(x) for x in row] for row in sums] == [level for level, _ in grown]
    rows = np.empty((trees << depth, 16), np.uint8)
    checks = np.empty((trees, reference.check_blocks(depth, width), 16), np.uint8)
    twin.expand_full(keys, delta, roots, depth, width, seeds, code, start, rows, checks)
    known = [number(seed) for seed in seeds]
    leaves = [leaf for _, tree_leaves in grown for leaf in tree_leaves]
    expected = [
        leaf ^ code_output(code.tobytes(), start + i, known, width) for i, leaf in enumerate(leaves)
    ]
    assert [number(row) for row in rows] == expected
