"""Assignments under a mask, as PyTorch's two exporters write them: the end of torchxrayvision's
models, which moves each label's own threshold to one half.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from tests.support.onnx_models import ModelBuilder as B


def number(b: B, value: float) -> str:
    return b.constant(value, np.float32)


def chosen(b: B, values: str, mask: str) -> str:
    """`values[mask]`."""
    return b.op("GatherND", values, places(b, mask))


def places(b: B, mask: str) -> str:
    return b.op("Transpose", b.op("NonZero", mask), perm=[1, 0])


def put_by_count(b: B, into: str, mask: str, values: str) -> str:
    """`into[mask] = values` by the exporter of today."""
    flags = b.op("Cast", b.op("Reshape", mask, b.ints(-1)), to=TensorProto.INT64)
    repeated = b.op("Expand", values, b.op("ReduceSum", flags))
    return b.op("ScatterND", into, places(b, mask), b.op("Reshape", repeated, b.ints(-1)))


def put_by_slice(b: B, into: str, mask: str, values: str) -> str:
    """The same by the one of TorchScript."""
    where = places(b, b.op("Expand", mask, b.op("Shape", into)))
    count = b.op("Gather", b.op("Shape", where), b.constant(0, np.int64))
    flat = b.op("Reshape", values, b.ints(-1))
    stop = b.op("Unsqueeze", count, b.ints(0))
    return b.op("ScatterND", into, where, b.op("Slice", flat, b.ints(0), stop, b.ints(0)))


def normalised(b: B, x: str, thresholds: np.typing.ArrayLike, by_slice: bool = False) -> str:
    """Below the threshold t `x / 2t`, else `1 - (1 - x) / 2(1 - t)`; one half where t is NaN."""
    limits = np.asarray(thresholds, np.float32)
    given = b.constant(limits)
    known = b.constant(~np.isnan(limits))
    put = put_by_slice if by_slice else put_by_count
    below = b.op("Less", x, given)
    low = b.op("And", below, known)
    twice = b.op("Mul", chosen(b, given, low), number(b, 2))
    result = b.constant(np.full(limits.shape, 0.5, np.float32))
    result = put(b, result, low, b.op("Div", chosen(b, x, low), twice))
    high = b.op("And", b.op("Not", below), known)
    rest = b.op("Sub", number(b, 1), chosen(b, x, high))
    room = b.op("Mul", b.op("Sub", number(b, 1), chosen(b, given, high)), number(b, 2))
    return put(b, result, high, b.op("Sub", number(b, 1), b.op("Div", rest, room)))
