"""Packing planner: ring degree, primes, tile, channels per ciphertext and filters per answer of one
RLWE linear layer.

Cheapest by predicted time: bytes on the wire, plus work of both parties, at the format's prices
(protocols/prices). Exhaustive over degrees, moduli, tiles (balanced cuts of the output) and filters
per answer; for each of these as many channels per ciphertext as fit are best: the download does not
depend on them, and the upload only falls. A lower bound on the price of all that is left of a
choice cuts the search short without changing what it finds.

Pure arithmetic on public numbers. The compiler plans a Program's layers for one image and writes
the plans into it; for several images in one run both parties plan alike from the same numbers, and
compare what they found.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from moiety.protocols.errors import BadPlan
from moiety.protocols.linear.layout import Geometry, Layout, tile_sizes
from moiety.protocols.linear.parameters import (
    MAX_ANSWER_BITS,
    MAX_LOG2_Q,
    MAX_WEIGHT_BITS,
    PRIME_BITS,
    Noise,
    RlwePlan,
    fit,
    q_primes,
)
from moiety.protocols.linear.spec import LinearSpec
from moiety.protocols.prices import FORMAT_2

# Nanoseconds; only their ratios matter. Floats, so the order of operations below is part of the
# format, too.
BYTE: Final = FORMAT_2["wire_byte"] / 1000
PRODUCT: Final = FORMAT_2["product"] / 1000
UPLOAD_RESIDUE: Final = FORMAT_2["upload_residue"] / 1000
ANSWER_RESIDUE: Final = FORMAT_2["answer_residue"] / 1000

MAX_FILTERS = 256


@dataclass(frozen=True)
class Modulus:
    """A q that is secure and holds the noise. size: bits of all residues of one coefficient.
    answer_bits: the fewest with which answers keep to their noise budget.
    """

    primes: tuple[int, ...]
    size: int
    answer_bits: int


@dataclass(frozen=True)
class _Layer:
    """What is planned for: a convolution of messages in Z_{2^bits} with `|w| <= 2^(weight_bits-1)`,
    its result with so many guard bits.
    """

    geometry: Geometry
    bits: int
    weight_bits: int
    guard: int

    def moduli(self, degree: int, filters: int) -> tuple[Modulus, ...]:
        """All q worth trying at this degree with so many filters per answer."""
        noise = self.geometry.noise(degree, self.weight_bits, filters)
        return _moduli(degree, self.bits, self.guard, noise)

    def price(self, layout: Layout, modulus: Modulus) -> float:
        """Nanoseconds of one run's layer in this layout under this q, both parties and the network
        one after another.
        """
        parts = _tiles(self.geometry, layout.tile) * layout.bundles
        ciphertexts, answers = parts * layout.ciphertexts, parts * layout.answers
        primes = len(modulus.primes)
        wire = (
            ciphertexts * sum(layout.sent) * modulus.size
            + answers * layout.degree * modulus.answer_bits
            + self.geometry.outputs * (self.bits + self.guard)
        )
        products = answers * _products_per_answer(layout) * primes
        residues = UPLOAD_RESIDUE * ciphertexts + ANSWER_RESIDUE * answers
        return BYTE * wire / 8 + PRODUCT * products + layout.degree * primes * residues


@dataclass(frozen=True)
class _Choice:
    """A layout and a q for it, and the predicted nanoseconds."""

    price: float
    layout: Layout
    modulus: Modulus


@dataclass(frozen=True)
class _Family:
    """Layouts of one degree, tile and number of filters per answer, with the q that suit them; they
    differ in channels per ciphertext.
    """

    layer: _Layer
    degree: int
    tile: tuple[int, int]
    filters: int
    channels: set[int]
    moduli: tuple[Modulus, ...]

    def choices(self) -> Iterator[_Choice]:
        for channels in self.channels:
            layout = Layout(self.layer.geometry, self.degree, channels, self.filters, self.tile)
            for modulus in self.moduli:
                yield _Choice(self.layer.price(layout, modulus), layout, modulus)

    def lower_bound(self) -> float:
        """A bound from below on the price of all choices: ciphertexts and answers as if all were
        full, their residues and the a parts on the wire; infinite if no q suits.
        """
        if not self.moduli:
            return math.inf
        geometry, filters = self.layer.geometry, self.filters
        tiles = _tiles(geometry, self.tile)
        primes = min(len(modulus.primes) for modulus in self.moduli)
        ciphertexts = -(-geometry.in_shape[0] // max(self.channels))
        answers = -(-geometry.out_shape[0] // filters)
        residues = primes * (UPLOAD_RESIDUE * ciphertexts + ANSWER_RESIDUE * answers)
        wire = answers * min(modulus.answer_bits for modulus in self.moduli)
        return tiles * self.degree * (residues + BYTE * wire / 8)


@lru_cache(maxsize=4096)
def plan_linear(geometry: Geometry, bits: int, weight_bits: int, guard: int) -> LinearSpec:
    """The cheapest layout and parameters; `|w| <= 2^(weight_bits-1)`, messages in Z_{2^bits}, the
    result in Z_{2^(bits+guard)}.

    Raises `BadPlan` if no supported ring holds the noise.
    """
    if not 1 <= weight_bits <= MAX_WEIGHT_BITS:
        raise BadPlan(
            f"weights of {weight_bits} bits do not fit the exact float64 products; "
            f"1 to {MAX_WEIGHT_BITS} are possible"
        )
    best = _cheapest(_Layer(geometry, bits, weight_bits, guard))
    if best is None:
        raise BadPlan(
            f"no RLWE parameters hold a layer {geometry.in_shape} -> {geometry.out_shape} "
            f"with {bits}-bit values, {weight_bits}-bit weights and {guard} guard bits; "
            "use fewer bits"
        )
    layout, modulus = best.layout, best.modulus
    plan = RlwePlan(
        degree=layout.degree,
        primes=modulus.primes,
        channels_per_ciphertext=layout.cp,
        filters_per_answer=layout.mp,
        tile=layout.tile,
        answer_bits=modulus.answer_bits,
    )
    return LinearSpec(geometry, plan, bits, weight_bits, guard)


def _cheapest(layer: _Layer) -> _Choice | None:
    """Of all choices of least price the first; None if there is none."""
    best: _Choice | None = None
    for family in _families(layer):
        if best is not None and family.lower_bound() >= best.price:
            continue
        for choice in family.choices():
            if best is None or choice.price < best.price:
                best = choice
    return best


def _families(layer: _Layer) -> Iterator[_Family]:
    """All layouts worth trying, in the order in which equal prices are decided."""
    geometry = layer.geometry
    for degree in MAX_LOG2_Q:
        moduli = {
            filters: layer.moduli(degree, filters) for filters in _filter_counts(geometry, degree)
        }
        for tile in tile_sizes(geometry, degree):
            size = Layout.unit(geometry, tile).channel_size
            for filters, suitable in moduli.items():
                most = min(geometry.in_shape[0], degree // (filters * size))
                if most < 1:
                    break
                channels = _channel_counts(geometry, most)
                yield _Family(layer, degree, tile, filters, channels, suitable)


def layout_price(layout: Layout, bits: int, weight_bits: int, guard: int) -> float:
    """Predicted nanoseconds of a layer in a given layout, with the best modulus for it; infinite if
    none holds.
    """
    layer = _Layer(layout.geometry, bits, weight_bits, guard)
    return min(
        (layer.price(layout, q) for q in layer.moduli(layout.degree, layout.mp)),
        default=math.inf,
    )


def _products_per_answer(layout: Layout) -> int:
    """Multiply-adds of one prime in the b part of an answer, which is made of all ciphertexts:
    one for each pair of filter blocks, channel, tap and coefficient from a tile's first pixel to
    its last.
    """
    rows, columns = layout.tile
    span = (rows - 1) * layout.pitch + columns
    terms = layout.ciphertexts * layout.cp * math.prod(layout.flat.kernel)
    return layout.mp**2 * terms * span


def _tiles(geometry: Geometry, tile: tuple[int, int]) -> int:
    """How many tiles the flat plane of all images is cut into."""
    _, height, width = geometry.flat.out_shape
    return -(-height // tile[0]) * -(-width // tile[1])


@lru_cache(maxsize=65536)
def _moduli(degree: int, bits: int, guard: int, noise: Noise) -> tuple[Modulus, ...]:
    """From the smallest q that fits, those that make answers shorter than all smaller ones."""
    least, shortest = fit(MAX_LOG2_Q[degree], bits, guard, noise), MAX_ANSWER_BITS + 1
    chosen: list[Modulus] = []
    if least is None:
        return ()
    for size, primes, log_q in _every_q(degree):
        if shortest == least:
            break
        answer_bits = fit(log_q, bits, guard, noise, most=shortest - 1)
        if answer_bits is not None:
            shortest = answer_bits
            chosen.append(Modulus(primes, size, answer_bits))
    return tuple(chosen)


@lru_cache
def _every_q(degree: int) -> tuple[tuple[int, tuple[int, ...], float], ...]:
    """Bits of all residues, primes, and log2 of every q that is secure at this degree, smallest
    first.
    """
    found = []
    for size in range(PRIME_BITS[0], MAX_LOG2_Q[degree] + 1):
        try:
            primes = q_primes(size, degree)
        except BadPlan:
            continue
        found.append((size, primes, math.log2(math.prod(primes))))
    return tuple(found)


def _filter_counts(geometry: Geometry, degree: int) -> list[int]:
    """Filters per answer that leave the last answer as full as possible."""
    filters, most = geometry.out_shape[0], min(MAX_FILTERS, degree)
    counts = {-(-filters // answers) for answers in range(1, filters + 1)}
    return sorted(count for count in counts if count <= most)


def _channel_counts(geometry: Geometry, most: int) -> set[int]:
    """Channels per ciphertext, evenly spread: within a group as many as fit, and across groups."""
    per_group = geometry.in_shape[0] // geometry.groups
    counts = set()
    for limit in (most, min(most, per_group)):
        whole = geometry.in_shape[0] if limit > per_group else per_group
        counts.add(-(-whole // -(-whole // limit)))
    return counts
