"""Packing planner: ring degree, primes, tile, channels per ciphertext and filters per
answer of one RLWE linear layer.

Cheapest by predicted time: bytes on the wire, plus work of both parties. Exhaustive over
degrees, moduli, tiles (balanced cuts of the output) and filters per answer; for each of these as
many channels per ciphertext as fit are best: the download does not depend on them, and the
upload only falls. A lower bound on the price of all that is left of a choice cuts the search
short without changing what it finds.

Pure arithmetic on public numbers. The compiler plans a Program's layers for one image and
writes the plans into it; for several images in one run both parties plan alike from the same
numbers, and compare what they found.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from moiety.protocols.errors import BadPlan
from moiety.protocols.linear.layout import Geometry, Layout, LinearSpec, tile_sizes
from moiety.protocols.linear.parameters import (
    MAX_LOG2_Q,
    MAX_WEIGHT_BITS,
    PRIME_BITS,
    Fit,
    Masking,
    Noise,
    fit,
    message_bits,
    ntt_primes,
)
from moiety.protocols.prices import FORMAT_1

# Nanoseconds; only their ratios matter. Floats, so the order of operations below is part of the
# format, too.
BYTE = FORMAT_1["wire_byte"] / 1000
PRODUCT = FORMAT_1["product"] / 1000
UPLOAD_RESIDUE = FORMAT_1["upload_residue"] / 1000
ANSWER_RESIDUE = FORMAT_1["answer_residue"] / 1000

MAX_FILTERS = 256


@dataclass(frozen=True)
class Modulus:
    """A q that is secure and holds the noise."""

    primes: tuple[int, ...]
    size: int  # bits of all residues of one coefficient
    fit: Fit


@lru_cache(maxsize=4096)
def plan_linear(geometry: Geometry, bits: int, weight_bits: int, masking: Masking) -> LinearSpec:
    """The cheapest layout and parameters; `|w| <= 2^(weight_bits-1)`, values in Z_{2^bits}.

    Raises `BadPlan` if no supported ring holds the noise.
    """
    if not 1 <= weight_bits <= MAX_WEIGHT_BITS:
        raise BadPlan(
            f"weights of {weight_bits} bits do not fit the exact float64 products; 1 to {MAX_WEIGHT_BITS} are possible"
        )
    best: tuple[float, Layout, Modulus] | None = None
    for degree in MAX_LOG2_Q:
        filter_counts = _filter_counts(geometry, degree)
        moduli = {
            mp: _moduli(degree, bits, masking, geometry.noise(degree, weight_bits, mp))
            for mp in filter_counts
        }
        for tile in tile_sizes(geometry, degree):
            size = Layout.unit(geometry, tile).channel_size
            for mp in filter_counts:
                most = min(geometry.in_shape[0], degree // (mp * size))
                if most < 1:
                    break
                counts = _channel_counts(geometry, most)
                if (
                    best is not None
                    and _least(geometry, degree, tile, max(counts), mp, moduli[mp]) >= best[0]
                ):
                    continue
                for cp in counts:
                    layout = Layout(geometry, degree, cp, mp, tile)
                    for modulus in moduli[mp]:
                        price = cost(layout, modulus, bits)
                        if best is None or price < best[0]:
                            best = price, layout, modulus
    if best is None:
        noise = geometry.noise(max(MAX_LOG2_Q), weight_bits, 1)
        raise BadPlan(
            f"no RLWE parameters hold a layer {geometry.in_shape} -> {geometry.out_shape} with {bits}-bit values "
            f"and {weight_bits}-bit weights in {masking} masking "
            f"(noise up to 2^{math.log2(noise.bound):.0f}); use fewer bits"
        )
    _, layout, modulus = best
    return LinearSpec(
        in_shape=geometry.in_shape,
        out_shape=geometry.out_shape,
        kernel=geometry.kernel,
        pads=geometry.pads,
        dilations=geometry.dilations,
        groups=geometry.groups,
        bits=bits,
        weight_bits=weight_bits,
        degree=layout.degree,
        primes=modulus.primes,
        masking=masking,
        channels_per_ciphertext=layout.cp,
        filters_per_answer=layout.mp,
        tile=layout.tile,
        flood_bits=modulus.fit.flood_bits,
        answer_bits=modulus.fit.answer_bits,
        images=geometry.images,
    )


def cost(layout: Layout, modulus: Modulus, bits: int) -> float:
    """Predicted nanoseconds of one run's layer, both parties and the network one after another."""
    flat, degree, size = layout.flat, layout.degree, len(modulus.primes)
    tw = layout.tile[1]
    tiles = _tiles(layout.geometry, layout.tile)
    bundles = layout.bundles
    ciphertexts, answers = tiles * bundles * layout.ciphertexts, tiles * bundles * layout.answers
    answer_bits = modulus.fit.answer_bits
    wire = (
        ciphertexts * sum(layout.sent) * modulus.size
        + answers * degree * answer_bits
        + layout.geometry.outputs * message_bits(bits, answer_bits)
    )
    span = (layout.tile[0] - 1) * layout.pitch + tw
    products = (
        answers
        * layout.mp**2
        * layout.ciphertexts
        * layout.cp
        * flat.kernel[0]
        * flat.kernel[1]
        * span
        * size
    )
    residues = degree * size * (UPLOAD_RESIDUE * ciphertexts + ANSWER_RESIDUE * answers)
    return BYTE * wire / 8 + PRODUCT * products + residues


