"""Public facts of a Program that both parties, the planner's reports and the tests derive in one and the same way."""

from __future__ import annotations

import hashlib
from typing import cast

import msgspec

from moiety.protocols.packing import LinearSpec
from moiety.protocols.rlwe import SEED_BYTES
from moiety.runtime import program as ir

Shape3 = tuple[int, int, int]


def linear_specs(program: ir.Program) -> dict[int, LinearSpec]:
    """Step index -> what the homomorphic protocol must know of each Linear step, in order."""
    specs = {}
    for index, step in enumerate(program.steps):
        if isinstance(step, ir.Linear):
            specs[index] = LinearSpec(
                in_shape=cast(Shape3, program.steps[step.inputs[0]].shape),
                out_shape=cast(Shape3, step.shape),
                kernel=step.kernel,
                pads=step.pads,
                dilations=step.dilations,
                groups=step.groups,
                bits=step.bits,
                weight_bits=step.weight_bits,
                **msgspec.structs.asdict(step.rlwe),
            )
    return specs


def public_seed(program: ir.Program) -> bytes:
    """The seed of all RLWE `a` polynomials of this Program: public, fixed by the Program's identity, so that hints can
    be kept.
    """
    return hashlib.sha256(b"moiety rlwe a" + bytes.fromhex(program.digest())).digest()[:SEED_BYTES]


def kind_of(step: ir.AnyStep) -> str:
    """The name of a step's kind, as in the Program file."""
    return str(step.__struct_config__.tag)
