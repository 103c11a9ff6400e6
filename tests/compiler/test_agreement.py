"""Every import is compared with onnxruntime, node by node: what differs never becomes a Program."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from moiety.compiler.ir.graph import Graph
from moiety.compiler.ir.onnx_session import RunningModel
from moiety.compiler.onnx_import import agreement
from moiety.compiler.onnx_import.call import IMPORTERS, Call
from moiety.compiler.onnx_import.client.call import TRANSLATORS, ClientCall, Entry
from moiety.compiler.onnx_import.load import import_onnx
from moiety.compiler.onnx_import.public import Public
from moiety.protocols.errors import BadModel, ContractViolation
from tests.support.onnx_models import Build, ModelBuilder, build_model, typed

IMAGE: list[int | str] = ["N", 4, 9, 8]


@pytest.fixture(autouse=True)
def compared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ONNX values compared so far: an import that nobody compares agrees with anything."""
    found: list[str] = []

    def noting(method: str) -> Callable[..., Any]:
        real = getattr(agreement._Comparison, method)

        def settled(self: Any, value: str, *rest: Any) -> Any:
            result = real(self, value, *rest)
            found.append(value)
            return result

        return settled

    for method in ("_settled", "_settled_result"):
        monkeypatch.setattr(agreement._Comparison, method, noting(method))
    return found


def check_imported(model: onnx.ModelProto, compared: list[str]) -> Graph:
    """The import, of which every output was compared, at the least."""
    graph = import_onnx(model)
    assert {value.name for value in model.graph.output} <= set(compared)
    return graph


def network(b: ModelBuilder) -> str:
    return network_of(b, "x")


def network_of(b: ModelBuilder, image: str) -> str:
    first = b.op("Relu", b.batchnorm(b.conv(image, 4, 6, 3), 6))
    second = b.op("LeakyRelu", b.conv(first, 6, 6, 3, pads=[1, 1, 1, 1]), alpha=0.3)
    return b.op("GlobalAveragePool", b.op("Add", first, second))


def wrong(change: Callable[[Call, str], str], op_type: str) -> Callable[[Call], Sequence[str]]:
    """An importer that changes what the right one makes."""
    right = IMPORTERS[op_type]
    return lambda call: [change(call, value) for value in right(call)]


def scaled(call: Call, value: str) -> str:
    ones = np.ones(call.builder.shapes[value][1], np.float32)
    return call.emit("Scale", [value], scale=ones * np.float32(1.001), shift=ones * 0)


def flattened(call: Call, value: str) -> str:
    return call.reshape(value, (1, math.prod(call.builder.shapes[value])))


@pytest.mark.parametrize(
    ("op_type", "change", "message"),
    [
        ("Conv", scaled, r"Conv 'conv0'.*off by .*defect of the compiler"),
        ("LeakyRelu", scaled, r"LeakyRelu 'leakyrelu4'.*off by"),
        ("GlobalAveragePool", flattened, r"GlobalAveragePool .*its shape is \(1, 6\)"),
    ],
)
@pytest.mark.parametrize("at_once", [1, 1 << 24])
def test_the_first_node_that_differs_is_named(
    monkeypatch: pytest.MonkeyPatch,
    op_type: str,
    change: Callable[[Call, str], str],
    message: str,
    at_once: int,
) -> None:
    monkeypatch.setattr(agreement, "AT_ONCE", at_once)
    model = build_model(IMAGE, network)
    import_onnx(model)
    monkeypatch.setitem(IMPORTERS, op_type, wrong(change, op_type))
    with pytest.raises(ContractViolation, match=message):
        import_onnx(model)


@pytest.mark.parametrize("op_type", ["Sigmoid", "Tanh", "Softplus"])
def test_small_results_of_the_clients_are_not_off_by_rounding(
    op_type: str, compared: list[str]
) -> None:
    """onnxruntime's sigmoid is off by a few 1e-8, however small it is."""

    def unlikely(b: ModelBuilder) -> str:
        logits = b.op("GlobalAveragePool", b.conv("x", 4, 6, 3))
        return b.op(op_type, b.op("Sub", logits, b.constant(15, np.float32)))

    check_imported(build_model(IMAGE, unlikely), compared)


def head(b: ModelBuilder) -> list[str]:
    """What the client computes, with steps: a mask, levels, places."""
    y = b.op("Sigmoid", b.conv("x", 4, 6, 3))
    mask = b.op("Greater", y, b.constant(0.5, np.float32))
    levels = b.op("Floor", b.op("Mul", y, b.constant(255, np.float32)))
    return [mask, levels, b.op("ArgMax", b.op("Softmax", y, axis=1), axis=1)]


