"""Figures of passes over arrays: digits, choices, masks and copies."""

from __future__ import annotations

import numpy as np

from moiety.protocols import kernels, ring
from moiety.protocols.compare.joins import Join
from moiety.runtime.measure.bench import Bench

_BITS = 12


def passes(bench: Bench) -> None:
    """Passes over arrays of ring elements, of bits and of digits."""
    n = bench.elements
    x = bench.ring_elements(1, n, bits=_BITS)
    bench.per("digit", 3 * n, lambda: kernels.cut_digits(x[0], None, 0, (4, 4, 4), True))
    group = [bench.bytes(n, below=4) for _ in range(3)]
    (triple,) = Join(3, True).lookups
    bench.per("join_choice", 2 * n, lambda: triple.choice(group))
    bench.per("pass", 2 * n, lambda: ring.reduce(x + x, _BITS))
    bit = bench.bytes(n, below=2)
    bench.per("bit_pass", 2 * n, lambda: bit ^ bit ^ np.uint8(1))
