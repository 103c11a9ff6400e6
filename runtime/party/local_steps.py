"""The steps that need no message: linear maps, so each party applies them to its own share.

Arrays are uint64, reduced, with the images of the run as their first axis, then the operand's
shape. Not here: `AddConst`, in which only the server's share takes part. The cleartext executor
does not use this file: it works on true integers and is the independent oracle.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moiety.protocols import ring
from moiety.protocols.arrays import U64
from moiety.runtime import program as ir

LocalStep = (
    ir.Reduce | ir.Add | ir.Concat | ir.Slice | ir.Reshape | ir.Transpose | ir.Pad | ir.SumPool
)
LOCAL_STEPS = (ir.Reduce, ir.Add, ir.Concat, ir.Slice, ir.Reshape, ir.Transpose, ir.Pad, ir.SumPool)


def apply_local(step: LocalStep, operands: Sequence[U64]) -> U64:
    """The step on one party's shares of its operands: uint64 `(images,
    *step.shape)`, modulo 2^bits.
    """
    x = operands[0]
    match step:
        case ir.Reduce():
            return ring.reduce(x, step.bits)
        case ir.Add():
            return _signed_sum(step, operands)
        case ir.Concat():
            return np.concatenate(operands, axis=1 + step.axis)
        case ir.Slice():
            return np.ascontiguousarray(x[:, *map(slice, step.starts, step.stops, step.strides)])
        case ir.Reshape():
            return x.reshape(len(x), *step.shape)
        case ir.Transpose():
            return np.ascontiguousarray(x.transpose(0, *(1 + axis for axis in step.perm)))
        case ir.Pad():
            return np.pad(x, ((0, 0), *step.pads))
        case ir.SumPool():
            return _sum_pool(step, x)


def _signed_sum(step: ir.Add, operands: Sequence[U64]) -> U64:
    total = np.zeros_like(operands[0])
    for sign, x in zip(step.signs, operands, strict=True):
        total = total + x if sign > 0 else total - x
    return ring.reduce(total, step.bits)


def _sum_pool(step: ir.SumPool, x: U64) -> U64:
    """Rows, then columns: kh + kw additions per element rather than kh * kw."""
    top, left, bottom, right = step.pads
    planes = x.reshape(-1, *x.shape[2:])
    padded = np.pad(planes, ((0, 0), (top, bottom), (left, right)))
    _, height, width = step.shape
    (kh, kw), (sy, sx) = step.kernel, step.strides
    rows = np.zeros((len(planes), height, padded.shape[2]), np.uint64)
    for i in range(kh):
        rows += padded[:, i : i + sy * (height - 1) + 1 : sy]
    total = np.zeros((len(planes), height, width), np.uint64)
    for j in range(kw):
        total += rows[:, :, j : j + sx * (width - 1) + 1 : sx]
    return ring.reduce(total, step.bits).reshape(len(x), *step.shape)