def altered(change: Callable[[ClientCall, Public], Public], op_type: str) -> Entry:
    """A translator that changes what the right one makes."""
    entry = TRANSLATORS[op_type]
    return replace(
        entry,
        translate=lambda call: [
            change(call, made) if isinstance(made, Public) else made
            for made in entry.translate(call)
        ],
    )


@pytest.mark.parametrize(
    ("op_type", "change", "message"),
    [
        ("Sigmoid", lambda call, x: call.binary("mul", x, 1.001), "Sigmoid 'sigmoid1'.*off by"),
        ("Greater", lambda call, x: call.unary("not", x), "Greater 'greater2'.*bool values"),
        ("Floor", lambda call, x: call.binary("add", x, 1.0), "Floor 'floor4'.*off by"),
        ("Softmax", lambda call, x: call.unary("log", call.unary("neg", x)), "Softmax.*NaN"),
        ("ArgMax", lambda call, x: call.binary("mul", x, 2), "ArgMax 'argmax6'.*int64 values"),
        ("ArgMax", lambda call, x: call.reshaped(x, (1, 42)), "ArgMax .*its shape is"),
    ],
)
def test_so_is_the_clients_part(
    monkeypatch: pytest.MonkeyPatch,
    op_type: str,
    change: Callable[[ClientCall, Public], Public],
    message: str,
) -> None:
    model = typed(build_model(IMAGE, head))
    import_onnx(model)
    monkeypatch.setitem(TRANSLATORS, op_type, altered(change, op_type))
    with pytest.raises(ContractViolation, match=message):
        import_onnx(model)


def test_what_rounding_moves_across_a_step_is_no_difference(compared: list[str]) -> None:
    """Probabilities of float16 are alike where the client's float64 ones are not; and float32 says
    that a sigmoid is 1 where it is not.
    """

    def build(b: ModelBuilder) -> list[str]:
        y = b.op("Cast", b.conv("x", 4, 40, 3), to=TensorProto.FLOAT16)
        best = b.op("ArgMax", b.op("Softmax", y, axis=1), axis=1)
        large = b.op("Mul", b.conv("x", 4, 40, 3), b.constant(9, np.float32))
        levels = b.op("Mul", b.op("Sigmoid", large), b.constant(255, np.float32))
        rows = b.multi_op(2, "TopK", y, b.ints(30), axis=1, sorted=0)
        return [best, b.op("Cast", levels, to=TensorProto.UINT8), *rows]

    check_imported(typed(build_model(IMAGE, build)), compared)


def test_a_client_s_value_may_be_a_revealed_one(compared: list[str]) -> None:
    def build(b: ModelBuilder) -> list[str]:
        y = b.op("ReduceLogSumExp", b.conv("x", 4, 6, 3), noop_with_empty_axes=1)
        return [y, b.op("Softmax", y)]

    graph = check_imported(build_model(IMAGE, build, opset=18), compared)
    assert [result.value for result in graph.expression.results] == [0, 1]


def cancelling(b: ModelBuilder) -> str:
    """A batch norm of a channel that hardly varies: float32 keeps few digits of what is left."""
    base = b.op("Add", "x", b.constant(3000, np.float32))
    statistics = [np.ones(4), np.zeros(4), np.full(4, 3000), np.full(4, 1e-8)]
    return b.op(
        "BatchNormalization",
        base,
        *(b.constant(each, np.float32) for each in statistics),
        epsilon=1e-12,
    )


def test_what_float32_cannot_say_is_no_difference(compared: list[str]) -> None:
    check_imported(build_model(IMAGE, cancelling), compared)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16])
def test_models_of_other_types(kind: int, compared: list[str]) -> None:
    """onnxruntime has no convolution of doubles, nor of bfloat16."""
    model = build_model(IMAGE, network)
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor).astype(helper.tensor_dtype_to_np_dtype(kind))
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        value.type.tensor_type.elem_type = kind
    assert check_imported(model, compared).outputs == (model.graph.output[0].name,)


def test_inputs_are_rounded_as_the_models_type_rounds_them(compared: list[str]) -> None:
    """A float16 input, cast to float32 at once: nothing else is of half precision."""
    model = build_model(IMAGE, lambda b: network_of(b, b.op("Cast", "x", to=TensorProto.FLOAT)))
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    assert check_imported(model, compared).outputs == (model.graph.output[0].name,)


def test_half_precision_may_overflow_where_the_graph_does_not(compared: list[str]) -> None:
    def build(b: ModelBuilder) -> str:
        large = b.op("Mul", b.op("Cast", "x", to=TensorProto.FLOAT16), b.constant(6e4, np.float16))
        return b.op("Cast", b.op("Relu", large), to=TensorProto.FLOAT)

    assert check_imported(build_model(IMAGE, build), compared).outputs


