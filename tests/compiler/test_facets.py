"""Is every op complete? What is missing is named, facet by facet."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from moiety.compiler.compile import compile_graph
from moiety.compiler.ir.axis_map import AxisMap
from moiety.compiler.ir.graph import Array, Node, Shape
from moiety.compiler.ir.ops import ANY_RING, OPS, having
from moiety.compiler.ir.ops.base import PRICED_BY_TRAIT, REGISTRY, Op, Trait, operator
from moiety.compiler.ir.scales import propagate
from moiety.compiler.lowering.steps_of_ops import LOWERINGS
from moiety.compiler.onnx_import.supported import describe, supported_ops
from moiety.compiler.passes.base import PASSES
from moiety.protocols.errors import ContractViolation
from moiety.runtime.cost.traffic import step_costs
from moiety.runtime.program import Extend, Output, Truncate
from tests.support.graphs import GraphMaker

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "docs" / "architecture.md"
IMPORT = ROOT / "compiler" / "onnx_import"


def facets(op: Op) -> Iterator[tuple[str, str]]:
    """(method, name) of every facet that an op must have, by its traits."""
    yield from (("infer", "shape rule"), ("evaluate", "float meaning"), ("write", "ONNX writer"))
    if op.rewritten_by is None:
        yield "scale_rule", "scale rule"
        yield "adjoint", "adjoint"
        if not op.traits & PRICED_BY_TRAIT:
            yield "comparisons", "price (number of comparisons, for the search for widths)"
            yield "rounding_bias", "rounding bias (for the error model)"
    if Trait.LINEAR in op.traits:
        yield "convolution", "layer"


def lacking(op: Op) -> list[str]:
    """Everything that somebody who adds an op can forget."""
    kind = type(op)
    found = [name for method, name in facets(op) if getattr(kind, method) is getattr(Op, method)]
    if not kind.__dict__.get("__doc__"):
        found.append("docstring with its meaning")
    if op.rewritten_by is None and op.name not in LOWERINGS:
        found.append("lowering (under @lowers, compiler/lowering/steps_of_ops.py)")
    if op.rewritten_by is not None and op.rewritten_by not in PASSES:
        found.append(f"pass {op.rewritten_by!r}, which is to rewrite it")
    if op.made_by is not None and op.made_by not in PASSES:
        found.append(f"pass {op.made_by!r}, which is to make it")
    if op.made_by is None and op.name not in emitted():
        found.append("importer that emits it (compiler/onnx_import), or a pass that makes it")
    if op.name not in documented():
        found.append("line in the table of Graph operators (docs/architecture.md)")
    return found


def emitted() -> set[str]:
    """Strings that importers hand to a call, the ops among them; what they are registered for does
    not count.
    """
    found: set[str] = set()
    for path in IMPORT.glob("*.py"):
        for function in ast.walk(ast.parse(path.read_text(), str(path))):
            if isinstance(function, ast.FunctionDef):
                calls = [node for part in function.body for node in ast.walk(part)]
                found |= {
                    argument.value
                    for call in calls
                    if isinstance(call, ast.Call)
                    for argument in call.args
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
                }
    return found


def documented() -> set[str]:
    """The first column of the document's tables."""
    cells = re.findall(r"^\| ([A-Z]\w*(?:, [A-Z]\w*)*) \|", TABLE.read_text(), re.M)
    return {name for cell in cells for name in cell.split(", ")}


def test_every_op_has_all_its_facets() -> None:
    missing = {op.name: lacking(op) for op in OPS.values()}
    report = [f"op {name} lacks: {', '.join(what)}" for name, what in missing.items() if what]
    assert not report, "\n".join(report)


def test_the_documented_ops_are_those_that_there_are() -> None:
    """No op stands there that is gone."""
    sections = re.split(r"^## ", TABLE.read_text(), flags=re.M)
    (operators,) = [part for part in sections if part.startswith("Graph operators")]
    names = re.findall(r"^\| ([A-Z]\w*(?:, [A-Z]\w*)*) \|", operators, re.M)
    assert {name for cell in names for name in cell.split(", ")} == set(OPS)


@pytest.fixture
def registry() -> Iterator[None]:
    """Ops that a test adds are gone after it."""
    before = dict(REGISTRY)
    yield
    REGISTRY.clear()
    REGISTRY.update(before)


