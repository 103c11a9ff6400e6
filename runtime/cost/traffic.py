"""What a Program costs on the wire, from its public numbers alone, before anything runs.

The formulas are the protocols' own declarations (protocols/cost); a test
holds their sum equal to what two parties meter. Beside bytes and flights they name the local work,
from which runtime/cost/clock makes seconds.
"""

from __future__ import annotations

import math

from moiety.protocols.compare.extend import extend_cost
from moiety.protocols.compare.maxpool import maxpool_cost
from moiety.protocols.compare.relu import gates_cost, multiplex_cost, relu_cost
from moiety.protocols.compare.reveal import reveal_to_client_cost
from moiety.protocols.compare.truncate import truncate_exact_cost, truncate_stochastic_cost
from moiety.protocols.cost import Cost, local
from moiety.protocols.linear.cost import linear_cost, query_cost
from moiety.protocols.linear.layout import LinearSpec
from moiety.runtime import program as ir
from moiety.runtime.program.linear_layers import linear_specs


def step_costs(program: ir.Program, images: int = 1) -> list[Cost]:
    """Bytes each way and flights of every step, in order, of a run of so many images."""
    specs = linear_specs(program, images)
    return [
        _step_cost(program, step, specs.get(index), images)
        for index, step in enumerate(program.steps)
    ]


def key_cost(program: ir.Program, images: int = 1) -> Cost:
    """The fresh RLWE public keys that come with every run."""
    return query_cost(list(linear_specs(program, images).values()))


def image_cost(program: ir.Program) -> Cost:
    """One whole inference; set-up and control messages are not in it."""
    return run_cost(program, 1)


def run_cost(program: ir.Program, images: int) -> Cost:
    """One run of `images` images together, likewise."""
    return sum(step_costs(program, images), key_cost(program, images))


def _step_cost(program: ir.Program, step: ir.AnyStep, spec: LinearSpec | None, images: int) -> Cost:
    n, network = images * math.prod(step.shape), program.planned_for
    operand = program.steps[step.inputs[0]] if step.inputs else step
    match step:
        case ir.Linear() if spec is not None:
            return linear_cost(spec)
        case ir.Relu(inputs=(_, _)):
            return multiplex_cost(n, step.bits)
        case ir.Relu():
            return relu_cost(n, operand.bits, step.bits, network)
        case ir.Gates():
            return gates_cost(
                images * math.prod(operand.shape), operand.bits, step.shape[0], network
            )
        case ir.Truncate(rounding="exact"):
            return truncate_exact_cost(n, operand.bits, step.shift, network)
        case ir.Truncate():
            return truncate_stochastic_cost(n, operand.bits, step.shift)
        case ir.MaxPool():
            channels, height, width = operand.shape
            return maxpool_cost(
                (images * channels, height, width),
                step.bits,
                step.kernel,
                step.strides,
                step.pads,
                network,
            )
        case ir.Extend():
            return extend_cost(n, operand.bits, step.bits, network)
        case ir.Output():
            return reveal_to_client_cost(n, step.bits)
        case ir.Reshape() | ir.Input():
            return Cost()
        case ir.SumPool():
            return local("pass", n * sum(step.kernel))
        case ir.Add() | ir.Concat():
            return (
                local("pass", n * len(step.inputs))
                if isinstance(step, ir.Add)
                else local("pass", n)
            )
        case _:
            return local("pass", n)
