"""Public facts of a Program that both parties, the planner's reports and the tests
derive in one and the same way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, cast

import msgspec

from moiety.protocols.linear.layout import Geometry, LinearSpec
from moiety.protocols.linear.planner import plan_linear
from moiety.protocols.linear.rlwe import SEED_BYTES
from moiety.runtime import program as ir

Shape3 = tuple[int, int, int]
MAX_BATCH = 64


def linear_specs(program: ir.Program, images: int = 1) -> dict[int, LinearSpec]:
    """Step index -> what the homomorphic protocol must know of each Linear step, in order.

    For one image it is what the Program says. For several in one run the layers' parameters and
    layouts are planned anew, from public numbers of the Program alone; parties compare
    `layout_digest` before they rely on it.
    """
    specs = {}
    for index, step in enumerate(program.steps):
        if isinstance(step, ir.Linear):
            geometry = Geometry(
                cast(Shape3, program.steps[step.inputs[0]].shape),
                cast(Shape3, step.shape),
                step.kernel,
                step.pads,
                step.dilations,
                step.groups,
            )
            specs[index] = LinearSpec(geometry, step.rlwe, step.bits, step.weight_bits)
    return (
        specs if images == 1 else {index: _together(spec, images) for index, spec in specs.items()}
    )


def _together(spec: LinearSpec, images: int) -> LinearSpec:
    geometry = replace(spec.geometry, images=images)
    return plan_linear(geometry, spec.bits, spec.weight_bits, spec.rlwe.masking)


def layout_digest(specs: Mapping[int, LinearSpec]) -> str:
    """SHA-256, hexadecimal, of all that the two parties must agree on about the linear layers of a
    run.
    """
    agreed = [(index, _flat_record(spec)) for index, spec in specs.items()]
    return hashlib.sha256(msgspec.json.encode(agreed)).hexdigest()


def _flat_record(spec: LinearSpec) -> dict[str, Any]:
    """What the digest is over, in this order: the handshake compares it, so it is part of the wire
    format.
    """
    geometry = asdict(spec.geometry)
    images = geometry.pop("images")
    widths = {"bits": spec.bits, "weight_bits": spec.weight_bits}
    return geometry | widths | msgspec.structs.asdict(spec.rlwe) | {"images": images}


def public_seed(program: ir.Program, images: int = 1) -> bytes:
    """The seed of all RLWE `a` polynomials of this Program's runs of so many images: public, fixed
    by the Program's identity, so that hints can be kept.
    """
    domain = b"moiety rlwe a" if images == 1 else b"moiety rlwe a of %d images" % images
    return hashlib.sha256(domain + bytes.fromhex(program.digest())).digest()[:SEED_BYTES]


def kind_of(step: ir.AnyStep) -> str:
    """The name of a step's kind, as in the Program file."""
    return str(step.__struct_config__.tag)
