"""Which ONNX operators are supported, found by running ONNX's own backend node tests;
writes `docs/onnx-support.md`.

    python -m benchmarks.onnx_support [--check] [-o FILE]

Every node test of a supported operator with a floating operand is imported with that, the first, as
the secret input and the others as constants (operands of one shape are all secret where the
operator joins tensors), then

* its Graph is run by the float executor and must give the expected outputs;
* it is compiled, calibrated on the test's own input, and run by the cleartext executor on integers:
  the results must lie within `FIXED_POINT_ERROR` of the largest.

A test is either passed or refused with the importer's reason; anything else ends the program with
an error. `--check` writes nothing and fails when the file is not up to date.
"""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.backend.test.case.node as node_cases
from onnx import TensorProto, helper, numpy_helper

from benchmarks.support import command_line
from benchmarks.support.documents import paragraph
from benchmarks.support.harness import ROOT
from moiety.compiler.compile import CompileOptions, compile_graph
from moiety.compiler.ir.evaluate import results as graph_results
from moiety.compiler.ir.graph import Graph
from moiety.compiler.onnx_import.batch_axis import with_batch_axis
from moiety.compiler.onnx_import.load import NEWEST_OPSET, OLDEST_OPSET, import_onnx
from moiety.compiler.onnx_import.supported import describe, supported_ops
from moiety.compiler.passes.manager import optimise
from moiety.compiler.planning.options import PlanOptions
from moiety.protocols.errors import BadInput, BadModel, BadPlan
from moiety.runtime.program.cleartext import CleartextExecutor

Array = npt.NDArray[Any]

OUTPUT = ROOT / "docs" / "onnx-support.md"
OPTIONS = PlanOptions(activation_bits=20, weight_bits=16, rounding="stochastic")
FIXED_POINT_ERROR = 1e-3
"""Largest error of the fixed-point result, relative to the largest magnitude of
the expected one.
"""

SENSELESS = {
    "training|epsilon_training": "trains the model",
    "default_mask|with_argmax": "asks for a mask or for indices, which nobody may see",
    "empty_set|zero_size|out_of_bounds|allowzero_reordered": "has tensors without elements",
    "spacetodepth_.*_mode": "is no valid ONNX",
    "min_greater_than_max": "has a constant result",
    "^dequantizelinear": "has integers and a secret scale, which no network has",
}
"""Tests that make no sense for a secret operand, by a pattern of their names, and why."""

FIRST = (
    *("Abs", "Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Conv"),
    *("ConvTranspose", "DepthToSpace", "Div", "Dropout", "Expand", "Flatten", "Gather"),
    *("Gemm", "GlobalAveragePool", "GlobalMaxPool", "HardSigmoid", "Identity", "LeakyRelu"),
    *("MatMul", "MaxPool", "Mul", "Neg", "PRelu", "Pad", "ReduceMean", "Relu", "Reshape"),
    *("Resize", "Sigmoid", "Slice", "Softmax", "SpaceToDepth", "Split", "Squeeze", "Sub"),
    *("Sum", "Tile", "Transpose", "Unsqueeze", "Upsample"),
)
"""The operators that this table began with, whose tests are counted apart."""

_ALIGNED = "the reference does not align its corners, as onnxruntime and PyTorch do"
DISPUTED = {
    "resize_downsample_scales_cubic_align_corners": _ALIGNED,
    "resize_downsample_scales_linear_align_corners": _ALIGNED,
}
"""Tests whose expected result neither onnxruntime nor PyTorch gives: the importer follows those."""

_JOINING = ("Add", "Sub", "Sum", "Max", "Min", "Concat")
_WIDEST = 1 << 16
"""Elements of a test's secret input beyond which only the float executor runs."""


@dataclass(frozen=True)
class Result:
    """One node test. `refusal` and `fixed_refusal` are reasons, None where it passed;
    errors are relative.
    """

    op: str
    test: str
    refusal: str | None
    error: float = 0.0
    fixed_refusal: str | None = None
    fixed_error: float = 0.0


@dataclass(frozen=True)
class _Case:
    """A node test with one secret input `secret`; `model` has every other operand as a constant."""

    model: onnx.ModelProto
    secret: Array
    expected: tuple[Array, ...]


