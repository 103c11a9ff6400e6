"""The steps that need no message: the same function on a party's share and on the cleartext value, for all of them are linear.

Arrays are uint64, reduced, of the operand's shape; `lead` counts further axes in front (a batch in the cleartext executor; none in a
party). Not here: `AddConst`, in which only the server's share takes part. The two ends of a Program are also here, `quantise` for `Input` and
`open_output` for `Output`: they too must be one and the same in the cleartext executor and in the client.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from moiety.protocols import ring
from moiety.protocols.errors import ContractViolation
from moiety.runtime import program as ir

U64 = ring.U64
Local = ir.Reduce | ir.Add | ir.Concat | ir.Slice | ir.Reshape | ir.Transpose | ir.Pad | ir.SumPool
LOCAL_STEPS = (ir.Reduce, ir.Add, ir.Concat, ir.Slice, ir.Reshape, ir.Transpose, ir.Pad, ir.SumPool)


def apply_local(step: Local, operands: Sequence[U64], lead: int = 0) -> U64:
    """The step's result on one share (or on the value). Shape `lead axes + step.shape`, ring `Z_{2^step.bits}`."""
    x = operands[0]
    front = x.shape[:lead]
    match step:
        case ir.Reduce():
            return ring.reduce(x, step.bits)
        case ir.Add():
            return _signed_sum(step, operands)
        case ir.Concat():
            return np.concatenate(operands, axis=lead + step.axis)
        case ir.Slice():
            window = tuple(slice(*limits) for limits in zip(step.starts, step.stops, step.strides, strict=True))
            return np.ascontiguousarray(x[(slice(None),) * lead + window])
        case ir.Reshape():
            return x.reshape(front + step.shape)
        case ir.Transpose():
            return np.ascontiguousarray(x.transpose(*range(lead), *(lead + axis for axis in step.perm)))
        case ir.Pad():
            return np.pad(x, ((0, 0),) * lead + step.pads)
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
    padded = np.pad(x, ((0, 0),) * (x.ndim - 2) + ((top, bottom), (left, right)))
    height, width = step.shape[-2:]
    (kh, kw), (sy, sx) = step.kernel, step.strides
    rows = sum_of([padded[..., i : i + sy * (height - 1) + 1 : sy, :] for i in range(kh)])
    return ring.reduce(sum_of([rows[..., j : j + sx * (width - 1) + 1 : sx] for j in range(kw)]), step.bits)


def sum_of(terms: Sequence[U64]) -> U64:
    """Element-wise sum modulo 2^64."""
    total = terms[0].copy()
    for term in terms[1:]:
        total += term
    return total


def quantise(step: ir.Input, image: npt.NDArray[np.floating[Any]]) -> U64:
    """`round(x / scale)` (ties to even) as ring elements, saturated at the ring's signed range. Any shape."""
    limit = float(1 << (step.bits - 1))
    integers = np.clip(np.rint(np.asarray(image, np.float64) / step.scale), -limit, limit - 1)
    return ring.from_signed(integers.astype(np.int64), step.bits)


@dataclass(frozen=True)
class Output:
    """What the client reads of one Output step: `logits` are the revealed numbers, `values` are those after `postprocess`; float64."""

    name: str
    integers: ring.I64
    logits: npt.NDArray[np.float64]
    values: npt.NDArray[np.float64]
    postprocess: str
    labels: tuple[str, ...]


def open_output(step: ir.Output, elements: U64) -> Output:
    """Ring elements of the Output step's shape to numbers."""
    integers = ring.to_signed(elements, step.bits)
    logits = integers * step.scale
    return Output(step.name, integers, logits, _postprocess(step.postprocess, logits), step.postprocess, step.labels)


def _postprocess(kind: str, logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    match kind:
        case "none":
            return logits
        case "sigmoid":
            with np.errstate(over="ignore"):
                return 1.0 / (1.0 + np.exp(-logits))
        case "softmax":
            powers = np.exp(logits - logits.max(axis=0, keepdims=True))
            return powers / powers.sum(axis=0, keepdims=True)
        case _:
            raise ContractViolation(f"unknown postprocess '{kind}'")
