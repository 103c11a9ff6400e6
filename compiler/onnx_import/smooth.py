"""Importers of smooth activations: formulas, which the planner fits by sums of shifted ReLUs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from moiety.compiler.ir import formulas
from moiety.compiler.onnx_import.call import Call, importer


def _swish(call: Call) -> formulas.Formula:
    alpha = float(call.attrs.get("alpha", 1.0))
    return ("x", *formulas.affine(("x",), alpha, 0.0), "sigmoid", "mul")


def _gelu(call: Call) -> formulas.Formula:
    tanh = call.text("approximate", "none") == "tanh"
    return formulas.NAMED["gelu-tanh" if tanh else "gelu"]


def _exponential_unit(call: Call) -> formulas.Formula:
    kind = call.proto.op_type
    alpha = float(call.attrs.get("alpha", 1.67326319217681884765625 if kind == "Selu" else 1.0))
    gamma = float(call.attrs.get("gamma", 1.05070102214813232421875)) if kind == "Selu" else 1.0
    stretch = alpha if kind == "Celu" else 1.0
    return formulas.exponential_unit(gamma, alpha, stretch)


_WITH_ATTRIBUTES: dict[str, Callable[[Call], formulas.Formula]] = {
    "Celu": _exponential_unit,
    "Elu": _exponential_unit,
    "Gelu": _gelu,
    "Selu": _exponential_unit,
    "Swish": _swish,
}
_PLAIN = (
    *("Erf", "Exp", "HardSwish", "Log", "Mish"),
    *("Sigmoid", "Softplus", "Softsign", "Tanh"),
)


def formula_of(call: Call) -> formulas.Formula:
    """What the node does to each element."""
    op_type = call.proto.op_type
    if op_type in _WITH_ATTRIBUTES:
        return _WITH_ATTRIBUTES[op_type](call)
    return formulas.NAMED[op_type.lower()]


@importer(*_PLAIN, *_WITH_ATTRIBUTES)
def _smooth(call: Call) -> Sequence[str]:
    """Any shape and attributes; fitted by straight pieces over the calibrated range, in which it
    must be finite.
    """
    return [call.emit("Activation", [call.value()], formula=formula_of(call))]


@importer("ThresholdedRelu")
def _thresholded_relu(call: Call) -> Sequence[str]:
    """With alpha 0 alone, where it is Relu."""
    alpha = float(call.attrs.get("alpha", 1.0))
    if alpha != 0:
        call.fail(
            f"jumps from 0 to {alpha:g}",
            "rounding moves values across a jump; use Relu, or a shifted one",
        )
    return [call.emit("Relu", [call.value()])]
