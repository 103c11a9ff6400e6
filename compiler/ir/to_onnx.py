"""A Graph back to ONNX, so that onnxruntime can run any Graph, with any of its values as outputs.

How each op is written is in its class (`ops`).
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper

from moiety.compiler.ir.graph import Graph
from moiety.compiler.ir.onnx_writer import OnnxWriter
from moiety.compiler.ir.ops import OPS
from moiety.protocols.errors import ContractViolation

OPSET = 17
IR_VERSION = 8


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
    writer = OnnxWriter(graph)
    for node in graph.nodes:
        OPS[node.op].write(writer, node)
    size: int | str = "N" if batch is None else batch

    def info(name: str, value: str) -> onnx.ValueInfoProto:
        shape = [size, *graph.shapes[value][1:]]
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

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
