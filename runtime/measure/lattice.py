"""Figures of homomorphic layers: RLWE by residue, and the plaintext product of a convolution."""

from __future__ import annotations

from typing import Final

import numpy as np

from moiety.protocols import kernels
from moiety.protocols.linear.parameters import ntt_primes
from moiety.protocols.linear.rlwe import (
    ClientKey,
    Ring,
    ServerKey,
    ciphertext_a,
    phase_primes,
    public_key_a,
)
from moiety.protocols.prg import Prg
from moiety.runtime.measure.bench import Bench

DEGREE, PRIMES = 4096, ntt_primes(25, 3)
"""The ring most layers have."""
BITS, ANSWER_BITS = 26, 35

FIGURES: Final = frozenset(
    {
        *("expand_residue", "mask_residue", "encode_residue", "zero_residue", "torus_residue"),
        *("phase_residue", "word", "row", "product", "half_product", "sum"),
    }
)
"""What is measured here."""


def lattice(bench: Bench) -> None:
    """RLWE by residue, in the order of a layer: upload, answer, what the client makes of it."""
    count = max(1, bench.elements // DEGREE)
    residues = len(PRIMES) * count * DEGREE
    ring_q, prg, seed = Ring.of(DEGREE, PRIMES), Prg.from_os(), bytes(16)
    key = ClientKey.generate(ring_q, prg)
    public = public_key_a(ring_q, seed)
    server = ServerKey(ring_q, public, ring_q.forward(key.mask(public[:, None], prg))[:, 0])
    a = ciphertext_a(ring_q, seed, 0, 0, count)
    x = bench.ring_elements(count, DEGREE, bits=BITS)
    answer = bench.ring_elements(count, DEGREE, bits=ANSWER_BITS)
    working = phase_primes(DEGREE, ANSWER_BITS) * count * DEGREE

    bench.per("expand_residue", residues, lambda: ciphertext_a(ring_q, seed, 0, 0, count))
    bench.per("mask_residue", residues, lambda: key.mask(a, prg))
    bench.per("encode_residue", residues, lambda: ring_q.add(a, ring_q.encode(x, BITS, prg)))
    bench.per("zero_residue", 2 * residues, lambda: server.zeros(count, prg))
    bench.per("torus_residue", residues, lambda: ring_q.to_torus(a, ANSWER_BITS))
    bench.per("phase_residue", working, lambda: key.phase_product(answer, ANSWER_BITS))

    flat = answer.reshape(-1)
    packed = kernels.pack(flat, ANSWER_BITS)
    both = bench.time(lambda: kernels.pack(flat, ANSWER_BITS)) + bench.time(
        lambda: kernels.unpack(packed, flat.size, ANSWER_BITS)
    )
    bench.figures["word"] = both / 2 / flat.size


def convolution(bench: Bench) -> None:
    """The parts of protocols/linear/product: copied rows, products, sums that they are added to;
    and the products of protocols/linear/convolution.
    """
    terms, answers, length = 128, 32, 1024
    x = bench.rng.integers(0, 1 << 25, (terms // 4, 4 * length), np.uint32)
    bench.per("row", terms * length, lambda: kernels.shifted_rows(x, 0, length, 4, length))
    rows, factors = np.ones((1, terms, length)), np.ones((1, answers, terms))
    sums, factor = np.zeros((1, answers, length)), np.ones((1, answers, 1))
    bench.per(
        "product",
        terms * answers * length,
        lambda: kernels.add_products(sums, factors, rows, 0, 0),
    )
    bench.per("sum", sums.size, lambda: kernels.add_products(sums, factor, rows, 0, 0))
    known, side = bench.ring_elements(terms, 32, 32, bits=24), [1, 1]
    weight, added = np.ones((answers, 1, 1, terms), np.int16), np.zeros((answers, 1), np.uint64)
    out = np.zeros((answers, 32, 32), np.uint64)
    bench.per(
        "half_product",
        2 * terms * out.size,
        lambda: kernels.add_convolution(known, weight, added, [0] * 4, side, 1, 24, 1, out),
    )
