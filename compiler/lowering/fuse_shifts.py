"""A constant before a ReLU as its threshold, so that ReLUs of one tensor can share
their comparisons.

    Relu(AddConst(x; c))  =  Relu(x; threshold c)

where c has one value per channel: both are `[x + c >= 0] * (x + c)` in one ring, equal bit for
bit. ReLU6 and its like are `relu(x) - relu(x - 6)`, two thresholds of one tensor;
`share_gates` then makes both comparisons at once. Whether it applies depends on the constant's
shape, not on its values.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from moiety.compiler.lowering.tensors import Tensors
from moiety.protocols.arrays import I64
from moiety.runtime.program import AddConst, AnyStep, Relu


def fuse_shifts(steps: Sequence[AnyStep], tensors: Tensors) -> tuple[list[AnyStep], Tensors]:
    """The rewritten steps under the same indices, and their weights; an AddConst that nobody reads
    any more stays.
    """
    made, weights = list(steps), dict(tensors)
    for index, step in enumerate(steps):
        if not isinstance(step, Relu) or step.affine or len(step.inputs) != 1:
            continue
        (operand,) = step.inputs
        shift = steps[operand]
        if not isinstance(shift, AddConst) or steps[shift.inputs[0]].bits != shift.bits:
            continue
        constant = _per_channel(tensors[f"const.{operand}"], shift.shape)
        if constant is None:
            continue
        made[index] = msgspec.structs.replace(step, inputs=shift.inputs, affine=True)
        weights[f"relu.{index}.threshold"] = constant
        weights[f"relu.{index}.flip"] = np.zeros(shift.shape[:1], np.uint8)
    return made, weights


def _per_channel(constant: I64, shape: tuple[int, ...]) -> I64 | None:
    """A constant that broadcasts to `shape` as int64 `(C,)`; None if it varies within a channel."""
    aligned = constant.reshape((1,) * (len(shape) - constant.ndim) + constant.shape)
    if any(size > 1 for size in aligned.shape[1:]):
        return None
    return np.broadcast_to(aligned.reshape(-1), shape[:1]).astype(np.int64)
