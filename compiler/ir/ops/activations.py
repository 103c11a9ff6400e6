"""Smooth activations: a formula of each element."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moiety.compiler.ir import formulas
from moiety.compiler.ir.graph import Array, Node, Shape
from moiety.compiler.ir.onnx_writer import OnnxWriter
from moiety.compiler.ir.ops.base import Op, ShapeError, Trait, operator
from moiety.compiler.ir.ops.elementwise import same_shape
from moiety.compiler.ir.scale_fields import Field, ScaleMap
from moiety.protocols.errors import ContractViolation


@operator
class Activation(Op):
    """A function of each element, `formula` as compiler/ir/formulas.py writes it. Planning fits a
    continuous function of straight pieces to it (compiler/planning/splines).
    """

    attrs = ("formula",)
    traits = Trait.SPLINE | Trait.SHARED_RING | Trait.ELEMENTWISE

    def infer(self, node: Node, shapes: Sequence[Shape]) -> Shape:
        try:
            formulas.check(node.attrs["formula"])
        except ValueError as error:
            raise ShapeError(str(error)) from None
        return same_shape(shapes)

    def evaluate(self, node: Node, operands: Sequence[Array]) -> Array:
        return formulas.evaluate(node.attrs["formula"], operands[0])

    def write(self, writer: OnnxWriter, node: Node) -> None:
        stack: list[str] = []
        tokens = node.attrs["formula"]
        for number, token in enumerate(tokens):
            role = f"formula{number}"
            if isinstance(token, float):
                stack.append(writer.weight(node, role, np.asarray(token)))
            elif token == formulas.VARIABLE:
                stack.append(node.inputs[0])
            else:
                operation = formulas.OPERATIONS[token]
                operands = stack[-operation.operands :]
                output = node.output if number == len(tokens) - 1 else f"{node.output}::{role}"
                del stack[-operation.operands :]
                stack.append(writer.emit(operation.onnx, node, operands, output))

    def scale_rule(self, scales: ScaleMap, node: Node) -> Field:
        """One scale for all channels of operand and result: knots and slopes are then integers
        that all channels share.
        """
        result, given = scales.begin(node.output, 1), scales.per_channel(node, node.inputs[0])
        if (given.multiplier != 1).any():
            raise ContractViolation(
                f"Activation {node.name!r} reads a value of another multiplier; legalise first"
            )
        scales.classes.tie([*np.unique(given.ids).tolist(), *scales.sources[node.output].tolist()])
        return result

    def adjoint(
        self, node: Node, operands: Sequence[Array], result: Array, grad: Array
    ) -> Sequence[Array]:
        return [grad * formulas.derivative(node.attrs["formula"], operands[0])]
