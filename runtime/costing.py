"""What a Program costs on the wire, from its public numbers alone, before anything runs.

The formulas are the protocols' own declarations (protocols/costs, protocols/packing); a test holds their sum equal to
what two parties meter.
"""

from __future__ import annotations

import math

from moiety.protocols import costs, packing
from moiety.protocols.costs import Cost
from moiety.runtime import program as ir
from moiety.runtime.layers import linear_specs


def step_costs(program: ir.Program) -> list[Cost]:
    """Bytes each way and flights of every step, in order."""
    specs = linear_specs(program)
    return [_step_cost(program, step, specs.get(index)) for index, step in enumerate(program.steps)]


def key_cost(program: ir.Program) -> Cost:
    """The fresh RLWE public keys that come with every image."""
    nbytes = packing.query_bytes(list(linear_specs(program).values()))
    return Cost.of(("C", nbytes))


def image_cost(program: ir.Program) -> Cost:
    """One whole inference; set-up and control messages are not in it."""
    return sum(step_costs(program), key_cost(program))


def _step_cost(program: ir.Program, step: ir.AnyStep, spec: packing.LinearSpec | None) -> Cost:
    n, link = math.prod(step.shape), program.link
    operand = program.steps[step.inputs[0]] if step.inputs else step
    match step:
        case ir.Linear() if spec is not None:
            return Cost.of(("C", packing.upload_bytes(spec)), ("S", packing.download_bytes(spec)))
        case ir.Relu(inputs=(_, _)):
            return costs.multiplex(n, step.bits)
        case ir.Relu():
            return costs.relu(n, operand.bits, step.bits, link)
        case ir.Gates():
            return costs.gates(math.prod(operand.shape), operand.bits, step.shape[0], link)
        case ir.Truncate(rounding="exact"):
            return costs.truncate_exact(n, operand.bits, step.shift, link)
        case ir.Truncate():
            return costs.truncate_stochastic(n, operand.bits, step.shift)
        case ir.MaxPool():
            channels, height, width = operand.shape
            return costs.maxpool((channels, height, width), step.bits, step.kernel, step.strides, step.pads, link)
        case ir.Extend():
            return costs.extend(n, operand.bits, step.bits, link)
        case ir.Output():
            return costs.reveal_to_client(n, step.bits)
        case _:
            return Cost()
