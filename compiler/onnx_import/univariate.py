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
_BINARY = {"Add": "add", "Sub": "sub", "Mul": "mul"}


def as_activation(call: Call, operation: str, left: str, right: str) -> str | None:
    """The binary operation of two values as an Activation of the nearest value that both are
    functions of, element by element; None where there is no such value, or where the result is a
    polynomial, which products compute exactly.
    """
    producers = _producers(call)
    for base in _ancestors(producers, left):
        formula = _binary(producers, operation, left, right, base)
        if formula is not None and not _POLYNOMIAL.issuperset(operations(formula)):
            return call.emit("Activation", [base], formula=formula)
    return None


def _producers(call: Call) -> dict[str, Node]:
    """By value, the node that makes it, or one that says which formula it is."""
    nodes = {node.output: node for node in call.builder.nodes}
    return nodes | {
        value: Node("Activation", call.label, (base,), value, {"formula": formula})
        for value, (base, formula) in call.builder.elementwise.items()
    }


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
    return node.op in _BINARY or own_formula(node) is not None


def _binary(
    producers: dict[str, Node], operation: str, left: str, right: str, base: str
) -> Formula | None:
    first = _formula(producers, left, base)
    second = None if first is None else _formula(producers, right, base)
    if first is None or second is None or len(first) + len(second) >= MAX_TOKENS:
        return None
    return (*first, *second, operation)


def _formula(producers: dict[str, Node], value: str, base: str) -> Formula | None:
    """`value` as a function of `base`; None where it is none, or too long."""
    if value == base:
        return ("x",)
    node = producers.get(value)
    if node is None:
        return None
    if node.op in _BINARY:
        left, right = node.inputs
        return _binary(producers, _BINARY[node.op], left, right, base)
    outer = own_formula(node)
    inner = None if outer is None else _formula(producers, node.inputs[0], base)
    if outer is None or inner is None:
        return None
    composed = compose(outer, inner)
    return composed if len(composed) <= MAX_TOKENS else None