def price(layout: Layout, bits: int, weight_bits: int, masking: Masking) -> float:
    """Predicted nanoseconds of a layer in a given layout, with the best modulus
    for it; infinite if none holds.
    """
    noise = layout.geometry.noise(layout.degree, weight_bits, layout.mp)
    return min(
        (cost(layout, each, bits) for each in _moduli(layout.degree, bits, masking, noise)),
        default=math.inf,
    )


def _least(
    geometry: Geometry,
    degree: int,
    tile: tuple[int, int],
    cp: int,
    mp: int,
    moduli: tuple[Modulus, ...],
) -> float:
    """A bound from below on `cost`, of any of the moduli: ciphertexts and answers as if all were
    full, their residues and the a parts on the wire.
    """
    if not moduli:
        return math.inf
    tiles, primes = _tiles(geometry, tile), min(len(modulus.primes) for modulus in moduli)
    ciphertexts, answers = -(-geometry.in_shape[0] // cp), -(-geometry.out_shape[0] // mp)
    residues = primes * (UPLOAD_RESIDUE * ciphertexts + ANSWER_RESIDUE * answers)
    wire = answers * min(modulus.fit.answer_bits for modulus in moduli)
    return tiles * degree * (residues + BYTE * wire / 8)


def _tiles(geometry: Geometry, tile: tuple[int, int]) -> int:
    _, height, width = geometry.flat.out_shape
    return -(-height // tile[0]) * -(-width // tile[1])


@lru_cache(maxsize=65536)
def _moduli(degree: int, bits: int, masking: Masking, noise: Noise) -> tuple[Modulus, ...]:
    """From the smallest q that fits, those that make answers shorter than all smaller ones."""
    limit = MAX_LOG2_Q[degree]
    shortest = math.inf
    chosen = []
    for total, count in sorted(
        (count * size, count) for size in PRIME_BITS for count in range(1, limit // size + 1)
    ):
        primes = ntt_primes(total // count, count)
        found = fit(primes, masking, bits, noise)
        if found is not None and found.answer_bits < shortest:
            shortest = found.answer_bits
            chosen.append(Modulus(primes, total, found))
    return tuple(chosen)


def _filter_counts(geometry: Geometry, degree: int) -> list[int]:
    """Filters per answer that leave the last answer as full as possible."""
    filters = geometry.out_shape[0]
    most = min(MAX_FILTERS, degree)
    return sorted(
        {count for answers in range(1, filters + 1) if (count := -(-filters // answers)) <= most}
    )


def _channel_counts(geometry: Geometry, most: int) -> set[int]:
    """Channels per ciphertext, evenly spread: within a group as many as fit, and across groups."""
    per_group = geometry.in_shape[0] // geometry.groups
    counts = set()
    for limit in (most, min(most, per_group)):
        whole = geometry.in_shape[0] if limit > per_group else per_group
        counts.add(-(-whole // -(-whole // limit)))
    return counts
