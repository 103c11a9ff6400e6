"""Translators of what goes along axes: reductions, softmax, the largest elements."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from moiety.compiler.onnx_import.client.call import ClientCall, translator
from moiety.compiler.onnx_import.public import Public
from moiety.runtime.program.expression.axes import Arg, Normalise, Top

_BEFORE: dict[str, Callable[[ClientCall, Public], Public]] = {
    "ReduceL1": lambda call, x: call.unary("abs", x),
    "ReduceL2": lambda call, x: call.binary("mul", x, x),
    "ReduceSumSquare": lambda call, x: call.binary("mul", x, x),
}
_REDUCTIONS = {"ReduceMax": "max", "ReduceMean": "mean", "ReduceMin": "min", "ReduceProd": "prod"}


@translator("ReduceL2", "ReduceLogSum", "ReduceProd", begins=True)
@translator("ReduceL1", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "ReduceSumSquare")
def _reduce(call: ClientCall) -> Sequence[Public]:
    """Any axes."""
    op, x, axes = call.proto.op_type, call.public(), _axes(call)
    if op in _BEFORE:
        x = _BEFORE[op](call, x)
    if axes:
        x = call.reduced(_REDUCTIONS.get(op, "sum"), x, axes, _keepdims(call))
    if op == "ReduceL2":
        x = call.unary("sqrt", x)
    return [call.unary("log", x) if op == "ReduceLogSum" else x]


@translator("ReduceLogSumExp", begins=True)
def _log_sum_exp(call: ClientCall) -> Sequence[Public]:
    """Any axes: from the largest on, so that nothing overflows."""
    x, axes = call.public(), _axes(call)
    if not axes:
        return [x]
    largest = call.reduced("max", x, axes, True)
    total = call.reduced("sum", call.unary("exp", call.binary("sub", x, largest)), axes, True)
    made = call.binary("add", call.unary("log", total), largest)
    if _keepdims(call):
        return [made]
    return [call.reshaped(made, [n for axis, n in enumerate(made.shape) if axis not in axes])]


def _axes(call: ClientCall) -> tuple[int, ...]:
    """As attribute or operand; where none are given all, or none at all."""
    given, rank = call.ints("axes", 1), len(call.shape())
    if given:
        return tuple(call.from_front(axis, rank) for axis in given)
    return () if call.flag("noop_with_empty_axes") else tuple(range(rank))


def _keepdims(call: ClientCall) -> bool:
    return bool(call.attrs.get("keepdims", 1))


@translator("ArgMax", "ArgMin", begins=True)
def _arg(call: ClientCall) -> Sequence[Public]:
    """Any axis, of several places the first or last."""
    x = call.public()
    return [
        call.emit_operation(
            Arg(
                inputs=(x.number,),
                function="max" if call.proto.op_type == "ArgMax" else "min",
                axis=call.axis(0),
                keepdims=_keepdims(call),
                last=bool(call.attrs.get("select_last_index", 0)),
            )
        )
    ]


@translator("TopK", begins=True)
def _top(call: ClientCall) -> Sequence[Public]:
    """Any axis, a constant number; always in order."""
    x, count = call.public(), call.ints("k", 1)
    if not call.flag("sorted", True):
        call.builder.approximate.update(call.proto.output)  # they may come in any order
    if count is None or len(count) != 1:
        call.fail("the number of elements is not one constant")
    axis, largest = call.axis(-1), bool(call.attrs.get("largest", 1))
    return [
        call.emit_operation(
            Top(inputs=(x.number,), part=part, axis=axis, count=count[0], largest=largest)
        )
        for part in ("values", "places")
    ]


@translator("Softmax", "LogSoftmax", begins=True)
def _softmax(call: ClientCall) -> Sequence[Public]:
    """Any axis; before opset 13 all axes from that on together."""
    x = call.public()
    axis = call.axis(-1 if call.opset >= 13 else 1)
    flat = call.opset < 13 and len(x.shape) > axis + 1
    if flat:
        merged = call.reshaped(x, (*x.shape[:axis], math.prod(x.shape[axis:])))
    made = call.emit_operation(
        Normalise(
            inputs=((merged if flat else x).number,),
            function="softmax" if call.proto.op_type == "Softmax" else "log_softmax",
            axis=axis,
        )
    )
    return [call.reshaped(made, x.shape)]


@translator("LpNormalization", begins=True)
def _lp_normalisation(call: ClientCall) -> Sequence[Public]:
    """Any axis, p 1 or 2."""
    x, axis = call.public(), call.axis(-1)
    if call.attrs.get("p", 2) == 1:
        norm = call.reduced("sum", call.unary("abs", x), [axis], True)
    else:
        norm = call.unary("sqrt", call.reduced("sum", call.binary("mul", x, x), [axis], True))
    return [call.binary("div", x, norm)]
