"""Packing planner: ring degree, primes, tile, channels per ciphertext and filters per answer of one RLWE linear layer.

Cheapest by predicted time: bytes on the wire, plus work of both parties. Exhaustive over degrees, tiles (balanced cuts of the output) and filters per
answer; for each of these the fewest and smallest primes that hold the noise, and as many channels per ciphertext as fit, are optimal: the download does
not depend on the latter, and the upload only falls.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

from moiety.protocols.errors import BadPlan
from moiety.protocols.packing import Geometry, Layout, polynomial_bytes, tile_sizes
from moiety.protocols.rlwe_params import (
    MAX_LOG2_Q,
    MAX_WEIGHT_BITS,
    PRIME_BITS,
    Fit,
    Masking,
    Noise,
    fit,
    ntt_primes,
)
from moiety.runtime.program import RlwePlan

# Nanoseconds, measured with the compiled kernels on one 2.6 GHz core with AVX-512; only their ratios matter.
BYTE = 2.7  # 3 Gbit/s
PRODUCT = 0.05  # one float64 multiply-add of the b part
CIPHERTEXT_RESIDUE = 6.0  # per residue of an upload: expand a, transform, sample, add (client); add, convert (server)
ANSWER_RESIDUE = 14.0  # per residue of an answer: three transforms, samples, rounding (server); product, rounding (client)

MAX_FILTERS = 256


def plan_rlwe(
    in_shape: tuple[int, int, int],
    out_shape: tuple[int, int, int],
    kernel: tuple[int, int],
    pads: tuple[int, int, int, int],
    dilations: tuple[int, int],
    groups: int,
    bits: int,
    weight_bits: int,
    masking: Masking,
) -> RlwePlan:
    """The cheapest plan. Shapes `(C,H,W)`, `(M,H',W')`; pads top, left, bottom, right; `|w| <= 2^(weight_bits-1)`; values in Z_{2^bits}.

    Raises `BadPlan` if no supported ring holds the noise, or for an impossible geometry.
    """
    return _plan(Geometry(in_shape, out_shape, kernel, pads, dilations, groups), bits, weight_bits, masking)


@lru_cache(maxsize=4096)
def _plan(geometry: Geometry, bits: int, weight_bits: int, masking: Masking) -> RlwePlan:
    if weight_bits > MAX_WEIGHT_BITS:
        raise BadPlan(f"weights of {weight_bits} bits do not fit the exact float64 products; at most {MAX_WEIGHT_BITS} are possible")
    best: tuple[float, RlwePlan] | None = None
    for degree in MAX_LOG2_Q:
        for mp in _filter_counts(geometry, degree):
            choice = smallest_modulus(degree, bits, masking, geometry.flat.noise(degree, weight_bits, mp))
            if choice is None:
                continue
            primes, found = choice
            for layout in _layouts(geometry, degree, mp):
                price = cost(layout, primes, found.answer_bits)
                if best is None or price < best[0]:
                    plan = RlwePlan(
                        degree=degree,
                        primes=primes,
                        masking=masking,
                        channels_per_ciphertext=layout.cp,
                        filters_per_answer=mp,
                        tile=layout.tile,
                        flood_bits=found.flood_bits,
                        answer_bits=found.answer_bits,
                    )
                    best = price, plan
    if best is None:
        noise = geometry.flat.noise(max(MAX_LOG2_Q), weight_bits, 1)
        raise BadPlan(
            f"no RLWE parameters hold a layer {geometry.in_shape} -> {geometry.out_shape} with {bits}-bit values and {weight_bits}-bit weights "
            f"in {masking} masking (noise up to 2^{math.log2(noise.bound):.0f}); use fewer bits"
        )
    return best[1]


def smallest_modulus(degree: int, bits: int, masking: Masking, noise: Noise) -> tuple[tuple[int, ...], Fit] | None:
    """The shortest residue form of a q that is secure at this degree and holds the noise."""
    limit = MAX_LOG2_Q[degree]
    sizes = sorted(
        (count * size, count, size) for size in PRIME_BITS for count in range(1, limit // size + 1)
    )
    for _, count, size in sizes:
        primes = ntt_primes(size, count)
        found = fit(primes, masking, bits, noise)
        if found is not None:
            return primes, found
    return None


def cost(layout: Layout, primes: tuple[int, ...], answer_bits: int) -> float:
    """Predicted nanoseconds of one image's layer, both parties and the network one after another."""
    tiles = len(layout.windows)
    degree, size = layout.degree, len(primes)
    ciphertexts, answers = tiles * layout.ciphertexts_per_tile, tiles * layout.answers_per_tile
    download = (answers * degree + layout.flat.outputs) * answer_bits / 8
    inputs = layout.ciphertexts * layout.cp
    filters = layout.answers_per_tile * layout.mp
    span = (layout.tile[0] - 1) * layout.pitch + layout.tile[1]
    products = tiles * filters * layout.mp * inputs * len(layout.tap_offsets) * span * size
    return (
        BYTE * (ciphertexts * polynomial_bytes(degree, primes) + download)
        + PRODUCT * products
        + degree * size * (CIPHERTEXT_RESIDUE * ciphertexts + ANSWER_RESIDUE * answers)
    )


def _filter_counts(geometry: Geometry, degree: int) -> list[int]:
    """Filters per answer that leave the last answer as full as possible."""
    filters = geometry.out_shape[0]
    return sorted({-(-filters // answers) for answers in range(1, filters + 1)} & set(range(1, min(MAX_FILTERS, degree) + 1)))


def _layouts(geometry: Geometry, degree: int, mp: int) -> Iterator[Layout]:
    channels = geometry.in_shape[0]
    for tile in tile_sizes(geometry, degree // mp):
        size = Layout.unit(geometry, tile).channel_size
        most = min(channels, degree // (mp * size))
        if most < 1:
            continue
        per_group = channels // geometry.groups
        # Within a group, as full as possible; across groups, whole groups.
        for limit in {most, min(most, per_group)}:
            whole = channels if limit > per_group else per_group
            yield Layout(geometry, degree, -(-whole // -(-whole // limit)), mp, tile)

