"""A Graph back to ONNX, so that onnxruntime can run any Graph, with
any of its values as outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from moiety.compiler.ir.graph import Array, Graph, Node
from moiety.compiler.ir.ops import channelwise
from moiety.protocols.errors import ContractViolation

OPSET = 17
IR_VERSION = 8


class _Writer:
    """Collects the ONNX nodes and float32 initialisers of one model."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[onnx.TensorProto] = []

    def constant(self, node: Node, role: str, array: Array) -> str:
        name = f"{node.output}::{role}"
        self.initialisers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def weight(self, node: Node, role: str, array: Array) -> str:
        return self.constant(node, role, array.astype(np.float32))

    def emit(
        self, op: str, node: Node, inputs: Sequence[str], output: str | None = None, **attrs: Any
    ) -> str:
        target = output or node.output
        self.nodes.append(helper.make_node(op, list(inputs), [target], name=target, **attrs))
        return target


def _conv(w: _Writer, node: Node) -> None:
    weight = node.consts["weight"]
    inputs = [
        node.inputs[0],
        w.weight(node, "weight", weight),
        w.weight(node, "bias", node.consts["bias"]),
    ]
    attrs = {
        "strides": node.attrs["strides"],
        "pads": node.attrs["pads"],
        "dilations": node.attrs["dilations"],
    }
    w.emit("Conv", node, inputs, kernel_shape=weight.shape[2:], group=node.attrs["groups"], **attrs)


def _convtranspose(w: _Writer, node: Node) -> None:
    weight = node.consts["weight"]
    inputs = [
        node.inputs[0],
        w.weight(node, "weight", weight),
        w.weight(node, "bias", node.consts["bias"]),
    ]
    attrs = {name: node.attrs[name] for name in ("strides", "pads", "dilations", "output_padding")}
    w.emit(
        "ConvTranspose",
        node,
        inputs,
        kernel_shape=weight.shape[2:],
        group=node.attrs["groups"],
        **attrs,
    )


def _upsample(w: _Writer, node: Node) -> None:
    scales = w.weight(node, "scales", np.array([1, 1, *node.attrs["factors"]]))
    how = {
        "mode": "nearest",
        "coordinate_transformation_mode": "asymmetric",
        "nearest_mode": "floor",
    }
    w.emit("Resize", node, [node.inputs[0], "", scales], **how)


def _gemm(w: _Writer, node: Node) -> None:
    operands = [w.weight(node, role, node.consts[role]) for role in ("weight", "bias")]
    w.emit("Gemm", node, [node.inputs[0], *operands], transB=1)


def _affine(w: _Writer, node: Node) -> None:
    rank = len(w.graph.shapes[node.inputs[0]])
    scale, shift = (
        w.weight(node, role, channelwise(node.consts[role], rank)) for role in ("scale", "shift")
    )
    last = node.output if node.op == "Scale" else f"{node.output}::affine"
    product = w.emit("Mul", node, [node.inputs[0], scale], f"{node.output}::product")
    w.emit("Add", node, [product, shift], last)
    if node.op == "AffineRelu":
        w.emit("Relu", node, [last])


def _addconst(w: _Writer, node: Node) -> None:
    w.emit("Add", node, [node.inputs[0], w.weight(node, "value", node.consts["value"])])


def _clip(w: _Writer, node: Node) -> None:
    bounds = [w.weight(node, role, np.asarray(node.attrs[role])) for role in ("min", "max")]
    w.emit("Clip", node, [node.inputs[0], *bounds])


def _pool(w: _Writer, node: Node) -> None:
    attrs = {
        "kernel_shape": node.attrs["kernel"],
        "strides": node.attrs["strides"],
        "pads": node.attrs["pads"],
    }
    if node.op == "AvgPool":
        w.emit(
            "AveragePool",
            node,
            node.inputs,
            count_include_pad=int(node.attrs["count_include_pad"]),
            **attrs,
        )
    else:
        w.emit("MaxPool", node, node.inputs, **attrs)


def _slice(w: _Writer, node: Node) -> None:
    axes = range(1, len(node.attrs["starts"]))  # not the batch
    bounds = [
        w.constant(node, role, np.array([node.attrs[role][axis] for axis in axes], np.int64))
        for role in ("starts", "stops")
    ]
    steps = w.constant(
        node, "steps", np.array([node.attrs["steps"][axis] for axis in axes], np.int64)
    )
    w.emit(
        "Slice",
        node,
        [node.inputs[0], *bounds, w.constant(node, "axes", np.array(axes, np.int64)), steps],
    )


def _reshape(w: _Writer, node: Node) -> None:
    shape = np.array(
        [0, *node.attrs["shape"][1:]], np.int64
    )  # 0: the batch stays what it is at run time
    w.emit("Reshape", node, [node.inputs[0], w.constant(node, "shape", shape)])


def _pad(w: _Writer, node: Node) -> None:
    before, after = zip(*node.attrs["pads"], strict=True)
    w.emit(
        "Pad",
        node,
        [node.inputs[0], w.constant(node, "pads", np.array([*before, *after], np.int64))],
    )


def _plain(op: str, *attrs: str) -> Callable[[_Writer, Node], None]:
    def write(w: _Writer, node: Node) -> None:
        w.emit(op, node, node.inputs, **{name: node.attrs[name] for name in attrs})

    return write


_WRITERS: dict[str, Callable[[_Writer, Node], None]] = {
    "Conv": _conv,
    "ConvTranspose": _convtranspose,
    "Gemm": _gemm,
    "Scale": _affine,
    "AffineRelu": _affine,
    "AddConst": _addconst,
    "Relu": _plain("Relu"),
    "Clip": _clip,
    "MaxPool": _pool,
    "AvgPool": _pool,
    "Concat": _plain("Concat", "axis"),
    "Slice": _slice,
    "Add": _plain("Add"),
    "Sub": _plain("Sub"),
    "Reshape": _reshape,
    "Transpose": _plain("Transpose", "perm"),
    "Pad": _pad,
    "Upsample": _upsample,
    "Sigmoid": _plain("Sigmoid"),
    "Softmax": _plain("Softmax", "axis"),
}


def to_onnx(
    graph: Graph, outputs: Sequence[str] | None = None, batch: int | None = None
) -> onnx.ModelProto:
    """The Graph as an ONNX model (opset 17, float32).

    `outputs`: names of the values to return, any of the Graph's (default: its outputs; an input may
    be among them). `batch`: the batch size to fix; by default it is free. Raises ContractViolation
    for a value that does not exist.
    """
    wanted = tuple(dict.fromkeys(graph.outputs if outputs is None else outputs))
    unknown = [value for value in wanted if value not in graph.shapes]
    if unknown:
        raise ContractViolation(f"no value {unknown[0]!r} in Graph {graph.name!r}")
    writer = _Writer(graph)
    for node in graph.nodes:
        _WRITERS[node.op](writer, node)
    size: int | str = "N" if batch is None else batch

    def info(name: str, value: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(
            name, TensorProto.FLOAT, [size, *graph.shapes[value][1:]]
        )

    results = []
    for value in wanted:
        name = value
        if value in graph.inputs:  # ONNX wants an output to be made by a node
            name = f"{value}::output"
            writer.nodes.append(helper.make_node("Identity", [value], [name]))
        results.append(info(name, value))
    inputs = [info(name, name) for name in graph.inputs]
    model_graph = helper.make_graph(
        writer.nodes, graph.name or "graph", inputs, results, writer.initialisers
    )
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(
        model_graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="moiety"
    )
