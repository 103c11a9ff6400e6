"""Packing planner: ring degree, primes, tile, channels per ciphertext and filters per answer of one RLWE linear layer.

Cheapest by predicted time: bytes on the wire, plus work of both parties. Exhaustive over degrees, moduli, tiles
(balanced cuts of the output) and filters per answer; for each of these as many channels per ciphertext as fit are
best: the download does not depend on them, and the upload only falls.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from moiety.protocols.errors import BadPlan
from moiety.protocols.packing import Geometry, Layout, tile_sizes
from moiety.protocols.rlwe_params import (
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
from moiety.runtime.program import RlwePlan

# Nanoseconds, measured with the compiled kernels on one 2.6 GHz core with AVX-512; only their ratios matter.
BYTE = 2.7  # 3 Gbit/s
PRODUCT = 0.05  # one float64 multiply-add of the b part
CIPHERTEXT_RESIDUE = 6.0  # per residue of an upload: expand a, transform, sample, add (client); add, convert (server)
ANSWER_RESIDUE = (
    14.0  # per residue of an answer: three transforms, samples, rounding (server); product, rounding (client)
)

MAX_FILTERS = 256


@dataclass(frozen=True)
class Modulus:
    """A q that is secure and holds the noise."""

    primes: tuple[int, ...]
    size: int  # bits of all residues of one coefficient
    fit: Fit


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
    """The cheapest plan. Shapes `(C,H,W)`, `(M,H',W')`; pads top, left, bottom, right; `|w| <= 2^(weight_bits-1)`;
    values in Z_{2^bits}.

    Raises `BadPlan` if no supported ring holds the noise, or for an impossible geometry.
    """
    return _plan(Geometry(in_shape, out_shape, kernel, pads, dilations, groups), bits, weight_bits, masking)


@lru_cache(maxsize=4096)
def _plan(geometry: Geometry, bits: int, weight_bits: int, masking: Masking) -> RlwePlan:
    if not 1 <= weight_bits <= MAX_WEIGHT_BITS:
        raise BadPlan(
            f"weights of {weight_bits} bits do not fit the exact float64 products; 1 to {MAX_WEIGHT_BITS} are possible"
        )
    flat = geometry.flat
    best: tuple[float, Layout, Modulus] | None = None
    for degree in MAX_LOG2_Q:
        filter_counts = _filter_counts(flat, degree)
        moduli = {mp: list(_moduli(degree, bits, masking, flat.noise(degree, weight_bits, mp))) for mp in filter_counts}
        for tile in tile_sizes(flat, degree):
            size = Layout.unit(flat, tile).channel_size
            for mp in filter_counts:
                most = min(flat.in_shape[0], degree // (mp * size))
                if most < 1:
                    break
                for cp in _channel_counts(flat, most):
                    layout = Layout(flat, degree, cp, mp, tile)
                    for modulus in moduli[mp]:
                        price = cost(layout, modulus, bits)
                        if best is None or price < best[0]:
                            best = price, layout, modulus
    if best is None:
        noise = flat.noise(max(MAX_LOG2_Q), weight_bits, 1)
        raise BadPlan(
            f"no RLWE parameters hold a layer {geometry.in_shape} -> {geometry.out_shape} with {bits}-bit values "
            f"and {weight_bits}-bit weights in {masking} masking "
            f"(noise up to 2^{math.log2(noise.bound):.0f}); use fewer bits"
        )
    _, layout, modulus = best
    return RlwePlan(
        degree=layout.degree,
        primes=modulus.primes,
        masking=masking,
        channels_per_ciphertext=layout.cp,
        filters_per_answer=layout.mp,
        tile=layout.tile,
        flood_bits=modulus.fit.flood_bits,
        answer_bits=modulus.fit.answer_bits,
    )


def cost(layout: Layout, modulus: Modulus, bits: int) -> float:
    """Predicted nanoseconds of one image's layer, both parties and the network one after another."""
    flat, degree, size = layout.flat, layout.degree, len(modulus.primes)
    th, tw = layout.tile
    tiles = -(-flat.out_shape[1] // th) * -(-flat.out_shape[2] // tw)
    bundles = layout.bundles
    ciphertexts, answers = tiles * bundles * layout.ciphertexts, tiles * bundles * layout.answers
    answer_bits = modulus.fit.answer_bits
    wire = (
        ciphertexts * sum(layout.sent) * modulus.size
        + answers * degree * answer_bits
        + flat.outputs * message_bits(bits, answer_bits)
    )
    span = (th - 1) * layout.pitch + tw
    products = answers * layout.mp**2 * layout.ciphertexts * layout.cp * flat.kernel[0] * flat.kernel[1] * span * size
    residues = degree * size * (CIPHERTEXT_RESIDUE * ciphertexts + ANSWER_RESIDUE * answers)
    return BYTE * wire / 8 + PRODUCT * products + residues


def _moduli(degree: int, bits: int, masking: Masking, noise: Noise) -> Iterator[Modulus]:
    """From the smallest q that fits, those that make answers shorter than all smaller ones."""
    limit = MAX_LOG2_Q[degree]
    shortest = math.inf
    for total, count in sorted((count * size, count) for size in PRIME_BITS for count in range(1, limit // size + 1)):
        primes = ntt_primes(total // count, count)
        found = fit(primes, masking, bits, noise)
        if found is not None and found.answer_bits < shortest:
            shortest = found.answer_bits
            yield Modulus(primes, total, found)


def _filter_counts(geometry: Geometry, degree: int) -> list[int]:
    """Filters per answer that leave the last answer as full as possible."""
    filters = geometry.out_shape[0]
    most = min(MAX_FILTERS, degree)
    return sorted({count for answers in range(1, filters + 1) if (count := -(-filters // answers)) <= most})


def _channel_counts(geometry: Geometry, most: int) -> set[int]:
    """Channels per ciphertext, evenly spread: within a group as many as fit, and across groups."""
    per_group = geometry.in_shape[0] // geometry.groups
    counts = set()
    for limit in (most, min(most, per_group)):
        whole = geometry.in_shape[0] if limit > per_group else per_group
        counts.add(-(-whole // -(-whole // limit)))
    return counts
