"""A homomorphic linear layer as both parties know it: what is convolved, under which plan; whether
that is secure and decrypts; and how many bytes it is on the wire. Pure integers, public.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from moiety.protocols.cost import packed
from moiety.protocols.errors import BadPlan
from moiety.protocols.linear.layout import Geometry, Layout, Window
from moiety.protocols.linear.parameters import (
    MAX_ANSWER_BITS,
    MAX_GUARD,
    MAX_WEIGHT_BITS,
    RlwePlan,
    check_parameters,
    fit,
)


@dataclass(frozen=True)
class LinearSpec:
    """One homomorphic linear layer, all public: what is convolved,
    with which plan, in which widths.

    `|w| <= 2^(weight_bits-1)`; messages in Z_{2^bits}, the result in Z_{2^(bits+guard)}, where a
    negative guard says how many low bits of it are left behind. The plan was made for the
    geometry's number of images.
    """

    geometry: Geometry
    rlwe: RlwePlan
    bits: int
    weight_bits: int
    guard: int

    @cached_property
    def layout(self) -> Layout:
        plan = self.rlwe
        return Layout(
            geometry=self.geometry,
            degree=plan.degree,
            cp=plan.channels_per_ciphertext,
            mp=plan.filters_per_answer,
            tile=plan.tile,
        )

    @property
    def result_bits(self) -> int:
        """Width of the ring of the result's shares, in which the b part of an answer is sent."""
        return self.bits + self.guard


def check_spec(spec: LinearSpec) -> None:
    """Raises `BadPlan` unless the spec is secure, fits, and decrypts: nothing in a peer's Program
    is taken on trust.
    """
    plan = spec.rlwe
    what = f"linear layer {spec.geometry.in_shape} -> {spec.geometry.out_shape}"
    check_parameters(plan.degree, plan.primes)
    if not 1 <= spec.weight_bits <= MAX_WEIGHT_BITS:
        raise BadPlan(
            f"{what}: weights of {spec.weight_bits} bits; 1 to {MAX_WEIGHT_BITS} are supported"
        )
    if not 2 - spec.bits <= spec.guard <= MAX_GUARD:
        raise BadPlan(f"{what}: {spec.guard} guard bits on values of {spec.bits} bits")
    log_q = math.log2(math.prod(plan.primes))
    need = fit(log_q, spec.bits, spec.guard, spec.layout.noise(spec.weight_bits))
    if need is None:
        raise BadPlan(
            f"{what}: the noise does not fit into q for {spec.bits}-bit values and "
            f"{spec.guard} guard bits; more primes or fewer bits are needed"
        )
    if not need <= plan.answer_bits <= MAX_ANSWER_BITS:
        raise BadPlan(
            f"{what}: answers need {need} to {MAX_ANSWER_BITS} bits, the plan has "
            f"{plan.answer_bits}"
        )


def heaviest(spec: LinearSpec) -> int:
    """What the absolute weights of a filter add up to at most."""
    return spec.geometry.terms << (spec.weight_bits - 1)


# --- on the wire ----------------------------------------------------------------------------------


def residues_bytes(count: int, primes: Sequence[int]) -> int:
    """`count` elements of Z_q on the wire: their residues prime after prime, each in its bits."""
    return sum(packed(count, p.bit_length()) for p in primes)


def tile_upload_bytes(spec: LinearSpec) -> int:
    """Bytes of one tile's ciphertexts."""
    count = spec.layout.ciphertexts_per_tile * sum(spec.layout.sent)
    return residues_bytes(count, spec.rlwe.primes)


def tile_download_bytes(spec: LinearSpec, window: Window) -> tuple[int, int]:
    """Bytes of the a part and of the b part of one tile's answers."""
    a_coefficients = spec.layout.answers_per_tile * spec.rlwe.degree
    outputs = spec.geometry.out_shape[0] * window.pixels
    return packed(a_coefficients, spec.rlwe.answer_bits), packed(outputs, spec.result_bits)


def upload_bytes(spec: LinearSpec) -> int:
    """Client to server, all images of the spec."""
    return len(spec.layout.windows) * tile_upload_bytes(spec)


def download_bytes(spec: LinearSpec) -> int:
    """Server to client, all images of the spec."""
    return sum(sum(tile_download_bytes(spec, window)) for window in spec.layout.windows)


def parameter_sets(specs: Sequence[LinearSpec]) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """The distinct (degree, primes) of some layers, in order of first use: one secret and one
    public key each per run.
    """
    return tuple(dict.fromkeys((spec.rlwe.degree, spec.rlwe.primes) for spec in specs))


def query_bytes(specs: Sequence[LinearSpec]) -> int:
    """Client to server: the public keys of one run."""
    return sum(residues_bytes(degree, primes) for degree, primes in parameter_sets(specs))
