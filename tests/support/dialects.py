"""One network as other exporters write it: the same function of the same weights, in other ONNX
nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from moiety.compiler.ir.graph import Array

TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


class _Rewriter:
    """Walks a model's nodes and writes others; `constants` holds the initialisers of both."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.opset = model.opset_import[0].version
        self.nodes: list[onnx.NodeProto] = []
        self.constants = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer
        }

    def constant(self, array: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        name = f"dialect{len(self.constants)}"
        self.constants[name] = np.asarray(array, dtype)
        return name

    def emit(self, op: str, inputs: Sequence[str], output: str = "", **attrs: Any) -> str:
        output = output or f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(op, list(inputs), [output], name=f"dialect/{len(self.nodes)}", **attrs)
        )
        return output

    def affine(self, node: onnx.NodeProto) -> tuple[Array, Array]:
        """Scale and shift of a BatchNormalization."""
        gamma, beta, mean, variance = (
            self.constants[name].astype(np.float64) for name in node.input[1:]
        )
        scale = gamma / np.sqrt(variance + attributes(node).get("epsilon", 1e-5))
        return scale, beta - mean * scale

    def finish(
        self, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        used = {name for node in self.nodes for name in node.input}
        tensors = [
            numpy_helper.from_array(array, name)
            for name, array in self.constants.items()
            if name in used
        ]
        graph = helper.make_graph(self.nodes, self.model.graph.name, inputs, outputs, tensors)
        result = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", self.opset)],
            ir_version=self.model.ir_version,
        )
        onnx.checker.check_model(result, full_check=True)
        return result


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def affine_norms(model: onnx.ModelProto) -> onnx.ModelProto:
    """Every BatchNormalization as Mul and Add, the constants Unsqueezed to (C, 1, 1) by nodes of
    the graph (Caffe2).
    """
    w = _Rewriter(model)

    def unsqueezed(array: Array) -> str:
        if w.opset < 13:
            return w.emit("Unsqueeze", [w.constant(array)], axes=[1, 2])
        return w.emit("Unsqueeze", [w.constant(array), w.constant([1, 2], np.int64)])

    for node in model.graph.node:
        if node.op_type != "BatchNormalization":
            w.nodes.append(node)
            continue
        scale, shift = map(unsqueezed, w.affine(node))
        w.emit("Add", [w.emit("Mul", [node.input[0], scale]), shift], node.output[0])
    return w.finish(model.graph.input, model.graph.output)


_AROUND = ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "Resize", "GlobalMaxPool")


def channels_last(model: onnx.ModelProto) -> onnx.ModelProto:
    """(N, H, W, C) throughout, as TensorFlow's exporters write it.

    Transposes around every convolution and pool, padding of convolutions, their biases and batch
    norms as nodes of their own over the last axis, Concat along axis 3, means over axes 1 and 2.
    The input is (N, H, W, C); a segmentation's output is transposed back to (N, C, H, W).
    """
    w = _Rewriter(model)
    name = model.graph.input[0].name
    last = {name}  # the values that are (N, H, W, C)
    results = {output.name for output in model.graph.output}
    for node in model.graph.node:
        attrs, x = attributes(node), node.input[0]
        output = node.output[0]
        inner = (
            f"{output}_last"
            if output in results and x in last and node.op_type in _AROUND
            else output
        )
        if x in last and node.op_type in _AROUND:
            inputs = list(node.input)
            pads = attrs.get("pads", [0, 0, 0, 0])
            if node.op_type == "Conv" and any(pads):
                written = [0, pads[0], pads[1], 0, 0, pads[2], pads[3], 0]
                padded = [x, w.constant(written, np.int64)] if w.opset >= 11 else [x]
                given: dict[str, Any] = {} if w.opset >= 11 else {"pads": written}
                x = w.emit("Pad", padded, **given)
                attrs["pads"] = [0, 0, 0, 0]
            inputs[0] = w.emit("Transpose", [x], perm=TO_FIRST)
            bias = (
                inputs.pop()
                if node.op_type in ("Conv", "ConvTranspose") and len(inputs) > 2
                else None
            )
            y = w.emit(
                "Transpose",
                [w.emit(node.op_type, inputs, **attrs)],
                "" if bias else inner,
                perm=TO_LAST,
            )
            if bias:
                w.emit("Add", [y, bias], inner)
            last.add(inner)
            if inner != output:
                w.emit("Transpose", [inner], output, perm=TO_FIRST)
        elif x in last and node.op_type == "BatchNormalization":
            scale, shift = map(w.constant, w.affine(node))
            w.emit("Add", [w.emit("Mul", [x, scale]), shift], output)
            last.add(output)
        elif x in last and node.op_type in ("GlobalAveragePool", "ReduceMean"):
            keep = int(attrs.get("keepdims", 1))
            if w.opset < 18:
                w.emit("ReduceMean", [x], output, axes=[1, 2], keepdims=keep)
            else:
                w.emit("ReduceMean", [x, w.constant([1, 2], np.int64)], output, keepdims=keep)
            if keep:
                last.add(output)
        elif x in last and node.op_type in ("Flatten", "Reshape"):
            w.emit(
                node.op_type,
                [w.emit("Transpose", [x], perm=TO_FIRST), *node.input[1:]],
                output,
                **attrs,
            )
        else:
            w.emit(
                node.op_type,
                node.input,
                output,
                **({**attrs, "axis": 3} if node.op_type == "Concat" else attrs),
            )
            if x in last:
                last.add(output)
    sizes = model.graph.input[0].type.tensor_type.shape.dim
    image = [sizes[0].dim_param, *(sizes[axis].dim_value for axis in TO_LAST[1:])]
    return w.finish(
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, image)], model.graph.output
    )
