"""Inputs for `benchmarks.kernels`: every kernel as the protocols call it, with what it
cannot do without.

`work` is per unit: AES blocks, gathers, multiply-adds twice, or bytes read and written halved, by
`limit`. A pad is one AES call, the sender's for each of 2^k options;
SoftSpoken needs 4 blocks per bit of a correlation (32 trees of 16 leaves, 128 to a block), the
sender's unknown leaf left out; a half-tree 1.5 per leaf.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from moiety.protocols import kernels
from moiety.protocols.arrays import U8, U32, U64
from moiety.protocols.linear.parameters import ntt_primes
from moiety.protocols.linear.rlwe import Ring
from moiety.protocols.ot import lpn
from moiety.protocols.ot.lpn import LpnParameters

Limit = Literal["aes", "copy", "gather", "gemm", ""]
Rng = np.random.Generator

SEEDS = lpn.BITS.seeds
DEGREE, PRIMES = 4096, ntt_primes(25, 3)
BITS, OUT_BITS, ANSWER_BITS = 13, 26, 35
MASKED_BITS = 20
KEY = np.zeros(16, np.uint8)  # of the hash
NONE = np.zeros(0, np.uint8)  # no delta and no key, with prepared pads


@dataclass(frozen=True)
class Made:
    """A call: arguments, units of work in it and their name, and what bounds a unit from below."""

    arguments: tuple[Any, ...]
    units: int
    unit: str
    limit: Limit = ""
    work: float = 0.0


CASES: dict[str, Callable[[Rng, int], Made]] = {}
"""By name: the kernel's, with a suffix where it is measured more than once.
`(rng, elements) -> Made`.
"""


def case(name: str) -> Callable[[Callable[[Rng, int], Made]], Callable[[Rng, int], Made]]:
    def add(make: Callable[[Rng, int], Made]) -> Callable[[Rng, int], Made]:
        CASES[name] = make
        return make

    return add


def octets(rng: Rng, *shape: int, below: int = 256) -> U8:
    return rng.integers(0, below, shape, np.uint8)


def words(rng: Rng, *shape: int, bits: int = 64) -> U64:
    return rng.integers(0, 1 << bits, shape, np.uint64)


# --- transfers ------------------------------------------------------------------------------------


@case("aes_ctr")
def _(rng: Rng, n: int) -> Made:
    return Made((octets(rng, 16), 5, 16 * n), n, "16 bytes", "aes", 1)


@case("ggm_expand")
def _(rng: Rng, n: int) -> Made:
    return Made((octets(rng, n, 16), octets(rng, 2, 16)), n, "seed", "aes", 2)


def _vole(k: int) -> None:
    @case(f"vole_receiver k={k}")
    def _(rng: Rng, n: int) -> Made:
        return Made(
            (octets(rng, 32, 16, 16), 0, k, n // 128), n // 128 * 128, "correlation", "aes", 4 * k
        )

    @case(f"vole_sender k={k}")
    def _(rng: Rng, n: int) -> Made:
        keys, delta = octets(rng, 32, 16, 16), octets(rng, 16)
        _, _, corrections = kernels.vole_receiver(keys, 0, k, n // 128)
        return Made(
            (keys, delta, 0, k, n // 128, corrections),
            n // 128 * 128,
            "correlation",
            "aes",
            3.75 * k,
        )


def _transfers(k: int) -> None:
    options = 1 << k

    def common(rng: Rng, n: int) -> tuple[U8, U8, U8, U8, U8]:
        shifts, choices = octets(rng, n, below=options), octets(rng, n, below=options)
        return octets(rng, n, 16), octets(rng, 16), shifts, choices, shifts ^ choices

    @case(f"leaves_send k={k}")
    def _(rng: Rng, n: int) -> Made:
        w, delta, shifts, choices, _ = common(rng, n)
        return Made((w, delta, k, KEY, shifts, choices[None], True), n, "digit", "aes", options)

    @case(f"leaves_recv k={k}")
    def _(rng: Rng, n: int) -> Made:
        w, delta, shifts, choices, u = common(rng, n)
        messages, _ = kernels.leaves_send(w, delta, k, KEY, shifts, choices[None], True)
        return Made((w, k, KEY, choices, u, 1, True, messages), n, "digit", "aes", 1)

    @case(f"join_send k={k}")
    def _(rng: Rng, n: int) -> Made:
        w, delta, shifts, choices, _ = common(rng, n)
        return Made(
            (w, delta, k, KEY, shifts, choices, octets(rng, options, below=4), 2),
            n,
            "join",
            "aes",
            options,
        )

    @case(f"lookup_send k={k}")
    def _(rng: Rng, n: int) -> Made:
        w, delta, shifts, _, _ = common(rng, n)
        return Made(
            (w, delta, k, KEY, shifts, octets(rng, n, options), 2), n, "lookup", "aes", options
        )

    @case(f"lookup_recv k={k}")
    def _(rng: Rng, n: int) -> Made:
        w, delta, shifts, choices, u = common(rng, n)
        messages, _ = kernels.lookup_send(w, delta, k, KEY, shifts, octets(rng, n, options), 2)
        return Made((w, k, KEY, choices, u, 2, messages), n, "lookup", "aes", 1)


for _k in (4, 1):
    _vole(_k)
_transfers(4)


@case("arith_send k=1")
def _(rng: Rng, n: int) -> Made:
    table = words(rng, n, 2, bits=BITS)
    return Made(
        (octets(rng, n, 16), octets(rng, 16), 1, KEY, octets(rng, n, below=2), table, BITS),
        n,
        "transfer",
        "aes",
        2,
    )


@case("arith_recv k=2")
def _(rng: Rng, n: int) -> Made:
    w, delta, shifts = octets(rng, n, 16), octets(rng, 16), octets(rng, n, below=4)
    choices = octets(rng, n, below=4)
    messages, _ = kernels.arith_send(w, delta, 2, KEY, shifts, words(rng, n, 4), OUT_BITS)
    return Made((w, 2, KEY, choices, shifts ^ choices, OUT_BITS, messages), n, "transfer", "aes", 1)


def _pairs(rng: Rng, n: int) -> tuple[U8, U8, U8, U8, U64]:
    """w or v, delta, shifts or choices, gates or flips, and shares of values."""
    bit, flag = octets(rng, n, below=2), octets(rng, n, below=2)
    return octets(rng, n, 16), octets(rng, 16), bit, flag, words(rng, n, bits=BITS)


@case("mux_send")
def _(rng: Rng, n: int) -> Made:
    w, delta, shifts, gate, x = _pairs(rng, n)
    return Made((w, delta, KEY, shifts, x, gate, BITS), n, "value", "aes", 4)


@case("mux_send_adding")
def _(rng: Rng, n: int) -> Made:
    w, delta, shifts, gate, x = _pairs(rng, n)
    return Made((w, delta, KEY, shifts, x, gate, x[::-1].copy(), gate, BITS), n, "value", "aes", 4)


@case("widen_send")
def _(rng: Rng, n: int) -> Made:
    w, delta, shifts, _, x = _pairs(rng, n)
    return Made((w, delta, KEY, shifts, x, x[::-1].copy(), BITS, OUT_BITS), n, "value", "aes", 4)


@case("widen_recv")
def _(rng: Rng, n: int) -> Made:
    v, delta, choices, flip, x = _pairs(rng, n)
    messages, _ = kernels.widen_send(v, delta, KEY, choices, x, x, BITS, OUT_BITS)
    arguments = (v, KEY, choices, choices, x, flip, BITS, OUT_BITS, messages)
    return Made(arguments, n, "value", "aes", 2)


# --- prepared pads --------------------------------------------------------------------------------


@case("pads_send k=4")
def _(rng: Rng, n: int) -> Made:
    return Made((octets(rng, n, 16), octets(rng, 16), 4, KEY, 2), n, "transfer", "aes", 16)


@case("pads_recv k=4")
def _(rng: Rng, n: int) -> Made:
    return Made((octets(rng, n, 16), 4, KEY, 2), n, "transfer", "aes", 1)


def _prepared(name: str, bits: int, limit: float) -> None:
    """The case of this name with its pads made beforehand, of as many bits; half the bytes that
    are read and written, an element, against a copy.
    """

    @case(f"{name} prepared")
    def _(rng: Rng, n: int) -> Made:
        made = CASES[name](rng, n)
        blocks, *rest = made.arguments
        if "send" in name:
            k = rest[1] if "k=" in name else 1
            key = rest[2 if "k=" in name else 1]
            pads = kernels.pads_send(blocks, rest[0], k, key, bits)
            arguments = (pads, NONE, *rest[1:])
        else:
            k, key = (rest[0], rest[1]) if "k=" in name else (1, rest[0])
            pads = kernels.pads_recv(blocks, k, key, bits)
            arguments = (pads, *rest)
        held = tuple(NONE if each is KEY else each for each in arguments)
        return Made(held, n, made.unit, "copy", limit)


for _name, _bits, _moved in (
    ("leaves_send k=4", 2, (4 + 1 + 1 + 3.75 + 1) / 2),
    ("leaves_recv k=4", 2, (0.25 + 1 + 3.75 + 1) / 2),
    ("join_send k=4", 2, (4 + 1 + 1 + 3.75 + 1) / 2),
    ("mux_send", BITS, (2 * BITS / 8 + 1 + 8 + 1 + BITS / 8 + 8) / 2),
    ("widen_recv", OUT_BITS - BITS, (2 * (OUT_BITS - BITS) / 8 + 1 + 8 + 1 + 8) / 2),
):
    _prepared(_name, _bits, _moved)


# Passes over memory: half the bytes that are read and written, against a copy.


@case("cut_digits")
def _(rng: Rng, n: int) -> Made:
    return Made((words(rng, n), None, 0, (1, 4, 4, 4), True), n, "value", "copy", (8 + 4) / 2)


@case("gather_bits")
def _(rng: Rng, n: int) -> Made:
    parts = [octets(rng, n, below=4) for _ in range(3)]
    return Made((parts, (2, 3, 1)), n, "choice", "copy", (3 + 1) / 2)


@case("pack")
def _(rng: Rng, n: int) -> Made:
    return Made(
        (words(rng, n, bits=OUT_BITS), OUT_BITS), n, "value", "copy", (8 + OUT_BITS / 8) / 2
    )


@case("unpack")
def _(rng: Rng, n: int) -> Made:
    data = kernels.pack(words(rng, n, bits=OUT_BITS), OUT_BITS)
    return Made((data, n, OUT_BITS), n, "value", "copy", (8 + OUT_BITS / 8) / 2)


@case("unpack8")
def _(rng: Rng, n: int) -> Made:
    return Made(
        (kernels.pack(octets(rng, n, below=4), 2), n, 2), n, "value", "copy", (1 + 2 / 8) / 2
    )


def _stream(rng: Rng, n: int) -> U8:
    """Shares of so many products."""
    return kernels.pack(words(rng, n, bits=MASKED_BITS), MASKED_BITS)


@case("product_sent")
def _(rng: Rng, n: int) -> Made:
    arguments = (_stream(rng, 2 * n), _stream(rng, n), n, MASKED_BITS)
    return Made(arguments, n, "product", "copy", 5 * MASKED_BITS / 8 / 2)


@case("product_received")
def _(rng: Rng, n: int) -> Made:
    arguments = (_stream(rng, n), _stream(rng, n), octets(rng, n, below=2), MASKED_BITS)
    return Made(arguments, n, "product", "copy", (3 * MASKED_BITS / 8 + 1) / 2)


def _value(rng: Rng, n: int) -> tuple[U64, U8, U8, U8]:
    """What a product is added to, the bit that is, too, shares of the product, what turns it."""
    flags = octets(rng, 2, n, below=2)
    return words(rng, n, bits=MASKED_BITS), flags[0], _stream(rng, n), flags[1]


@case("masked_send")
def _(rng: Rng, n: int) -> Made:
    x, bit, share, e = _value(rng, n)
    y, mask = words(rng, n, bits=MASKED_BITS), words(rng, n, bits=MASKED_BITS)
    arguments = (x, 0, y, bit, share, e, mask, MASKED_BITS)
    return Made(arguments, n, "value", "copy", (3 * 8 + 2 + 2 * MASKED_BITS / 8) / 2)


@case("masked_receive")
def _(rng: Rng, n: int) -> Made:
    x, bit, share, e = _value(rng, n)
    arguments = (x, 0, bit, share, e, _stream(rng, n), MASKED_BITS)
    return Made(arguments, n, "value", "copy", (2 * 8 + 2 + 2 * MASKED_BITS / 8) / 2)


# --- silent correlations --------------------------------------------------------------------------


def _trees(rng: Rng, n: int, p: LpnParameters) -> tuple[int, U8, tuple[int, int]]:
    """Trees for about n leaves: how many, their keys, and their shape."""
    t = max(1, n >> p.depth)
    return t, octets(rng, t, 16), (p.depth, p.width)


def _code(rng: Rng, p: LpnParameters) -> tuple[U8, U8, int]:
    return octets(rng, p.seeds, 16), octets(rng, 16), 0


def _room(trees: int, p: LpnParameters) -> tuple[U8, U8]:
    """For rows and checks."""
    return np.zeros((trees << p.depth, 16), np.uint8), np.zeros((trees, p.checks, 16), np.uint8)


for _parameters in (lpn.BITS, lpn.NIBBLES):
    _field = f"F_{1 << _parameters.width}"

    @case(f"tree_sums {_field}")
    def _(rng: Rng, n: int, p: LpnParameters = _parameters) -> Made:
        t, keys, shape = _trees(rng, n, p)
        trees = (keys, octets(rng, 16), octets(rng, t, 16), *shape)
        return Made(trees, t << p.depth, "leaf", "aes", 1 + (p.width == 4) / 2)

    @case(f"expand_full {_field}")
    def _(rng: Rng, n: int, p: LpnParameters = _parameters) -> Made:
        t, keys, shape = _trees(rng, n, p)
        made = _room(t, p)
        trees = (keys, octets(rng, 16), octets(rng, t, 16), *shape)
        return Made((*trees, *_code(rng, p), *made), t << p.depth, "output", "gather", 10)

    @case(f"expand_punctured {_field}")
    def _(rng: Rng, n: int, p: LpnParameters = _parameters) -> Made:
        t, keys, shape = _trees(rng, n, p)
        made = _room(t, p)
        holes = rng.integers(0, 1 << p.depth, t, np.uint16)
        trees = (keys, holes, octets(rng, t, p.levels, 16), *shape)
        return Made((*trees, *_code(rng, p), *made), t << p.depth, "output", "gather", 10)

    @case(f"encode_elements {_field}")
    def _(rng: Rng, n: int, p: LpnParameters = _parameters) -> Made:
        t = max(1, -(-n >> p.depth)) + 1
        holes = rng.integers(0, 1 << p.depth, (1, t), np.uint16)
        values, seeds = octets(rng, 1, t), octets(rng, p.seeds)
        arguments = (seeds, octets(rng, 16), 0, n, p.depth, p.width, holes, values)
        return Made(arguments, n, "output", "gather", 10)


@case("add_multiples")
def _(rng: Rng, n: int) -> Made:
    arguments = (octets(rng, n, 16), octets(rng, 16), octets(rng, n, below=16))
    return Made(arguments, n, "block", "copy", 16.5)


@case("column_hash")
def _(rng: Rng, n: int) -> Made:
    return Made((octets(rng, n, 16), octets(rng, 16)), n, "row", "copy", 16)


@case("polynomial_hash")
def _(rng: Rng, n: int) -> Made:
    rows, elements = octets(rng, n, 16), octets(rng, 0)
    return Made((rows, elements, octets(rng, 16), 5), n, "row", "copy", 8)


@case("polynomial_hash of u")
def _(rng: Rng, n: int) -> Made:
    rows, elements = octets(rng, n, 16), octets(rng, n, below=16)
    return Made((rows, elements, octets(rng, 16), 5), n, "row", "copy", 8.5)


@case("hash_blocks")
def _(rng: Rng, n: int) -> Made:
    return Made((octets(rng, n, 16), KEY), n, "block", "aes", 1)


# --- RLWE -----------------------------------------------------------------------------------------


def _polynomials(rng: Rng, n: int) -> U32:
    count = max(1, n // DEGREE)
    return np.stack([rng.integers(0, p, (count, DEGREE), np.uint32) for p in PRIMES])


def _ring() -> Ring:
    return Ring.of(DEGREE, PRIMES)


def _residues(rng: Rng, n: int) -> U32:
    return np.stack([rng.integers(0, p, n, np.uint32) for p in PRIMES])


L = len(PRIMES)


@case("ntt_forward")
def _(rng: Rng, n: int) -> Made:
    x = _polynomials(rng, n)
    return Made((x, _ring().p, _ring().tables), x.size, "residue", "copy", 4)


@case("ntt_inverse")
def _(rng: Rng, n: int) -> Made:
    x = _polynomials(rng, n)
    return Made((x, _ring().p, _ring().tables), x.size, "residue", "copy", 4)


@case("multiply_mod")
def _(rng: Rng, n: int) -> Made:
    x = _polynomials(rng, n)
    return Made((x, x[:, 0].copy(), _ring().p), x.size, "residue", "copy", 4)


@case("add_mod")
def _(rng: Rng, n: int) -> Made:
    x, y = _residues(rng, n), _residues(rng, n)
    return Made((x, y, _ring().p), x.size, "residue", "copy", 6)


@case("encode_residues")
def _(rng: Rng, n: int) -> Made:
    inverses = np.array([pow(1 << OUT_BITS, -1, p) for p in PRIMES], np.uint32)
    q_low = _ring().modulus % (1 << OUT_BITS)
    x, dither = words(rng, n, bits=OUT_BITS), words(rng, n)
    return Made(
        (x, dither, OUT_BITS, q_low, inverses, _ring().p),
        L * n,
        "residue",
        "copy",
        (16 / L + 4) / 2,
    )


@case("torus_round")
def _(rng: Rng, n: int) -> Made:
    inverses = np.array([pow(_ring().modulus // p, -1, p) for p in PRIMES], np.uint32)
    return Made(
        (_residues(rng, n), _ring().p, inverses, ANSWER_BITS),
        L * n,
        "residue",
        "copy",
        (4 + 8 / L) / 2,
    )


@case("crt_signed")
def _(rng: Rng, n: int) -> Made:
    # The kernel's domain is |v| < q/4: residues of such integers, not any.
    small = rng.integers(-(1 << 60), 1 << 60, n)
    x = np.stack([(small % p).astype(np.uint32) for p in PRIMES])
    return Made((x, _ring().p, ANSWER_BITS), L * n, "residue", "copy", (4 + 8 / L) / 2)


@case("lift_centred")
def _(rng: Rng, n: int) -> Made:
    return Made(
        (words(rng, n, bits=ANSWER_BITS), ANSWER_BITS, _ring().p),
        L * n,
        "residue",
        "copy",
        (8 / L + 4) / 2,
    )


@case("lift_small")
def _(rng: Rng, n: int) -> Made:
    return Made(
        (rng.integers(-21, 22, n, np.int8), _ring().p), L * n, "residue", "copy", (1 / L + 4) / 2
    )


@case("uniform_residues")
def _(rng: Rng, n: int) -> Made:
    p = PRIMES[0]
    source = rng.integers(0, 1 << 32, 2 * n + 4096, np.uint32)
    return Made((source, p, n), n, "residue", "copy", 4)


@case("sample_binomial")
def _(rng: Rng, n: int) -> Made:
    return Made((words(rng, n),), n, "value", "copy", (8 + 1) / 2)


@case("sample_ternary")
def _(rng: Rng, n: int) -> Made:
    return Made((words(rng, n // 4),), n // 4 * 4, "value", "copy", (2 + 1) / 2)


@case("shifted_rows")
def _(rng: Rng, n: int) -> Made:
    length, per = 1024, 4
    polynomials = max(1, n // (length * per))
    x = rng.integers(0, PRIMES[0], (polynomials, length * per), np.uint32)
    return Made((x, 0, length, per, length), x.size, "element", "copy", 6)


@case("add_products")
def _(rng: Rng, n: int) -> Made:
    answers, length = 32, 1024
    terms = max(1, n // length)
    factors = rng.integers(-128, 128, (1, answers, terms)).astype(np.float64)
    rows = rng.integers(0, PRIMES[0], (1, terms, length)).astype(np.float64)
    arguments = (np.zeros((1, answers, length)), factors, rows, 0, 0)
    return Made(arguments, answers * terms * length, "product", "gemm", 2)


@case("add_convolution")
def _(rng: Rng, n: int) -> Made:
    """A bottleneck of DenseNet-121, and as many channels as make it n products to a filter."""
    filters, size = 128, 28
    channels = max(2, n // size**2 // 2 * 2)
    x = words(rng, channels, size, size)
    weight = rng.integers(-256, 257, (filters, 1, 1, channels), np.int16)
    added, sums = words(rng, filters, 1), words(rng, filters, size, size)
    arguments = (x, weight, added, [0] * 4, [1, 1], 1, 24, 1, sums)
    return Made(arguments, filters * x.size, "product", "gemm", 2)


@case("reduce_products")
def _(rng: Rng, n: int) -> Made:
    return Made((np.floor(rng.random(n) * 2.0**52), PRIMES[0]), n, "element", "copy", 6)


def missing() -> set[str]:
    """Kernels without a case here."""
    return set(kernels.kernel_names()) - set(
        itertools.chain.from_iterable(name.split()[:1] for name in CASES)
    )
