"""A constant before a ReLU as its threshold, so that ReLUs of one
tensor can share their comparisons.

    Relu(AddConst(x; c))  =  Relu(x; threshold c)

where c has one value per channel: both are `[x + c >= 0] * (x + c)` in one ring, equal bit
for bit. ReLU6 and its like are `relu(x) - relu(x - 6)`, two thresholds of one tensor;
`share_gates` then makes both comparisons at once. Whether it applies depends on the
constant's shape, not on its values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from moiety.runtime import program as ir

Tensors = dict[str, npt.NDArray[Any]]


def fuse_shifts(
    steps: Sequence[ir.AnyStep], tensors: Mapping[str, npt.NDArray[Any]]
) -> tuple[list[ir.AnyStep], Tensors]:
    """The rewritten steps under the same indices, and their weights; an AddConst
    that nobody reads any more stays.
    """
    made, weights = list(steps), dict(tensors)
    for index, step in enumerate(steps):
        if not isinstance(step, ir.Relu) or step.affine or len(step.inputs) != 1:
            continue
        (operand,) = step.inputs
        shift = steps[operand]
        if not isinstance(shift, ir.AddConst) or steps[shift.inputs[0]].bits != shift.bits:
            continue
        constant = tensors[f"const.{operand}"]
        aligned = constant.reshape((1,) * (len(shift.shape) - constant.ndim) + constant.shape)
        if any(size > 1 for size in aligned.shape[1:]):
            continue
        channels = shift.shape[:1]
        made[index] = msgspec.structs.replace(step, inputs=shift.inputs, affine=True)
        weights[f"relu.{index}.threshold"] = np.broadcast_to(aligned.reshape(-1), channels).astype(
            np.int64
        )
        weights[f"relu.{index}.flip"] = np.zeros(channels, np.uint8)
    return made, weights
