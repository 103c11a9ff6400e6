"""Powers of positive values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moiety.compiler.ir.graph import Array, Node, Shape
from moiety.compiler.ir.onnx_writer import OnnxWriter
from moiety.compiler.ir.ops.base import Op, Trait, operator
from moiety.compiler.ir.ops.elementwise import same_shape
from moiety.compiler.ir.scale_fields import Field, ScaleMap
from moiety.protocols.errors import ContractViolation


@operator
class Power(Op):
    """`x^exponent`, x positive: what norms divide by. Planning fits straight pieces to it, with the
    same relative error everywhere (compiler/planning/powers). As `(m*x)^p = m^p * x^p`, each
    channel may have its own scale and still the same pieces.
    """

    attrs = ("exponent",)
    traits = Trait.SPLINE | Trait.POWER | Trait.ELEMENTWISE

    def infer(self, node: Node, shapes: Sequence[Shape]) -> Shape:
        return same_shape(shapes)

    def evaluate(self, node: Node, operands: Sequence[Array]) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(operands[0] ** operands[0].dtype.type(node.attrs["exponent"]))

    def write(self, writer: OnnxWriter, node: Node) -> None:
        exponent = writer.weight(node, "exponent", np.asarray(node.attrs["exponent"]))
        writer.emit("Pow", node, [node.inputs[0], exponent])

    def scale_rule(self, scales: ScaleMap, node: Node) -> Field:
        """Fresh ids, which nothing may be tied to: their unit follows from that of the operand
        (planning/powers). One per channel, or one for all where the operand has one.
        """
        given = scales.per_channel(node, node.inputs[0])
        if (given.multiplier != 1).any():
            raise ContractViolation(
                f"Power {node.name!r} reads a value of another multiplier; legalise first"
            )
        one = len({scales.classes.root(index) for index in given.ids.reshape(-1).tolist()}) == 1
        return scales.begin(node.output, 1 if one else scales.graph.shapes[node.output][1])

    def adjoint(
        self, node: Node, operands: Sequence[Array], result: Array, grad: Array
    ) -> Sequence[Array]:
        return [grad * node.attrs["exponent"] * result / operands[0]]