def test_infinite_results_name_their_node() -> None:
    def build(b: ModelBuilder) -> str:
        large = b.op("Mul", "x", b.constant(1e30, np.float32))
        return b.op("Relu", b.op("Mul", large, b.constant(1e30, np.float32)))

    with pytest.raises(BadModel, match=r"Mul 'mul1': gives NaN or infinity on a random input"):
        import_onnx(build_model(IMAGE, build))


def test_a_fixed_batch_is_compared_as_written(
    monkeypatch: pytest.MonkeyPatch, compared: list[str]
) -> None:
    def build(b: ModelBuilder) -> str:
        return b.gemm(b.op("Reshape", b.op("Relu", "x"), b.ints(8, 288)), 288, 3)

    model = build_model([8, 4, 9, 8], build)
    assert check_imported(model, compared).shapes["x"] == (1, 4, 9, 8)
    monkeypatch.setitem(IMPORTERS, "Gemm", wrong(scaled, "Gemm"))
    with pytest.raises(ContractViolation, match=r"Gemm .*off by"):
        import_onnx(model)


def test_weights_among_the_inputs_are_no_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models of IR 3 list their weights there; onnxruntime runs once for what it can hold."""
    runs: list[str] = []

    def running(model: onnx.ModelProto, name: str, *, as_written: bool) -> RunningModel:
        runs.append(" ".join(value.name for value in model.graph.output))
        return RunningModel(model, name, as_written=as_written)

    def build(b: ModelBuilder) -> str:
        return b.op("Relu", b.conv(b.op("Relu", "x"), 4, 100, 3))

    monkeypatch.setattr(agreement, "RunningModel", running)
    listed = build_model(IMAGE, build)
    for weights in listed.graph.initializer:
        value = helper.make_tensor_value_info(weights.name, weights.data_type, weights.dims)
        listed.graph.input.append(value)
    monkeypatch.setattr(agreement, "AT_ONCE", 100 * 9 * 8 * 3)
    import_onnx(listed)
    assert len(runs) == 1, runs


def shuffled(model: onnx.ModelProto) -> onnx.ModelProto:
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def test_unsorted_nodes_are_sorted(compared: list[str]) -> None:
    expected = check_imported(build_model(IMAGE, network), compared)
    found = check_imported(shuffled(build_model(IMAGE, network)), compared)
    assert sorted(node.name for node in found.nodes) == sorted(n.name for n in expected.nodes)


def test_a_branch_reads_what_a_later_node_makes(compared: list[str]) -> None:
    def build(b: ModelBuilder) -> str:
        doubled = b.op("Add", "x", "x")
        inner = helper.make_node("Relu", [doubled], ["inner"])
        value = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
        value.type.tensor_type.shape.SetInParent()
        branch = helper.make_graph([inner], "branch", [], [value])
        condition = b.constant(True)
        return b.op("Neg", b.op("If", condition, then_branch=branch, else_branch=branch))

    assert len(check_imported(shuffled(build_model(IMAGE, build)), compared).nodes) == 3


def test_a_cycle_is_named() -> None:
    def build(b: ModelBuilder) -> str:
        b.op("Add", "x", "v1")
        return b.op("Relu", "v0")

    with pytest.raises(BadModel, match=r"cycle, .*Relu 'relu1'.*Add 'add0'"):
        import_onnx(build_model(IMAGE, build))


def test_outputs_without_a_shape(compared: list[str]) -> None:
    model = build_model(IMAGE, network)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    assert check_imported(model, compared).outputs == (model.graph.output[0].name,)


@pytest.mark.parametrize(
    "attrs",
    [
        {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 1, 1, 1]},
        {"kernel_shape": [2, 2], "strides": [3, 3], "pads": [0, 0, 1, 1]},
        {"kernel_shape": [1, 1], "strides": [4, 3], "pads": [0, 0, 0, 0]},
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 2, 2]},
    ],
)
@pytest.mark.parametrize("size", range(4, 9))
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_windows_of_ceil_mode_in_the_padding(
    op: str, size: int, attrs: dict[str, int], compared: list[str]
) -> None:
    """A layer behind the pool, too: ONNX's own inference still has the window there."""
    build: Build = lambda b: b.op("Relu", b.op(op, "x", ceil_mode=1, **attrs))  # noqa: E731
    assert check_imported(build_model(["N", 2, size, size], build), compared).nodes


def test_a_part_of_a_split_without_a_name(compared: list[str]) -> None:
    """onnxruntime dies of it, so it gets one."""

    def build(b: ModelBuilder) -> str:
        _, second = b.multi_op(2, "Split", "x", b.ints(1, 3), axis=1)
        b.nodes[-1].output[0] = ""
        return second

    assert [node.op for node in check_imported(build_model(IMAGE, build), compared).nodes] == [
        "Slice"
    ]
