"""A Program of scores made one whose decisions at secret thresholds stay shared, to be counted."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from moiety.protocols.aggregate.counts import DECISION_BITS
from moiety.runtime import program as ir
from moiety.runtime.program.policy import Policy
from moiety.runtime.program.weights import Weights, commit


def counting(
    program: ir.Program, weights: Weights, least: Sequence[int], policy: Policy
) -> tuple[ir.Program, Weights]:
    """`least`: of each score the least integer that is above the threshold."""
    *steps, output = program.steps
    at, shape, bits = len(steps), output.shape, output.bits + 1
    steps += [
        ir.Extend(inputs=(output.inputs[0],), shape=shape, bits=bits),
        ir.Gates(inputs=(at,), shape=(1, *shape), bits=1, compared=bits),
        ir.Count(inputs=(at + 1,), shape=shape, bits=DECISION_BITS),
        ir.Output(inputs=(at + 2,), shape=shape, bits=DECISION_BITS, name="decisions", scale=1.0),
    ]
    made = msgspec.structs.replace(program, steps=tuple(steps), policy=policy, commitment="")
    made.check()
    secret = {f"gates.{at + 1}.threshold": -np.array([least], np.int64)}
    return commit(made, {**weights.tensors, **secret})