def node_tests(ops: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """(operator, test case) of every one-node test of `ops`, sorted."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        cases = node_cases.collect_testcases(None)
    wanted = set(ops)
    found = {}
    for case in cases:
        if case.model is not None and len(case.model.graph.node) == 1 and _floating(case):
            (node,) = case.model.graph.node
            if node.op_type in wanted and node.domain in ("", "ai.onnx"):
                found[case.name] = (node.op_type, case)
    return iter(sorted(found.values(), key=lambda item: (item[0], item[1].name)))


def _floating(case: Any) -> list[int]:
    """The positions of the floating operands: one of them can be secret."""
    given = case.data_sets[0][0]
    if not all(isinstance(operand, np.ndarray | np.generic) for operand in given):
        return []  # optionals and sequences
    return [
        index
        for index, operand in enumerate(given)
        if operand.dtype in (np.float32, np.float64, np.float16)
    ]


def run(op: str, case: Any) -> Result:
    """Import, float executor, fixed point. AssertionError when a test is neither
    passed nor refused.
    """
    name = case.name.removeprefix("test_")
    if name in DISPUTED:
        return Result(op, name, DISPUTED[name])
    try:
        given, graph = _imported(case)
    except (BadModel, BadInput) as error:
        return Result(op, name, _reason(str(error)))
    values = graph_results(graph, {graph.inputs[0]: given.secret})
    error_found = _difference(list(values.values()), given.expected)
    if not error_found <= 1e-3:
        raise AssertionError(f"{case.name}: the Graph is off by {error_found:.3g}")
    fixed_refusal, fixed_error = _fixed_point(graph, given)
    if not fixed_error <= FIXED_POINT_ERROR:
        raise AssertionError(f"{case.name}: fixed point is off by {fixed_error:.3g}")
    return Result(op, name, None, error_found, fixed_refusal, fixed_error)


def _imported(case: Any) -> tuple[_Case, Graph]:
    """The first axis taken for the batch; where that is refused, results do not have it, and of
    vectors, for data.
    """
    refusal = None
    if np.ndim(case.data_sets[0][0][_floating(case)[0]]) > 1:
        try:
            given = _secret_case(case, batched=True)
            graph = import_onnx(given.model)
            if all(each.shape[:1] == given.secret.shape[:1] for each in given.expected):
                return given, graph
        except (BadModel, BadInput) as error:
            refusal = error
    try:
        given = _secret_case(case, batched=False)
        return given, import_onnx(given.model)
    except (BadModel, BadInput) as error:
        raise refusal or error from None


def _secret_case(case: Any, batched: bool) -> _Case:
    (inputs, outputs), *_ = case.data_sets
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    (node,) = model.graph.node
    names = [value.name for value in model.graph.input]
    arrays = [np.asarray(array) for array in inputs]
    chosen = _floating(case)[0]
    joined = [array.shape for array in arrays] == [arrays[chosen].shape] * len(arrays) and len(
        arrays
    ) > 1
    if node.op_type in _JOINING and joined and arrays[chosen].ndim:
        place = 1 if batched else 0
        secret = np.stack(arrays, axis=place).astype(np.float32)
        picks = []
        for index, name in enumerate(names):
            model.graph.initializer.append(
                numpy_helper.from_array(np.array(index), f"{name}::index")
            )
            picks.append(
                helper.make_node("Gather", ["secret", f"{name}::index"], [name], axis=place)
            )
        nodes = [*picks, node]
        source = helper.make_tensor_value_info("secret", TensorProto.FLOAT, secret.shape)
    else:
        secret = arrays[chosen]
        nodes, source = [node], model.graph.input[chosen]
        for index, name in enumerate(names):
            if index != chosen:
                model.graph.initializer.append(numpy_helper.from_array(arrays[index], name))
    copies = [onnx.NodeProto.FromString(each.SerializeToString()) for each in nodes]
    graph = helper.make_graph(
        copies, "node test", [source], model.graph.output, model.graph.initializer
    )
    imports = [entry for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    imports[0].version = min(imports[0].version, NEWEST_OPSET)
    wrapped = helper.make_model(graph, opset_imports=imports, ir_version=min(model.ir_version, 10))
    expected = tuple(np.asarray(array) for array in outputs)
    if batched:
        return _Case(wrapped, secret, expected)
    return _Case(with_batch_axis(wrapped), secret[None], tuple(each[None] for each in expected))


def _difference(values: Sequence[Array], expected: Sequence[Array]) -> float:
    if len(expected) != len(values):
        return float("inf")
    worst = 0.0
    for found, array in zip(values, expected, strict=True):
        if found.shape != array.shape:
            return float("inf")
        size = max(float(np.abs(array).max(initial=0.0)), 1e-6)
        worst = max(worst, float(np.abs(found - array.astype(np.float64)).max(initial=0.0)) / size)
    return worst


def _fixed_point(graph: Graph, given: _Case) -> tuple[str | None, float]:
    """(why it cannot be, None when it can; the error)"""
    if given.secret.size > _WIDEST:
        return "input too large for this table", 0.0
    images = np.asarray(given.secret, np.float32)
    try:
        compiled = compile_graph(optimise(graph), images, CompileOptions(OPTIONS))
    except (BadModel, BadPlan, BadInput) as error:
        return _reason(str(error)), 0.0
    executor = CleartextExecutor(compiled.program, compiled.weights, np.random.default_rng(0))
    results = [executor.run(image) for image in images]
    values = [np.stack([result[name] for result in results]) for name in results[0]]
    return None, _difference(values, given.expected)


def _reason(message: str) -> str:
    """A refusal without the names of one test's nodes and tensors."""
    message = re.sub(r"^pass .*? on '.*?': ", "", message)
    message = re.sub(r" \(passes already run:.*\)$", "", message)
    message = re.sub(r"^\w+ '[^']*': ", "", message)
    return message.split("; ")[0].replace("|", "/").strip()


def senseless(test: str) -> str | None:
    """Why a test that is refused makes no sense for a secret operand; None where it does."""
    found = [why for pattern, why in SENSELESS.items() if re.search(pattern, test)]
    return found[0] if found else None


def onnx_version() -> str:
    """As the document names it; another version brings other node tests."""
    return f"onnx=={onnx.__version__}"


def table(results: Sequence[Result]) -> str:
    """The document."""
    ran = {op: [result for result in results if result.op == op] for op in supported_ops()}
    passed = sum(result.refusal is None for result in results)
    fixed = sum(result.refusal is None and result.fixed_refusal is None for result in results)
    first = [result for result in results if result.op in FIRST]
    passed_first = sum(result.refusal is None for result in first)
    lines = [
        "# ONNX operators",
        "",
        *paragraph(
            "Written by `python -m benchmarks.onnx_support`; a test holds it up to date. The "
            f"importer takes opsets {OLDEST_OPSET} to {NEWEST_OPSET}. Nodes whose operands are all "
            "constants are folded, whatever their operator; the table is about operands that are "
            "computed from the image. The first axis is the batch of one image and stays first; a "
            "model whose first axis is data is rewritten with a batch axis in front "
            "(`with_batch_axis`)."
        ),
        *paragraph(
            "ONNX's own backend node tests of these operators on floating tensors "
            f"({onnx_version()}): {len(results)}. In the float executor {passed} give the expected "
            f"output; {fixed} also compiled to fixed point, with {OPTIONS.activation_bits}-bit "
            f"activations and {OPTIONS.weight_bits}-bit weights, within {FIXED_POINT_ERROR:g} of "
            f"the largest result. Of the {len(first)} tests of the {len(FIRST)} operators that "
            f"this table began with, {passed_first} pass. The others are refused with the reason "
            "given below; none gives a wrong result. These tests know no batch: where the first "
            "axis cannot be one, the test is rewritten as above."
        ),
        "| operator | what is supported | since opset | node tests | fixed point |",
        "|---|---|---|---|---|",
    ]
    for op, group in ran.items():
        good = [result for result in group if result.refusal is None]
        compiled = [result for result in good if result.fixed_refusal is None]
        tests = f"{len(good)} of {len(group)}" if group else "none"
        since = onnx.defs.get_schema(op, NEWEST_OPSET if op != "Upsample" else 9).since_version
        lines.append(
            f"| {op} | {describe(op)} | {since} | {tests} | "
            f"{f'{len(compiled)} of {len(good)}' if good else '-'} |"
        )
    refused = [result for result in results if result.refusal is not None]
    lines += ["", "## Refused", "", "| node test | why |", "|---|---|"]
    lines += [f"| {r.op}: {r.test} | {r.refusal} |" for r in refused if not senseless(r.test)]
    lines += ["", "## Without sense for a secret operand", "", "| node test | why |", "|---|---|"]
    lines += [f"| {r.op}: {r.test} | {why} |" for r in refused if (why := senseless(r.test))]
    lines += [
        "",
        "## Passed in floating point, refused in fixed point",
        "",
        "| node test | why |",
        "|---|---|",
    ]
    lines += [
        f"| {r.op}: {r.test} | {r.fixed_refusal} |"
        for r in results
        if r.refusal is None and r.fixed_refusal
    ]
    return "\n".join([*lines, ""])


def parser() -> argparse.ArgumentParser:
    p = command_line.parser("onnx_support", __doc__)
    p.add_argument(
        "-o", "--output", type=Path, default=OUTPUT, help="the Markdown file (default: in docs/)"
    )
    p.add_argument(
        "--check", action="store_true", help="write nothing; fail when the file is not up to date"
    )
    return p


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser().parse_args(arguments)
    text = table([run(op, case) for op, case in node_tests(supported_ops())])
    if options.check:
        current = options.output.read_text(encoding="utf-8") if options.output.exists() else ""
        if current != text:
            sys.exit(f"{options.output} is not up to date: run this without --check")
        return
    options.output.write_text(text, encoding="utf-8")
    print(f"wrote {options.output}")


if __name__ == "__main__":
    command_line.run(main)
