"""Calls of every kernel that are right, for tests that compare twins, threads, or what is wrong."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np

from moiety.protocols import kernels
from moiety.protocols.kernels.reference.silent import check_blocks
from moiety.protocols.linear.parameters import ntt_primes
from moiety.protocols.linear.rlwe import ntt_tables

DEPTH = 5
DEGREE = 256
PRIMES = ntt_primes(27, 2)
P, Q, TABLES = np.array(PRIMES, np.uint32), math.prod(PRIMES), ntt_tables(DEGREE, PRIMES)
BASIS = [pow(Q // p, -1, p) for p in PRIMES]
Arguments = tuple[Any, ...]


class Cases:
    """Arguments of every kernel, for n elements of `bits` bits (1..60) and correlations of `k`
    bits; of those with a pool, what is written to is last.
    """

    def __init__(self, n: int, k: int, bits: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.n, self.k, self.bits = n, k, bits
        self.block, self.key = self.bytes(16), self.bytes(16)

    def bytes(self, *shape: int, below: int = 256) -> np.ndarray:
        return self.rng.integers(0, below, shape, np.uint8)

    def words(self, *shape: int) -> np.ndarray:
        return self.rng.integers(0, 1 << self.bits, shape, np.uint64)

    def stream(self, fields: int = 1) -> np.ndarray:
        """So many fields of each element, packed."""
        return kernels.pack(self.words(fields * self.n), self.bits)

    def sent(self, k: int) -> Arguments:
        """w, delta, key and shifts."""
        return self.bytes(self.n, 16), self.block, self.key, self.bytes(self.n, below=1 << k)

    def received(self, k: int, bits: int) -> Arguments:
        """v, key, choices, u and messages."""
        size = (self.n * ((1 << k) - 1) * bits + 7) // 8
        choices, u = self.bytes(self.n, below=1 << k), self.bytes(self.n, below=1 << k)
        return self.bytes(self.n, 16), self.key, choices, u, self.bytes(size)

    def lookups(self) -> dict[str, Arguments]:
        n, k, bits = self.n, self.k, self.bits
        few, count = 1 + bits % 8, 1 + bits % 3
        w, delta, key, shifts = self.sent(k)
        send = (w, delta, k, key, shifts)
        made: dict[str, Arguments] = {
            "lookup_send": (*send, self.bytes(n, 1 << k), few),
            "arith_send": (*send, self.words(n, 1 << k), bits),
            "leaves_send": (*send, self.bytes(count, n, below=1 << k), bool(bits % 2)),
            "join_send": (*send, self.bytes(n, below=1 << k), self.bytes(1 << k), few),
            "pads_send": (w, delta, k, key, bits),
            "pads_recv": (w.copy(), k, key, bits),
        }
        for name, width, rest in (
            ("lookup_recv", few, (few,)),
            ("arith_recv", bits, (bits,)),
            ("leaves_recv", 2 * count, (count, True)),
        ):
            v, key, choices, u, messages = self.received(k, width)
            made[name] = (v, k, key, choices, u, *rest, messages)
        return made

    def words_gated(self) -> dict[str, Arguments]:
        n, bits = self.n, self.bits
        bit = self.bytes(n, below=2)
        x, theirs, send = self.words(n), self.words(n), self.sent(1)
        v, key, choices, u, messages = self.received(1, 64 - bits)
        return {
            "mux_send": (*send, x, bit, bits),
            "mux_send_adding": (*send, x, bit, theirs, bit[::-1].copy(), bits),
            "widen_send": (*send, x, theirs, bits, 64),
            "widen_recv": (v, key, choices, u, x, bit, bits, 64, messages),
        }

    def passes(self) -> dict[str, Arguments]:
        n, bits, few = self.n, self.bits, 1 + self.bits % 8
        flags = self.bytes(2, n, below=2)
        value = (self.words(n), bits % 7, flags[0], self.stream(), flags[1])
        return {
            "pack": (self.words(n), bits),
            "unpack": (self.bytes((n * bits + 7) // 8), n, bits),
            "unpack8": (self.bytes((n * few + 7) // 8), n, few),
            "product_sent": (self.stream(2), self.stream(), n, bits),
            "product_received": (self.stream(), self.stream(), self.bytes(n, below=2), bits),
            "masked_send": (*value[:2], self.words(n), *value[2:], self.words(n), bits),
            "masked_receive": (*value, self.stream(), bits),
            "cut_digits": (self.words(n), self.words(3, n), bits % 7, [3, 1, 4], True),
            "add_multiples": (self.bytes(n, 16), self.block, self.bytes(n, below=16)),
        }

    def silent(self) -> dict[str, Arguments]:
        width = 1 if self.k == 1 else 4
        side = 1 + self.n % 2
        trees = side * (1 + self.n // 64 // side)
        keys, roots = self.bytes(trees, 16), self.bytes(trees, 16)
        seeds, rows = self.bytes(77, 16 * side), self.bytes(trees << DEPTH, 16)
        holes = self.rng.integers(0, 1 << DEPTH, trees, np.uint16)
        sums = self.bytes(trees, DEPTH + (width == 4), 16)
        checks = self.bytes(trees, check_blocks(DEPTH, width), 16)
        code = (seeds, self.key, 3)
        noise = -(-(self.n + 3) >> DEPTH)
        return {
            "tree_sums": (keys, self.block, roots, DEPTH, width),
            "expand_full": (keys, self.block, roots, DEPTH, width, *code, rows, checks),
            "expand_punctured": (
                keys,
                holes,
                sums,
                DEPTH,
                width,
                *code,
                rows.copy(),
                checks.copy(),
            ),
            "encode_elements": (
                *(self.bytes(77, below=1 << width), self.key, 3, self.n, DEPTH, width),
                self.rng.integers(0, 1 << DEPTH, (2, noise), np.uint16),
                self.bytes(2, noise, below=1 << width),
            ),
        }

    def pooled(self) -> dict[str, Arguments]:
        """Of the kernels that take a pool, without it."""
        made = self.lookups() | self.words_gated() | self.passes() | self.silent()
        return made | self.convolutions()

    def blocks(self) -> dict[str, Arguments]:
        k, keys, nblocks = self.k, self.bytes(32, 16, 16), self.n % 3
        corrections = self.bytes(31 * k * nblocks * 16)
        masks = ([1], [3, 1], [2, 3, 1], [2, 2, 3])[k - 1]
        return {
            "aes_ctr": (self.key, 2**64 - 3, self.n, 7),
            "ggm_expand": (self.bytes(self.n, 16), self.bytes(2, 16)),
            "vole_receiver": (keys, 5, k, nblocks),
            "vole_sender": (keys, self.block, 5, k, nblocks, corrections),
            "hash_blocks": (self.bytes(self.n, 16), self.key),
            "column_hash": (self.bytes(self.n, 16), self.key),
            "polynomial_hash": (self.bytes(self.n, 16), self.bytes(self.n), self.key, 2**64 - 3),
            "gather_bits": ([self.bytes(self.n, below=4) for _ in masks], masks),
        }

    def residues(self, *shape: int) -> np.ndarray:
        return np.stack([self.rng.integers(0, p, shape, np.uint32) for p in PRIMES])

    def polynomials(self) -> dict[str, Arguments]:
        n = 1 + self.n % 3
        x = self.residues(n, DEGREE)
        return {
            "ntt_forward": (x, P, TABLES),
            "ntt_inverse": (x.copy(), P, TABLES),
            "multiply_mod": (x.copy(), self.residues(DEGREE), P),
            "shifted_rows": (x[0].copy(), -self.n - 259, 1 + self.bits, self.k, 1 + self.n % 700),
        }

    def lattice(self) -> dict[str, Arguments]:
        n, bits = self.n, self.bits
        inverses = np.array([pow(1 << bits, -1, p) for p in PRIMES], np.uint32)
        factors, rows = (
            self.rng.integers(-100, 100, shape).astype(np.float64)
            for shape in ((2, self.k, 3), (2, 6, n + 4))
        )
        words = self.rng.integers(0, 2**32, 4 * n + 40, np.uint32)
        sums = np.zeros((2, self.k, n))
        return {
            "add_mod": (self.residues(n), self.residues(n), P),
            "lift_small": (self.rng.integers(-21, 22, n, np.int8), P),
            "lift_centred": (self.words(n), bits, P),
            "encode_residues": (self.words(n), self.words(n), bits, Q % 2**bits, inverses, P),
            "torus_round": (self.residues(n), P, np.array(BASIS, np.uint32), bits),
            "reduce_products": (
                self.rng.integers(-(2**53), 2**53, n).astype(np.float64),
                PRIMES[0],
            ),
            "crt_signed": (self.residues(n), P, bits),
            "sample_ternary": (self.words(n),),
            "sample_binomial": (self.words(n),),
            "uniform_residues": (words, PRIMES[0], n),
            "add_products": (sums, factors, rows, 2, 3),
        }

    def convolutions(self) -> dict[str, Arguments]:
        channels, filters, bits = 2 * self.k, 6, min(self.bits, 32)
        height, width = 1 + self.n // 6, 5
        sums = self.words(filters, height + 1, width - 2)
        weight = self.rng.integers(
            -(2**15), 2**15, (filters, 2, 3, self.k + self.k % 2), np.int16, endpoint=False
        )
        added = self.words(filters, sums[0].size if self.n % 2 else 1)
        rest = ([1, 2, 1, 0], [1, 2], 2, bits, max(1 - bits, 1 - self.k))
        return {
            "add_convolution": (self.words(channels, height, width), weight, added, *rest, sums),
        }

    def all(self) -> dict[str, dict[str, Any]]:
        """Of all kernels, by name."""
        calls = self.pooled() | self.blocks() | self.polynomials() | self.lattice()
        named = {}
        for name, given in calls.items():
            names = list(inspect.signature(kernels.twin("reference", name)).parameters)
            named[name] = dict(zip(names[: len(given)], given, strict=True))
        return named
