"""What an operator is: one class that holds all that the compiler knows of it, and its registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Flag, auto
from typing import ClassVar, NoReturn, TypeVar

import numpy as np

from moiety.compiler.ir.graph import Array, Graph, Node, Shape
from moiety.compiler.ir.onnx_writer import OnnxWriter
from moiety.compiler.ir.scale_fields import Field, ScaleMap
from moiety.protocols.arrays import F64, I64
from moiety.protocols.errors import ContractViolation


class ShapeError(ValueError):
    """An operator's operands do not fit it; `infer_shape` adds the node's name."""


def require(condition: bool, message: str) -> None:
    """Raise ShapeError unless `condition` holds."""
    if not condition:
        raise ShapeError(message)


class Trait(Flag):
    """What passes, planner and lowering ask of an op without asking which one it is."""

    NONE = 0

    LINEAR = auto()
    """Becomes a Linear step: its output channels have scales of their own."""

    REINDEXING = auto()
    """Local, linear, alike on all channels: works in any ring, on any scale. Moves, AvgPool,
    LinearMap."""

    MOVEMENT = auto()
    """Only moves, copies or drops elements, or puts zeros beside them."""

    SUM = auto()
    """Adds: its operands must agree in scale and ring, and its result has a scale of its own."""

    SHARED_RING = auto()
    """Operands and result are in one ring."""

    ANY_RING = auto()
    """Local and without constants: computes the same in every ring."""

    PRODUCT = auto()
    """Multiplies two values and rounds the result, whose scale follows from theirs."""

    RELU = auto()
    """Compares each element with a threshold and keeps it or not; its result can be
    written in any ring.
    """

    MIXING = auto()
    """Its weights mix channels, so that they can take a factor for each channel of the operand."""

    ELEMENTWISE = auto()
    """Acts on every pixel alike, with constants per channel at most (AddConst: if its are)."""

    AVERAGING = auto()
    """One operand, and every element of the result is a weighted mean of its elements (a pool: of
    those under the window): per channel, `f(s*x + t) = s*f(x) + t`.
    """

    WIDE_OPERANDS = auto()
    """Where its result is wanted in a wider ring, its operands are extended: a sum does not fit the
    narrow ring, and the result of Concat or Pad is larger than they are.
    """

    KEEPS_ZERO = auto()
    """Moves or compares elements, each channel as a whole: `f(x + t) = f(x) + t` for any t per
    channel (Concat: if its axis is the channels).
    """

    SPLINE = auto()
    """A smooth function of each element, which planning turns into a sum of shifted ReLUs; its
    operand and its result are in one class of scales, unless it is a power.
    """

    POWER = auto()
    """A power of each element, all of them positive: its scale follows from the operand's, and a
    fit of it errs alike, in proportion, whatever their size.
    """


PRICED_BY_TRAIT = (
    Trait.LINEAR | Trait.PRODUCT | Trait.RELU | Trait.SPLINE | Trait.SUM | Trait.ANY_RING
)
"""Of ops with one of these, the search for widths knows what their steps send: layers, products,
ReLUs and splines have terms of their own, the others send nothing. Any other op says its
`comparisons`.
"""


@dataclass(frozen=True, eq=False)
class Convolution:
    """A linear op as a convolution with stride 1: weight float64 `(M, C/groups, kh, kw)`, bias
    float64 `(M,)`; `pads` are (top, left, bottom, right).
    """

    weight: F64
    bias: F64
    groups: int = 1
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)

    @property
    def input_channels(self) -> I64:
        """The input channel that `weight[m, c]` reads, `(M, C/groups)`."""
        filters, depth = self.weight.shape[:2]
        group = np.arange(filters) // (filters // self.groups)
        return np.asarray(group[:, None] * depth + np.arange(depth)[None, :])

    def of_constants(self, means: F64) -> F64:
        """Result for constant input channels `(C,)`, without the bias and borders left
        aside: `(M,)`.
        """
        taps = self.weight.sum(axis=(2, 3))
        filters, depth = taps.shape
        grouped = taps.reshape(self.groups, -1, depth)
        sums = np.einsum("gmc,gc->gm", grouped, means.reshape(self.groups, depth))
        return np.asarray(sums.reshape(filters))


class Op:
    """One operator. Its class is its description: constants below, methods for its facets. A facet
    that an op lacks raises ContractViolation and names both; `tests/compiler/test_facets.py` lists
    those that an op must have and lacks.

    Shapes carry the batch (1) first; the float meaning holds for any batch size, so that a
    calibration set can run at once. Values are float32 or float64, whichever the feeds are;
    constants are cast to that.
    """

    operands: ClassVar[int | None] = 1
    """Number of operands; None: one or more."""

    attrs: ClassVar[tuple[str, ...]] = ()
    """Its attributes, exactly these."""

    consts: ClassVar[tuple[str, ...]] = ()
    """Its constants, exactly these: finite floating arrays."""

    traits: ClassVar[Trait] = Trait.NONE

    made_by: ClassVar[str | None] = None
    """The pass that makes it, where no importer does."""

    rewritten_by: ClassVar[str | None] = None
    """The pass that rewrites all of it; None: it is in normal form."""

    @property
    def name(self) -> str:
        """As `Node.op` says it."""
        return type(self).__name__

    # --- every op ------------------------------------------------------------------------------

    def infer(self, node: Node, shapes: Sequence[Shape]) -> Shape:
        """Shape rule: the result's shape from the operands'. ShapeError where they do not fit."""
        self._lacks("shape rule")

    def evaluate(self, node: Node, operands: Sequence[Array]) -> Array:
        """Float meaning, in the operands' dtype."""
        self._lacks("float meaning")

    def write(self, writer: OnnxWriter, node: Node) -> None:
        """ONNX writer (opset 17): passes are checked and ranges calibrated with it."""
        self._lacks("ONNX writer")

    # --- every op in normal form ---------------------------------------------------------------

    def scale_rule(self, scales: ScaleMap, node: Node) -> Field:
        """Scale rule: the scale field of the result. It may tie the operands' classes. BadModel
        where one channel would need several scales at once.
        """
        self._lacks("scale rule")

    def adjoint(
        self, node: Node, operands: Sequence[Array], result: Array, grad: Array
    ) -> Sequence[Array]:
        """Adjoint, for the error model: gradients of the operands from the result's `grad`."""
        self._lacks("adjoint")

    def enlarges(self, graph: Graph, node: Node) -> int:
        """Integers: the factor by which the result's may be larger than the operand's, of one that
        sums them up in their own ring.
        """
        return 1

    def convolution(self, node: Node) -> Convolution:
        """Layer: a LINEAR op as the convolution that its Linear step computes."""
        self._lacks("layer")

    def comparisons(self, node: Node, operand: Shape, result: Shape) -> int:
        """Price, for the search for widths: comparisons that its step makes, in its ring, each with
        a multiplexer behind it. Not for ops that are PRICED_BY_TRAIT.
        """
        self._lacks("price")

    def rounding_bias(self, node: Node, operand: Array, result: Array) -> Array:
        """Error model: by how much the mean of the result is above `result` where every element of
        `operand` is rounded by itself, up with the probability of its fraction. All in units, of
        the result's shape. Not for ops that are PRICED_BY_TRAIT: none of them compares elements.
        """
        self._lacks("rounding bias")

    # --- what the planner cannot take ----------------------------------------------------------

    def left_undone(self, node: Node) -> str | None:
        """How `node` is not in normal form, as the end of a message; None where it is."""
        if self.rewritten_by is None:
            return None
        return f"is left after the passes: add {self.rewritten_by} to the pipeline"

    def unplannable(self, node: Node, operand: Shape, result: Shape) -> str | None:
        """Why `node`, in normal form, has no fixed-point form; None where it has one."""
        return None

    def _lacks(self, facet: str) -> NoReturn:
        raise ContractViolation(f"op {self.name} has no {facet}")


REGISTRY: dict[str, Op] = {}
"""What `operator` has seen; `moiety.compiler.ir.ops.OPS` is all of it."""

OpClass = TypeVar("OpClass", bound=type[Op])


def operator(definition: OpClass) -> OpClass:
    """Register an op under its class's name."""
    op = definition()
    REGISTRY[op.name] = op
    return definition
