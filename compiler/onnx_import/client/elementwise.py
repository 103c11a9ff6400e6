"""Translators of functions of one element."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from onnx import TensorProto

from moiety.compiler.ir.formulas import interpreted
from moiety.compiler.onnx_import.client.call import ClientCall, translator
from moiety.compiler.onnx_import.fix_input import REAL, type_name
from moiety.compiler.onnx_import.powers import power_of
from moiety.compiler.onnx_import.public import Public
from moiety.compiler.onnx_import.smooth import formula_of
from moiety.runtime.program.expression.base import Kind
from moiety.runtime.program.expression.elementwise import (
    UNARY,
    BinaryName,
    Cast,
    UnaryName,
    Where,
)

_UNARY: dict[str, UnaryName] = {
    "Abs": "abs",
    "Ceil": "ceil",
    "Erf": "erf",
    "Exp": "exp",
    "Floor": "floor",
    "IsNaN": "isnan",
    "Log": "log",
    "Neg": "neg",
    "Not": "not",
    "Reciprocal": "reciprocal",
    "Relu": "relu",
    "Round": "round",
    "Sigmoid": "sigmoid",
    "Sign": "sign",
    "Softplus": "softplus",
    "Sqrt": "sqrt",
    "Tanh": "tanh",
}
_BINARY: dict[str, BinaryName] = {
    "Add": "add",
    "And": "and",
    "Div": "div",
    "Equal": "equal",
    "Greater": "greater",
    "GreaterOrEqual": "greater_or_equal",
    "Less": "less",
    "LessOrEqual": "less_or_equal",
    "Mul": "mul",
    "Or": "or",
    "Pow": "pow",
    "Sub": "sub",
    "Xor": "xor",
}
_VARIADIC: dict[str, BinaryName] = {"Max": "max", "Mean": "add", "Min": "min", "Sum": "add"}
_INTEGERS = (
    *(TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64),
    *(TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32),
)


@translator(
    *("Ceil", "Erf", "Exp", "Floor", "IsNaN", "Log", "Reciprocal", "Round", "Sigmoid"),
    *("Sign", "Softplus", "Sqrt", "Tanh"),
    begins=True,
)
@translator("Abs", "Neg", "Not", "Relu")
def _unary(call: ClientCall) -> Sequence[Public]:
    """Any shape."""
    return [call.unary(_UNARY[call.proto.op_type], call.public())]


@translator("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", begins=True)
@translator("Pow", begins=lambda call: power_of(call) is None)
@translator("Div", begins=lambda call: call.is_value(1))
@translator("Add", "And", "Mul", "Or", "Sub", "Xor")
def _binary(call: ClientCall) -> Sequence[Public]:
    """Any shapes that broadcast; no division of integers."""
    left, right = call.publics()
    if call.proto.op_type == "Pow" and "integer" in (left.form.kind, right.form.kind):
        power = call.binary("pow", _cast(call, left, "real"), _cast(call, right, "real"))
        return [_cast(call, power, left.form.kind)]
    return [call.binary(_BINARY[call.proto.op_type], left, right)]


@translator("Max", "Mean", "Min", "Sum")
def _variadic(call: ClientCall) -> Sequence[Public]:
    """Any number of operands that broadcast."""
    first, *others = call.publics()
    for other in others:
        first = call.binary(_VARIADIC[call.proto.op_type], first, other)
    if call.proto.op_type == "Mean":
        first = call.binary("div", first, len(others) + 1)
    return [first]


@translator("Clip")
def _clip(call: ClientCall) -> Sequence[Public]:
    """Either bound or both."""
    x = call.public()
    for name, index, function in (("min", 1, "max"), ("max", 2, "min")):
        if call.has(index):
            bound: Public | float = call.public(index)
        elif name in call.attrs:
            bound = float(call.attrs[name])
        else:
            continue
        x = call.binary("max" if function == "max" else "min", x, bound)
    return [x]


@translator("LeakyRelu", "PRelu")
def _leaky(call: ClientCall) -> Sequence[Public]:
    """Any slope that broadcasts: `relu(x) - slope * relu(-x)`."""
    x = call.public()
    slope = call.public(1) if call.has(1) else call.number(float(call.attrs.get("alpha", 0.01)))
    below = call.unary("relu", call.unary("neg", x))
    return [call.binary("sub", call.unary("relu", x), call.binary("mul", below, slope))]


@translator("HardSigmoid")
def _hard_sigmoid(call: ClientCall) -> Sequence[Public]:
    """`min(max(alpha * x + beta, 0), 1)`."""
    alpha, beta = float(call.attrs.get("alpha", 0.2)), float(call.attrs.get("beta", 0.5))
    line = call.binary("add", call.binary("mul", call.public(), alpha), beta)
    return [call.binary("min", call.binary("max", line, 0), 1)]


@translator("ThresholdedRelu", begins=lambda call: call.attrs.get("alpha", 1.0) != 0)
def _thresholded_relu(call: ClientCall) -> Sequence[Public]:
    """`x` where it is larger than alpha, else 0."""
    x = call.public()
    above = call.binary("greater", x, float(call.attrs.get("alpha", 1.0)))
    return [call.emit_operation(Where(inputs=(above.number, x.number, call.number(0.0).number)))]


@translator("Softsign", begins=True)
@translator("Celu", "Elu", "Gelu", "HardSwish", "Mish", "Selu", "Swish")
def _smooth(call: ClientCall) -> Sequence[Public]:
    """Any attributes."""

    def apply(name: str, operands: Sequence[Public]) -> Public:
        if name in UNARY:
            return call.unary(cast("UnaryName", name), *operands)
        return call.binary(cast("BinaryName", name), *operands)

    return [interpreted(formula_of(call), call.public(), call.number, apply)]


@translator("Where", begins=lambda call: not call.is_constant(0))
def _where(call: ClientCall) -> Sequence[Public]:
    """Any shapes that broadcast."""
    condition, yes, no = call.publics()
    return [call.emit_operation(Where(inputs=(condition.number, yes.number, no.number)))]


@translator("Cast", begins=lambda call: call.attrs["to"] not in REAL)
@translator("CastLike")
def _cast_node(call: ClientCall) -> Sequence[Public]:
    """To a real type (float64 there), an integer type (int64 there) or boolean."""
    if call.proto.op_type == "CastLike":
        return [_cast(call, call.public(), call.public(1).form.kind)]
    to = call.attrs["to"]
    if to in REAL:
        return [_cast(call, call.public(), "real")]
    if to == TensorProto.BOOL:
        return [_cast(call, call.public(), "boolean")]
    if to not in _INTEGERS:
        call.fail(f"to {type_name(to)}", "to float, int64 or bool is supported")
    return [_cast(call, call.public(), "integer")]


def _cast(call: ClientCall, x: Public, to: Kind) -> Public:
    return x if x.form.kind == to else call.emit_operation(Cast(inputs=(x.number,), to=to))


@translator("Identity", "Dropout")
def _identity(call: ClientCall) -> Sequence[Public]:
    """Any; inference mode."""
    call.only_first_output()
    return [call.public()]
