"""Nodes that do the same to every element, as formulas of it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from moiety.compiler.ir.formulas import NAMED, Formula, affine
from moiety.compiler.ir.graph import Array, Node

POWERS: Mapping[float, Formula] = {
    0.5: NAMED["sqrt"],
    -0.5: NAMED["rsqrt"],
    -1.0: NAMED["reciprocal"],
}


def own_formula(node: Node) -> Formula | None:
    """A node with one operand as a formula of it, where it is the same for all elements."""
    match node.op:
        case "Activation":
            formula: Formula = node.attrs["formula"]
            return formula
        case "Power":
            return POWERS.get(node.attrs["exponent"])
        case "Relu":
            return ("x", 0.0, "max")
        case "Clip":
            return ("x", float(node.attrs["min"]), "max", float(node.attrs["max"]), "min")
        case "Scale":
            scale, shift = _alike(node.consts["scale"]), _alike(node.consts["shift"])
            return None if scale is None or shift is None else affine(("x",), scale, shift)
        case "AddConst":
            value = _alike(node.consts["value"])
            return None if value is None else affine(("x",), 1.0, value)
    return None


def _alike(constant: Array) -> float | None:
    """The one number of which a constant is made."""
    first = float(constant.reshape(-1)[0])
    return first if np.all(constant == constant.reshape(-1)[0]) else None