@pytest.mark.usefixtures("registry")
def test_what_a_new_op_lacks_is_named() -> None:
    """An op with a shape rule and a meaning alone, as somebody begins it."""

    @operator
    class Swish(Op):
        traits = Trait.LINEAR
        made_by = "make-swish"

        def infer(self, node: Node, shapes: Sequence[Shape]) -> Shape:
            return shapes[0]

        def evaluate(self, node: Node, operands: Sequence[Array]) -> Array:
            return operands[0]

    assert lacking(OPS["Swish"]) == [
        "ONNX writer",
        "scale rule",
        "adjoint",
        "layer",
        "docstring with its meaning",
        "lowering (under @lowers, compiler/lowering/steps_of_ops.py)",
        "pass 'make-swish', which is to make it",
        "line in the table of Graph operators (docs/architecture.md)",
    ]
    with pytest.raises(AssertionError, match="op Swish lacks: ONNX writer, scale rule, adjoint"):
        test_every_op_has_all_its_facets()
    maker = GraphMaker(2, 4, 4)
    maker.add("Swish", "x")
    with pytest.raises(ContractViolation, match="op Swish has no scale rule"):
        propagate(maker.graph())


@pytest.mark.usefixtures("registry")
def test_an_op_that_a_pass_rewrites_needs_less() -> None:
    @operator
    class Flip(Op):
        """The image upside down."""

        rewritten_by = "expand-flip"

    assert [name for _, name in facets(OPS["Flip"])] == [
        "shape rule",
        "float meaning",
        "ONNX writer",
    ]
    assert "pass 'expand-flip', which is to rewrite it" in lacking(OPS["Flip"])
    assert any("importer that emits it" in what for what in lacking(OPS["Flip"]))
    message = OPS["Flip"].left_undone(Node("Flip", "f", ("x",), "y"))
    assert message == "is left after the passes: add expand-flip to the pipeline"


def test_traits_agree() -> None:
    """What works in any ring, and what adds, has operands and result in one ring."""
    for op in OPS.values():
        if Trait.REINDEXING in op.traits or Trait.SUM in op.traits:
            assert Trait.SHARED_RING in op.traits, op.name

    assert having(Trait.WIDE_OPERANDS) <= ANY_RING


def every_op() -> GraphMaker:
    """A graph with every op in normal form."""
    maker = GraphMaker(2, 6, 6)
    x = maker.add("Mul", maker.add("Relu", maker.conv("x", 2)), maker.conv("x", 1))
    x = maker.conv(maker.affine_relu(maker.conv(x, 2)), 2)
    y = maker.add("Activation", maker.conv("x", 2), formula=("x", "tanh"))
    z = maker.add("MeanProduct", y, y)
    z = maker.add("Scale", z, consts={"scale": np.ones(2), "shift": np.ones(2)})
    x = maker.add("Mul", x, maker.add("Power", z, exponent=-0.5))
    x = maker.add("Add", maker.add("Sub", maker.conv(x, 2), maker.conv(y, 2)), maker.conv("x", 2))
    x = maker.add("AddConst", x, consts={"value": np.arange(36.0).reshape(1, 1, 6, 6) / 36})
    x = maker.concat(maker.pool("MaxPool", x, 3, 1, 1), maker.pool("AvgPool", x, 3, 1, 1))
    x = maker.add("Slice", x, starts=(0, 1, 0, 0), stops=(1, 4, 6, 6), steps=(1, 1, 1, 1))
    x = maker.add("Pad", x, pads=((0, 0), (0, 0), (1, 0), (0, 0)))
    x = maker.add("Transpose", x, perm=(0, 1, 3, 2))
    x = maker.add("LinearMap", x, axis=2, map=AxisMap.of(np.tri(6)))
    x = maker.add("Scale", x, consts={"scale": np.ones(3), "shift": np.ones(3)})
    maker.gemm(maker.flatten(x), 3)
    return maker


def test_the_traits_say_truly_which_ops_talk() -> None:
    """What is not priced, for it is local, has steps that send nothing. Extensions
    and truncations are those of layers, and priced with them.
    """
    maker = every_op()
    op_of = {node.name: node.op for node in maker.nodes}
    normal = {op.name for op in OPS.values() if op.rewritten_by is None}
    assert normal == {*op_of.values()}, "an op that every_op lacks, or that is not in normal form"
    program = compile_graph(maker.graph(), maker.images()).program
    talking = {
        op_of[step.name]
        for step, cost in zip(program.steps, step_costs(program), strict=True)
        if cost.flights and not isinstance(step, Extend | Truncate | Output)
    }
    silent = Trait.SUM | Trait.ANY_RING
    assert talking == {name for name in normal if not OPS[name].traits & silent}


def test_every_importer_says_what_it_supports() -> None:
    assert not [op_type for op_type in supported_ops() if not describe(op_type)]
