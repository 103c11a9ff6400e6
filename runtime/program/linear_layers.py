"""What both parties derive from a Program about its linear layers, in one and the same way: the
layers' specs, a digest of them, and the seed of their public polynomials.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import msgspec

from moiety.protocols.linear.planner import plan_linear
from moiety.protocols.linear.rlwe import SEED_BYTES
from moiety.protocols.linear.spec import LinearSpec
from moiety.runtime.program.program import Program
from moiety.runtime.program.steps.linear import Linear

MAX_BATCH = 64
"""Images that may share one run."""


def linear_specs(program: Program, images: int = 1) -> dict[int, LinearSpec]:
    """Step index -> what the homomorphic protocol must know of each Linear step, in order.

    For one image it is what the Program says. For several in one run the layers' parameters and
    layouts are planned anew, from public numbers of the Program alone; parties compare
    `layout_digest` before they rely on it.
    """
    specs = {
        index: step.spec(program.first_operand(step).shape)
        for index, step in enumerate(program.steps)
        if isinstance(step, Linear)
    }
    if images == 1:
        return specs
    return {index: _together(spec, images) for index, spec in specs.items()}


def _together(spec: LinearSpec, images: int) -> LinearSpec:
    geometry = replace(spec.geometry, images=images)
    return plan_linear(geometry, spec.bits, spec.weight_bits, spec.guard)


def layout_digest(specs: Mapping[int, LinearSpec]) -> str:
    """SHA-256, hexadecimal, of all that the two parties must agree on about the linear layers of
    a run.
    """
    agreed = [(index, _flat_record(spec)) for index, spec in specs.items()]
    return hashlib.sha256(msgspec.json.encode(agreed)).hexdigest()


def _flat_record(spec: LinearSpec) -> dict[str, Any]:
    """What the digest is over, in this order: the handshake compares it, so it is part of the
    wire format.
    """
    geometry = asdict(spec.geometry)
    images = geometry.pop("images")
    widths = {"bits": spec.bits, "weight_bits": spec.weight_bits, "guard": spec.guard}
    return geometry | widths | msgspec.structs.asdict(spec.rlwe) | {"images": images}


def public_seed(program: Program, images: int = 1) -> bytes:
    """The seed of all RLWE `a` polynomials of this Program's runs of so many images: public, fixed
    by the Program's identity, so that hints can be kept.
    """
    domain = b"moiety rlwe a" if images == 1 else b"moiety rlwe a of %d images" % images
    return hashlib.sha256(domain + bytes.fromhex(program.digest())).digest()[:SEED_BYTES]
