"""LinearMap: a fixed linear map along one axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from moiety.compiler.ir.axis_map import AxisMap
from moiety.compiler.ir.graph import Array, Graph, Node, Shape
from moiety.compiler.ir.onnx_writer import OnnxWriter
from moiety.compiler.ir.ops.base import Op, Trait, operator, require
from moiety.compiler.ir.scale_fields import Field, ScaleMap

_LETTERS = "nabcdefgh"


@operator
class LinearMap(Op):
    """`map` (an AxisMap) along `axis`, neither batch nor channels: resizing, sums, running sums.
    Its weights are the architecture's and no secret, so that each party applies it to its share.
    """

    attrs: ClassVar[tuple[str, ...]] = ("axis", "map")
    traits = Trait.REINDEXING | Trait.SHARED_RING | Trait.ANY_RING | Trait.WIDE_OPERANDS

    def infer(self, node: Node, shapes: Sequence[Shape]) -> Shape:
        (shape,), axis, weights = shapes, node.attrs["axis"], node.attrs["map"]
        require(
            2 <= axis < len(shape) <= len(_LETTERS),
            f"axis {axis} is none behind the channels of {shape}",
        )
        require(
            isinstance(weights, AxisMap) and weights.size == shape[axis],
            f"map {weights} does not fit axis {axis} of {shape}",
        )
        return (*shape[:axis], weights.results, *shape[axis + 1 :])

    def evaluate(self, node: Node, operands: Sequence[Array]) -> Array:
        return _applied(node.attrs["map"].matrix, node.attrs["axis"], operands[0])

    def write(self, writer: OnnxWriter, node: Node) -> None:
        rank, axis = len(writer.graph.shapes[node.output]), node.attrs["axis"]
        operand = _LETTERS[:rank]
        equation = f"{operand},z{operand[axis]}->{operand.replace(operand[axis], 'z')}"
        matrix = writer.weight(node, "map", node.attrs["map"].matrix)
        writer.emit("Einsum", node, [node.inputs[0], matrix], equation=equation)

    def scale_rule(self, scales: ScaleMap, node: Node) -> Field:
        """The integer map is `divisor` times too large: the multiplier says so."""
        given = scales.per_channel(node, node.inputs[0])
        return Field(given.ids, given.multiplier / node.attrs["map"].divisor)

    def enlarges(self, graph: Graph, node: Node) -> int:
        return int(np.abs(node.attrs["map"].integers).sum(axis=1).max())

    def adjoint(
        self, node: Node, operands: Sequence[Array], result: Array, grad: Array
    ) -> Sequence[Array]:
        """The transposed matrix."""
        return [_applied(node.attrs["map"].matrix.T, node.attrs["axis"], grad)]


def _applied(matrix: Array, axis: int, x: Array) -> Array:
    moved = np.moveaxis(x, axis, -1) @ matrix.T.astype(x.dtype)
    return np.ascontiguousarray(np.moveaxis(moved, -1, axis))
