"""What a model's values take of memory, from their shapes: checked before they are computed, for a
file of a kilobyte can ask for a constant, or a feature map, of any size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from moiety.compiler.ir.graph import Array, Graph
from moiety.compiler.onnx_import.agreement import AT_ONCE
from moiety.protocols.errors import BadModel
from moiety.runtime.program.bounds import check_memory

ELEMENT = 8
"""Bytes, of the widest type."""
CONSTANT = 3
"""Copies of a constant: onnxruntime's, its result, and what the Graph is given."""
VALUE = 4
"""Copies of a value while the import is compared with onnxruntime."""
PUBLIC = 8
"""The same, of what the client computes; its values are all kept."""
OURS = 4
"""Bytes of an element of the values that the comparison keeps for later nodes."""
TABLE = 64
"""Bytes of an entry of a table that becomes an AxisMap: masks, weights, and Python's floats."""
WEIGHT = 8
"""Bytes of a weight that an importer makes."""
SAYS_A_SHAPE = 1 << 10
"""Elements of an operand that may say how large a result is."""


def check_graph(graph: Graph, batch: int) -> None:
    """Raises `BadModel` that names the first value at which the comparison with onnxruntime, which
    takes `batch` copies of an image, would hold too much.
    """
    sizes = {name: math.prod(shape) for name, shape in graph.shapes.items()}
    last = {value: node.output for node in graph.nodes for value in node.inputs}
    last |= dict.fromkeys(graph.outputs, "")
    batch = max(1, batch)
    live = sum(sizes[name] for name in graph.inputs)
    handed_over = OURS * min(AT_ONCE, batch * sum(sizes.values()))
    for node in graph.nodes:
        made = sizes[node.output]
        live += made
        nbytes = OURS * live + max(ELEMENT * batch * live, ELEMENT * VALUE * made) + handed_over
        shape = graph.shapes[node.output]
        what = f"value {node.output!r} of the model, of shape {shape}, and those kept for later"
        check_memory(what, nbytes, BadModel)
        live -= sum(sizes[value] for value in {*node.inputs} if last[value] == node.output)
    forms = graph.expression.forms([graph.shapes[value][1:] for value in graph.outputs])
    shown = [form.size for form in forms]
    nbytes = OURS * live + ELEMENT * (sum(shown) + PUBLIC * max(shown)) + handed_over
    check_memory("what the client computes of the model", nbytes, BadModel)


def check_constant(
    node: onnx.NodeProto, opset: int, operands: Mapping[str, Array], held: int
) -> None:
    """Raises `BadModel` where the node, whose operands are all known, makes more than is allowed
    beside the bytes that others hold; as far as ONNX's inference can tell.
    """
    if node.op_type == "Range":
        sizes = [_length_of_range([operands[name] for name in node.input if name in operands])]
    else:
        sizes = [_elements(value) for value in _inferred(node, opset, operands)]
    for size in sizes:
        what = f"{node.op_type} {node.name!r}: its constant of {size} elements"
        check_memory(what, held + size * ELEMENT * CONSTANT, BadModel)


def _length_of_range(operands: Sequence[Array]) -> int:
    """Of `start, limit, delta`; 0 where they are none, as onnxruntime will say."""
    if len(operands) != 3 or any(array.size != 1 for array in operands):
        return 0
    start, limit, delta = (array.item() for array in operands)
    count = (limit - start) / delta if delta else 0.0
    return math.ceil(max(0.0, min(count, 1e18))) if math.isfinite(count) else 0


def _inferred(
    node: onnx.NodeProto, opset: int, operands: Mapping[str, Array]
) -> list[onnx.ValueInfoProto]:
    """The outputs as ONNX's inference has them; none where it fails, as onnxruntime will."""
    inputs, initialisers = [], []
    for name, array in operands.items():
        if array.size <= SAYS_A_SHAPE and array.dtype.kind != "V":
            initialisers.append(numpy_helper.from_array(np.asarray(array), name))
        elif array.dtype.kind == "V":
            inputs.append(helper.make_tensor_value_info(name, TensorProto.BFLOAT16, array.shape))
        else:
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            inputs.append(helper.make_tensor_value_info(name, kind, array.shape))
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
    graph = helper.make_graph([node], "constant", inputs, outputs, initialisers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    try:
        return list(shape_inference.infer_shapes(model).graph.output)
    except Exception:  # ONNX's exceptions share no base; onnxruntime says it better
        return []


def _elements(value: onnx.ValueInfoProto) -> int:
    """As far as its dimensions are known."""
    sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim if dim.dim_value > 0]
    return math.prod(sizes) if sizes else 0
