"""Values that are one function of each element of another value: what exporters write as several
nodes, `x * sigmoid(x)` for one, is found to be one activation.
"""

from __future__ import annotations

from collections.abc import Iterator

from moiety.compiler.ir.formulas import MAX_TOKENS, Formula, compose, operations
from moiety.compiler.ir.formulas_of_nodes import own_formula
from moiety.compiler.ir.graph import Node
from moiety.compiler.onnx_import.call import Call

_POLYNOMIAL = frozenset({"add", "sub", "mul", "neg"})
Axes = tuple[int, ...]
"""An order of axes; none is the one that they have."""

_BINARY = {"Add": "add", "Sub": "sub", "Mul": "mul"}


def as_activation(call: Call, operation: str, left: str, right: str) -> str | None:
    """The binary operation of two values as an Activation of the nearest value that both are
    functions of, element by element; None where there is no such value, or where the result is a
    polynomial, which products compute exactly.
    """
    producers = {node.output: node for node in call.builder.nodes}
    for base in _ancestors(producers, left):
        formula = _binary(producers, operation, left, right, base)
        if formula is not None and not _POLYNOMIAL.issuperset(operations(formula)):
            return call.emit("Activation", [base], formula=formula)
    return None


def _ancestors(producers: dict[str, Node], value: str) -> Iterator[str]:
    """A value, and those that it is made of, nearest first."""
    pending = [value]
    for _ in range(MAX_TOKENS):
        if not pending:
            return
        value = pending.pop(0)
        yield value
        node = producers.get(value)
        if node is not None and _pointwise(node):
            pending.extend(operand for operand in node.inputs if operand not in pending)


def _pointwise(node: Node) -> bool:
    return node.op in {*_BINARY, "Transpose"} or own_formula(node) is not None


def _binary(
    producers: dict[str, Node], operation: str, left: str, right: str, base: str, axes: Axes = ()
) -> Formula | None:
    first = _formula(producers, left, base, axes)
    second = None if first is None else _formula(producers, right, base, axes)
    if first is None or second is None or len(first) + len(second) >= MAX_TOKENS:
        return None
    return (*first, *second, operation)


def _formula(producers: dict[str, Node], value: str, base: str, axes: Axes = ()) -> Formula | None:
    """`value`, its axes in the order `axes`, as a function of `base`; None where it is none, or too
    long. Transposes in between must undo each other.
    """
    if value == base and axes == tuple(range(len(axes))):
        return ("x",)
    node = producers.get(value)
    if node is None:
        return None
    if node.op == "Transpose":
        perm: Axes = tuple(node.attrs["perm"])
        moved = tuple(perm[axis] for axis in axes) or perm
        return _formula(producers, node.inputs[0], base, moved)
    if node.op in _BINARY:
        left, right = node.inputs
        return _binary(producers, _BINARY[node.op], left, right, base, axes)
    outer = own_formula(node)
    inner = None if outer is None else _formula(producers, node.inputs[0], base, axes)
    if outer is None or inner is None:
        return None
    composed = compose(outer, inner)
    return composed if len(composed) <= MAX_TOKENS else None
