"""Importers of smooth activations: formulas, which the planner fits by sums of shifted ReLUs."""

from __future__ import annotations

from collections.abc import Sequence

from moiety.compiler.ir import formulas
from moiety.compiler.onnx_import.call import Call, importer


def emit_formula(call: Call, formula: formulas.Formula) -> list[str]:
    return [call.emit("Activation", [call.value()], formula=formula)]


_NAMES = {
    "Erf": "erf",
    "Exp": "exp",
    "HardSwish": "hardswish",
    "Log": "log",
    "Mish": "mish",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Tanh": "tanh",
}


@importer(*_NAMES)
def _named(call: Call) -> Sequence[str]:
    """Any shape; fitted by straight pieces over the calibrated range, in which it must be
    finite.
    """
    return emit_formula(call, formulas.NAMED[_NAMES[call.proto.op_type]])


@importer("Gelu")
def _gelu(call: Call) -> Sequence[str]:
    """Either form; fitted by straight pieces over the calibrated range."""
    tanh = call.text("approximate", "none") == "tanh"
    return emit_formula(call, formulas.NAMED["gelu-tanh" if tanh else "gelu"])


@importer("Swish")
def _swish(call: Call) -> Sequence[str]:
    """Any alpha; fitted by straight pieces over the calibrated range."""
    alpha = float(call.attrs.get("alpha", 1.0))
    return emit_formula(call, ("x", *formulas.affine(("x",), alpha, 0.0), "sigmoid", "mul"))


@importer("Elu", "Celu", "Selu")
def _exponential_unit(call: Call) -> Sequence[str]:
    """Any parameters; fitted by straight pieces over the calibrated range."""
    kind = call.proto.op_type
    alpha = float(call.attrs.get("alpha", 1.67326319217681884765625 if kind == "Selu" else 1.0))
    gamma = float(call.attrs.get("gamma", 1.05070102214813232421875)) if kind == "Selu" else 1.0
    stretch = alpha if kind == "Celu" else 1.0
    return emit_formula(call, formulas.exponential_unit(gamma, alpha, stretch))


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
