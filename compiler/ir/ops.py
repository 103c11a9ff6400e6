"""The operators of the Graph: for each its attributes, constants, shape inference and float
meaning, in one table (`OPS`).

The list is closed: a pass may enumerate it. Shapes carry the batch (1) first; the float meaning
holds for any batch size, so that a calibration set can run at once. Values are float32 or float64,
whichever the feeds are; constants are cast to that.

`pads` of Conv, ConvTranspose and the pools are (top, left, bottom, right). Shape errors raise
`ContractViolation` with the node's name; the importer turns them into `BadModel`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moiety.compiler.ir.graph import Array, Graph, Node, Shape
from moiety.protocols.errors import ContractViolation

Infer = Callable[[Node, Sequence[Shape]], Shape]
Evaluate = Callable[[Node, Sequence[Array]], Array]


@dataclass(frozen=True)
class OpDef:
    """One operator: number of operands (None: one or more), the exact attributes and
    constants, shape rule, meaning.
    """

    name: str
    arity: int | None
    attrs: tuple[str, ...]
    consts: tuple[str, ...]
    infer: Infer
    evaluate: Evaluate


class ShapeError(ValueError):
    """An operator's operands do not fit it; `infer_shapes` adds the node's name."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ShapeError(message)


# ------------------------------------------------------------------------------------------ windows


def window_output(
    size: int, kernel: int, stride: int, before: int, after: int, dilation: int = 1
) -> int:
    """Number of window positions along one axis (floor mode): `(size +
    pads - extent) // stride + 1`.
    """
    return (size + before + after - (kernel - 1) * dilation - 1) // stride + 1


def _window_shape(
    shape: Shape,
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
) -> Shape:
    height = window_output(shape[2], kernel[0], strides[0], pads[0], pads[2], dilations[0])
    width = window_output(shape[3], kernel[1], strides[1], pads[1], pads[3], dilations[1])
    _require(
        height > 0 and width > 0,
        f"kernel {tuple(kernel)} is larger than the padded input {shape[2:]} with pads {tuple(pads)}",
    )
    return height, width


def _check_window(node: Node, shape: Shape) -> None:
    _require(len(shape) == 4, f"needs an (N, C, H, W) operand, has {shape}")
    _require(
        min(node.attrs["strides"]) >= 1 and min(node.attrs["pads"]) >= 0,
        "strides must be positive and pads not negative",
    )


def _padded(x: Array, pads: Sequence[int], value: float) -> Array:
    top, left, bottom, right = pads
    if not any(pads):
        return x
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value)


def _taps(x: Array, axis: int, kernel: int, stride: int, dilation: int = 1) -> Iterable[Array]:
    """The `kernel` strided views of x whose element-wise combination is a 1-D
    window operation along `axis`.
    """
    count = window_output(x.shape[axis], kernel, stride, 0, 0, dilation)
    for tap in range(kernel):
        index = [slice(None)] * x.ndim
        index[axis] = slice(tap * dilation, tap * dilation + (count - 1) * stride + 1, stride)
        yield x[tuple(index)]


def _window_reduce(
    x: Array, kernel: Sequence[int], strides: Sequence[int], combine: Callable[..., Array]
) -> Array:
    """Rows, then columns: every window operation of the list is separable."""
    for axis, size, stride in ((2, kernel[0], strides[0]), (3, kernel[1], strides[1])):
        if size == 1 and stride == 1:
            continue
        taps = iter(_taps(x, axis, size, stride))
        result = next(taps).copy()
        for tap in taps:
            combine(result, tap, out=result)
        x = result
    return x


# ------------------------------------------------------------------------------------ linear layers


def _infer_conv(node: Node, shapes: Sequence[Shape]) -> Shape:
    (shape,), weight, groups = shapes, node.consts["weight"].shape, node.attrs["groups"]
    _check_window(node, shape)
    _require(len(weight) == 4, f"weight must be (M, C/groups, kh, kw), is {weight}")
    _require(
        weight[1] * groups == shape[1] and weight[0] % groups == 0,
        f"weight {weight} with {groups} groups does not fit {shape}",
    )
    _require(
        node.consts["bias"].shape == weight[:1],
        f"bias must be ({weight[0]},), is {node.consts['bias'].shape}",
    )
    spatial = _window_shape(
        shape, weight[2:], node.attrs["strides"], node.attrs["pads"], node.attrs["dilations"]
    )
    return (shape[0], weight[0], *spatial)


def _run_conv(node: Node, args: Sequence[Array]) -> Array:
    x = _padded(args[0], node.attrs["pads"], 0.0)
    weight = node.consts["weight"].astype(x.dtype, copy=False)
    filters, depth, kh, kw = weight.shape
    (sh, sw), (dh, dw), groups = (
        node.attrs["strides"],
        node.attrs["dilations"],
        node.attrs["groups"],
    )
    batch, _, height, width = x.shape
    rows, columns = window_output(height, kh, sh, 0, 0, dh), window_output(width, kw, sw, 0, 0, dw)
    bias = node.consts["bias"].astype(x.dtype, copy=False)[:, None, None]
    views = [view for row in _taps(x, 2, kh, sh, dh) for view in _taps(row, 3, kw, sw, dw)]
    if depth == 1 and groups > 1:  # depthwise: a GEMM of one-row matrices would be all overhead
        taps = weight.reshape(groups, filters // groups, kh * kw)
        total = np.zeros((batch, groups, filters // groups, rows, columns), x.dtype)
        for tap, view in enumerate(views):
            total += view[:, :, None] * taps[None, :, :, tap, None, None]
        return np.asarray(total.reshape(batch, filters, rows, columns) + bias)
    taps_first = weight.reshape(groups, filters // groups, depth, kh * kw).transpose(0, 1, 3, 2)
    matrix = taps_first.reshape(groups, filters // groups, kh * kw * depth)
    output = np.empty((batch, filters, rows, columns), x.dtype)
    for image in range(
        batch
    ):  # one image at a time keeps the unrolled patches in cache-sized memory
        patches = np.stack(
            [view[image].reshape(groups, depth, rows * columns) for view in views], axis=1
        )
        product = matrix @ patches.reshape(groups, kh * kw * depth, rows * columns)
        output[image] = product.reshape(filters, rows, columns)
    return np.asarray(output + bias)


def _infer_convtranspose(node: Node, shapes: Sequence[Shape]) -> Shape:
    (shape,), weight, attrs = shapes, node.consts["weight"].shape, node.attrs
    _check_window(node, shape)
    _require(len(weight) == 4, f"weight must be (C, M/groups, kh, kw), is {weight}")
    _require(
        weight[0] == shape[1] and weight[0] % attrs["groups"] == 0,
        f"weight {weight} with {attrs['groups']} groups does not fit {shape}",
    )
    filters = weight[1] * attrs["groups"]
    _require(
        node.consts["bias"].shape == (filters,),
        f"bias must be ({filters},), is {node.consts['bias'].shape}",
    )
    pads, extra = attrs["pads"], attrs["output_padding"]
    _require(min(extra) >= 0, "output_padding must not be negative")
    full = _transposed_full(node, shape)
    spatial = tuple(full[i] - pads[i] - pads[i + 2] for i in range(2))
    _require(min(spatial) > 0, f"pads {tuple(pads)} leave nothing of the result")
    return (shape[0], filters, *spatial)


def _transposed_full(node: Node, shape: Shape) -> tuple[int, int]:
    """Height and width of a ConvTranspose's result before `pads` are cut off."""
    kernel, attrs = node.consts["weight"].shape[2:], node.attrs
    sizes = [
        (shape[2 + i] - 1) * attrs["strides"][i]
        + (kernel[i] - 1) * attrs["dilations"][i]
        + 1
        + attrs["output_padding"][i]
        for i in range(2)
    ]
    return sizes[0], sizes[1]


def _run_convtranspose(node: Node, args: Sequence[Array]) -> Array:
    """`y[s*j + d*k] += w[k] * x[j]`, then the pads are cut off."""
    x = args[0]
    weight, groups = node.consts["weight"].astype(x.dtype, copy=False), node.attrs["groups"]
    (sh, sw), (dh, dw), pads = node.attrs["strides"], node.attrs["dilations"], node.attrs["pads"]
    batch, channels, height, width = x.shape
    rows, columns = _transposed_full(node, x.shape)
    grouped = weight.reshape(groups, channels // groups, *weight.shape[1:])
    pixels = x.reshape(batch, groups, channels // groups, height * width)
    full = np.zeros((batch, groups * weight.shape[1], rows, columns), x.dtype)
    for ky in range(weight.shape[2]):
        for kx in range(weight.shape[3]):
            product = grouped[..., ky, kx].transpose(0, 2, 1) @ pixels
            y, z = ky * dh, kx * dw
            target = full[
                :, :, y : y + (height - 1) * sh + 1 : sh, z : z + (width - 1) * sw + 1 : sw
            ]
            target += product.reshape(batch, -1, height, width)
    cut = full[:, :, pads[0] : rows - pads[2], pads[1] : columns - pads[3]]
    return np.asarray(cut + node.consts["bias"].astype(x.dtype, copy=False)[:, None, None])


def _infer_gemm(node: Node, shapes: Sequence[Shape]) -> Shape:
    (shape,), weight = shapes, node.consts["weight"].shape
    _require(
        len(shape) == 2 and len(weight) == 2 and weight[1] == shape[1],
        f"weight {weight} does not fit {shape}",
    )
    _require(
        node.consts["bias"].shape == weight[:1],
        f"bias must be ({weight[0]},), is {node.consts['bias'].shape}",
    )
    return shape[0], weight[0]


def _run_gemm(node: Node, args: Sequence[Array]) -> Array:
    x = args[0]
    return np.asarray(
        x @ node.consts["weight"].astype(x.dtype, copy=False).T
        + node.consts["bias"].astype(x.dtype, copy=False)
    )


# ------------------------------------------------------------------------------------- element-wise


def _same(node: Node, shapes: Sequence[Shape]) -> Shape:
    _require(
        all(shape == shapes[0] for shape in shapes),
        f"operands must have one shape, have {list(shapes)}",
    )
    return shapes[0]


def _infer_scale(node: Node, shapes: Sequence[Shape]) -> Shape:
    (shape,) = shapes
    _require(len(shape) >= 2, f"needs a channel axis, operand has shape {shape}")
    for name in ("scale", "shift"):
        _require(
            node.consts[name].shape == (shape[1],),
            f"{name} must be ({shape[1]},), is {node.consts[name].shape}",
        )
    return shape


def channelwise(vector: Array, rank: int) -> Array:
    """A `(C,)` vector shaped to broadcast along axis 1 of a tensor of `rank` dimensions."""
    return vector.reshape((1, -1) + (1,) * (rank - 2))


def _run_scale(node: Node, args: Sequence[Array]) -> Array:
    x = args[0]
    scale, shift = (
        channelwise(node.consts[name].astype(x.dtype, copy=False), x.ndim)
        for name in ("scale", "shift")
    )
    return np.asarray(x * scale + shift)


def _infer_addconst(node: Node, shapes: Sequence[Shape]) -> Shape:
    (shape,), value = shapes, node.consts["value"].shape
    fits = len(value) == len(shape) and all(v in (1, s) for v, s in zip(value, shape, strict=True))
    _require(fits, f"value must have the operand's rank and broadcast to {shape}, is {value}")
    return shape


def _infer_softmax(node: Node, shapes: Sequence[Shape]) -> Shape:
    _require(
        1 <= node.attrs["axis"] < len(shapes[0]),
        f"axis {node.attrs['axis']} is not a non-batch axis of {shapes[0]}",
    )
    return shapes[0]


def _run_softmax(node: Node, args: Sequence[Array]) -> Array:
    axis = node.attrs["axis"]
    exponential = np.exp(args[0] - args[0].max(axis=axis, keepdims=True))
    return np.asarray(exponential / exponential.sum(axis=axis, keepdims=True))


def _run_sigmoid(node: Node, args: Sequence[Array]) -> Array:
    return np.asarray(
        0.5 * (np.tanh(0.5 * args[0]) + 1.0)
    )  # no overflow for large negative arguments


# ------------------------------------------------------------------------------------------ pooling


def _infer_pool(node: Node, shapes: Sequence[Shape]) -> Shape:
    (shape,) = shapes
    _check_window(node, shape)
    kernel, pads = node.attrs["kernel"], node.attrs["pads"]
    _require(
        max(pads[0], pads[2]) < kernel[0] and max(pads[1], pads[3]) < kernel[1],
        "pads must be smaller than the kernel",
    )
    return (*shape[:2], *_window_shape(shape, kernel, node.attrs["strides"], pads, (1, 1)))


def _run_maxpool(node: Node, args: Sequence[Array]) -> Array:
    x = _padded(args[0], node.attrs["pads"], -np.inf)
    return _window_reduce(x, node.attrs["kernel"], node.attrs["strides"], np.maximum)


def _run_avgpool(node: Node, args: Sequence[Array]) -> Array:
    kernel, strides, pads = node.attrs["kernel"], node.attrs["strides"], node.attrs["pads"]
    total = _window_reduce(_padded(args[0], pads, 0.0), kernel, strides, np.add)
    if node.attrs["count_include_pad"] or not any(pads):
        return np.asarray(total / total.dtype.type(kernel[0] * kernel[1]))
    ones = np.ones((1, 1, *args[0].shape[2:]), total.dtype)
    return np.asarray(total / _window_reduce(_padded(ones, pads, 0.0), kernel, strides, np.add))


# --------------------------------------------------------------------------------------- reindexing


def _infer_concat(node: Node, shapes: Sequence[Shape]) -> Shape:
    axis = node.attrs["axis"]
    _require(1 <= axis < len(shapes[0]), f"axis {axis} is not a non-batch axis of {shapes[0]}")
    rest = {(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}
    _require(len(rest) == 1, f"operands {list(shapes)} differ outside axis {axis}")
    return (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])


def _slices(node: Node) -> tuple[slice, ...]:
    starts, stops, steps = (node.attrs[name] for name in ("starts", "stops", "steps"))
    # The batch is never cut, whatever its size at run time.
    return (
        slice(None),
        *(slice(*bounds) for bounds in list(zip(starts, stops, steps, strict=True))[1:]),
    )


def _infer_slice(node: Node, shapes: Sequence[Shape]) -> Shape:
    (shape,) = shapes
    starts, stops, steps = (node.attrs[name] for name in ("starts", "stops", "steps"))
    _require(
        len(starts) == len(stops) == len(steps) == len(shape),
        f"needs one start, stop and step per axis of {shape}",
    )
    resolved = all(
        0 <= a < b <= size and s >= 1
        for a, b, s, size in zip(starts, stops, steps, shape, strict=True)
    )
    _require(resolved, f"[{starts}:{stops}:{steps}] is empty or outside {shape}")
    _require((starts[0], stops[0]) == (0, shape[0]), "the batch axis cannot be cut")
    return tuple(len(range(a, b, s)) for a, b, s in zip(starts, stops, steps, strict=True))


def _infer_reshape(node: Node, shapes: Sequence[Shape]) -> Shape:
    shape = tuple(node.attrs["shape"])
    _require(
        math.prod(shape) == math.prod(shapes[0]), f"{shapes[0]} has not as many elements as {shape}"
    )
    _require(
        shape[:1] == shapes[0][:1],
        f"reshaping {shapes[0]} to {shape} does not keep the batch axis first",
    )
    return shape


def _infer_transpose(node: Node, shapes: Sequence[Shape]) -> Shape:
    perm = tuple(node.attrs["perm"])
    _require(
        sorted(perm) == list(range(len(shapes[0]))),
        f"perm {perm} is not a permutation of the axes of {shapes[0]}",
    )
    _require(perm[0] == 0, f"perm {perm} moves the batch axis")
    return tuple(shapes[0][axis] for axis in perm)


def _infer_pad(node: Node, shapes: Sequence[Shape]) -> Shape:
    (shape,), pads = shapes, node.attrs["pads"]
    _require(len(pads) == len(shape), f"needs one (before, after) per axis of {shape}")
    _require(
        all(min(pair) >= 0 for pair in pads) and tuple(pads[0]) == (0, 0),
        f"pads {pads} are negative or pad the batch axis",
    )
    return tuple(size + before + after for size, (before, after) in zip(shape, pads, strict=True))


def _infer_upsample(node: Node, shapes: Sequence[Shape]) -> Shape:
    (shape,), factors = shapes, node.attrs["factors"]
    _require(len(shape) == 4, f"needs an (N, C, H, W) operand, has {shape}")
    _require(len(factors) == 2 and min(factors) >= 1, f"needs two positive factors, has {factors}")
    return (*shape[:2], shape[2] * factors[0], shape[3] * factors[1])


def _run_upsample(node: Node, args: Sequence[Array]) -> Array:
    return np.repeat(
        np.repeat(args[0], node.attrs["factors"][0], axis=2), node.attrs["factors"][1], axis=3
    )


# ---------------------------------------------------------------------------------------- the table

_WINDOW = ("kernel", "strides", "pads")
_AFFINE = ("scale", "shift")

OPS: Mapping[str, OpDef] = {
    definition.name: definition
    for definition in (
        OpDef(
            "Conv",
            1,
            ("strides", "pads", "dilations", "groups"),
            ("weight", "bias"),
            _infer_conv,
            _run_conv,
        ),
        OpDef(
            "ConvTranspose",
            1,
            ("strides", "pads", "dilations", "output_padding", "groups"),
            ("weight", "bias"),
            _infer_convtranspose,
            _run_convtranspose,
        ),
        OpDef("Gemm", 1, (), ("weight", "bias"), _infer_gemm, _run_gemm),
        OpDef("Scale", 1, (), _AFFINE, _infer_scale, _run_scale),
        OpDef(
            "AddConst",
            1,
            (),
            ("value",),
            _infer_addconst,
            lambda node, a: a[0] + node.consts["value"].astype(a[0].dtype),
        ),
        OpDef("Relu", 1, (), (), _same, lambda node, a: np.maximum(a[0], 0)),
        OpDef(
            "AffineRelu",
            1,
            (),
            _AFFINE,
            _infer_scale,
            lambda node, a: np.maximum(_run_scale(node, a), 0),
        ),
        OpDef(
            "Clip",
            1,
            ("min", "max"),
            (),
            _same,
            lambda node, a: np.clip(a[0], node.attrs["min"], node.attrs["max"]),
        ),
        OpDef("MaxPool", 1, _WINDOW, (), _infer_pool, _run_maxpool),
        OpDef("AvgPool", 1, (*_WINDOW, "count_include_pad"), (), _infer_pool, _run_avgpool),
        OpDef(
            "Concat",
            None,
            ("axis",),
            (),
            _infer_concat,
            lambda node, a: np.concatenate(a, axis=node.attrs["axis"]),
        ),
        OpDef(
            "Slice",
            1,
            ("starts", "stops", "steps"),
            (),
            _infer_slice,
            lambda node, a: a[0][_slices(node)],
        ),
        OpDef("Add", 2, (), (), _same, lambda node, a: a[0] + a[1]),
        OpDef("Sub", 2, (), (), _same, lambda node, a: a[0] - a[1]),
        OpDef(
            "Reshape",
            1,
            ("shape",),
            (),
            _infer_reshape,
            lambda node, a: a[0].reshape(-1, *node.attrs["shape"][1:]),
        ),
        OpDef(
            "Transpose",
            1,
            ("perm",),
            (),
            _infer_transpose,
            lambda node, a: a[0].transpose(node.attrs["perm"]),
        ),
        OpDef(
            "Pad", 1, ("pads",), (), _infer_pad, lambda node, a: np.pad(a[0], node.attrs["pads"])
        ),
        OpDef("Upsample", 1, ("factors",), (), _infer_upsample, _run_upsample),
        OpDef("Sigmoid", 1, (), (), _same, _run_sigmoid),
        OpDef("Softmax", 1, ("axis",), (), _infer_softmax, _run_softmax),
    )
}


def infer_shape(node: Node, shapes: Sequence[Shape]) -> Shape:
    """Shape of the value `node` makes from operands of `shapes`; raises
    ContractViolation naming the node.
    """
    definition = OPS.get(node.op)
    if definition is None:
        raise ContractViolation(f"{node.name!r}: {node.op!r} is no operator of the Graph")
    try:
        _require(
            len(node.inputs) == definition.arity
            if definition.arity is not None
            else bool(node.inputs),
            "wrong number of operands",
        )
        return tuple(int(size) for size in definition.infer(node, shapes))
    except ShapeError as error:
        raise ContractViolation(f"{node.op} {node.name!r}: {error}") from None


def infer_shapes(nodes: Iterable[Node], input_shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """Shapes of every value, inputs included; `nodes` are in topological order.
    ContractViolation names a bad node.
    """
    shapes: dict[str, Shape] = dict(input_shapes)
    for node in nodes:
        missing = [value for value in node.inputs if value not in shapes]
        if missing:
            raise ContractViolation(
                f"{node.op} {node.name!r} reads {missing[0]!r}, which nothing before it makes"
            )
        shapes[node.output] = infer_shape(node, [shapes[value] for value in node.inputs])
    return shapes


def run_graph(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Float meaning of a Graph: every value by name, inputs included.

    `feeds` are `(N, ...)` float32 or float64 arrays of any batch size N;
    everything is computed in their dtype.
    """
    values: dict[str, Array] = {}
    for name in graph.inputs:
        if name not in feeds or feeds[name].shape[1:] != graph.shapes[name][1:]:
            found = feeds[name].shape if name in feeds else "nothing"
            raise ContractViolation(
                f"input {name!r} needs shape (N, {', '.join(map(str, graph.shapes[name][1:]))}), got {found}"
            )
        values[name] = feeds[name]
    for node in graph.nodes:
        values[node.output] = np.asarray(
            OPS[node.op].evaluate(node, [values[value] for value in node.inputs])
        )
    return values
