"""Layers with weights: Conv, ConvTranspose, Gemm. Each has a bias (zeros when ONNX has none)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moiety.compiler.ir.graph import Array, Node, Shape
from moiety.compiler.ir.onnx_writer import OnnxWriter
from moiety.compiler.ir.ops.base import Convolution, Op, Trait, operator, require
from moiety.compiler.ir.ops.windows import check_window, padded, taps, window_shape
from moiety.compiler.ir.scale_fields import Field, ScaleMap


def _check_bias(node: Node, filters: int) -> None:
    found = node.consts["bias"].shape
    require(found == (filters,), f"bias must be ({filters},), is {found}")


def _weights(node: Node, like: Array) -> tuple[Array, Array]:
    """Weight and bias in the dtype of `like`."""
    weight, bias = (node.consts[name].astype(like.dtype, copy=False) for name in ("weight", "bias"))
    return weight, bias


def _written_weights(writer: OnnxWriter, node: Node) -> list[str]:
    """The operand's name and the names of weight and bias as ONNX constants."""
    consts = [writer.weight(node, role, node.consts[role]) for role in ("weight", "bias")]
    return [node.inputs[0], *consts]


@operator
class Conv(Op):
    """2-D cross-correlation. Attributes strides, pads, dilations, groups; weight
    `(M, C/groups, kh, kw)`, bias `(M,)`. In normal form its strides are 1.
    """

    attrs = ("strides", "pads", "dilations", "groups")
    consts = ("weight", "bias")
    traits = Trait.LINEAR | Trait.MIXING

    def infer(self, node: Node, shapes: Sequence[Shape]) -> Shape:
        (shape,), weight, groups = shapes, node.consts["weight"].shape, node.attrs["groups"]
        check_window(node, shape)
        require(len(weight) == 4, f"weight must be (M, C/groups, kh, kw), is {weight}")
        require(
            weight[1] * groups == shape[1] and weight[0] % groups == 0,
            f"weight {weight} with {groups} groups does not fit {shape}",
        )
        _check_bias(node, weight[0])
        spatial = window_shape(node, shape, weight[2:], node.attrs["dilations"])
        return (shape[0], weight[0], *spatial)

    def evaluate(self, node: Node, operands: Sequence[Array]) -> Array:
        x = padded(operands[0], node.attrs["pads"], 0.0)
        weight, bias = _weights(node, x)
        (kh, kw), (sh, sw) = weight.shape[2:], node.attrs["strides"]
        (dh, dw), groups = node.attrs["dilations"], node.attrs["groups"]
        views = [view for row in taps(x, 2, kh, sh, dh) for view in taps(row, 3, kw, sw, dw)]
        depthwise = weight.shape[1] == 1 and groups > 1
        products = (_depthwise if depthwise else _grouped)(weight, views, groups)
        return np.asarray(products + bias[:, None, None])

    def write(self, writer: OnnxWriter, node: Node) -> None:
        writer.emit(
            "Conv",
            node,
            _written_weights(writer, node),
            kernel_shape=node.consts["weight"].shape[2:],
            group=node.attrs["groups"],
            **{name: node.attrs[name] for name in ("strides", "pads", "dilations")},
        )

    def scale_rule(self, scales: ScaleMap, node: Node) -> Field:
        """Weights take any scale per channel of the operand, and give any to the result."""
        scales.per_channel(node, node.inputs[0])
        return scales.begin(node.output, len(node.consts["bias"]))

    def adjoint(
        self, node: Node, operands: Sequence[Array], result: Array, grad: Array
    ) -> Sequence[Array]:
        """The convolution with flipped weights, of the gradient padded by what the kernel reaches
        beyond the pads. Strides are 1 (normal form).
        """
        weight, groups = node.consts["weight"], node.attrs["groups"]
        filters, depth, kh, kw = weight.shape
        grouped = weight.reshape(groups, filters // groups, depth, kh, kw)
        turned = grouped.transpose(0, 2, 1, 3, 4)[..., ::-1, ::-1]
        flipped = np.ascontiguousarray(turned.reshape(groups * depth, filters // groups, kh, kw))
        dh, dw = node.attrs["dilations"]
        reach = ((kh - 1) * dh, (kw - 1) * dw) * 2
        pads = [most - pad for most, pad in zip(reach, node.attrs["pads"], strict=True)]
        consts = {"weight": flipped, "bias": np.zeros(groups * depth, weight.dtype)}
        attrs = {**node.attrs, "pads": tuple(max(0, pad) for pad in pads)}
        full = self.evaluate(node.with_(attrs=attrs, consts=consts), [grad])
        top, left, bottom, right = (max(0, -pad) for pad in pads)
        return [full[:, :, top : full.shape[2] - bottom, left : full.shape[3] - right]]

    def convolution(self, node: Node) -> Convolution:
        top, left, bottom, right = node.attrs["pads"]
        rows, columns = node.attrs["dilations"]
        return Convolution(
            node.consts["weight"].astype(np.float64),
            node.consts["bias"].astype(np.float64),
            int(node.attrs["groups"]),
            (top, left, bottom, right),
            (rows, columns),
        )

    def left_undone(self, node: Node) -> str | None:
        if set(node.attrs["strides"]) == {1}:
            return None
        return f"still has strides {node.attrs['strides']}: add strided-conv to the pipeline"


def _depthwise(weight: Array, views: list[Array], groups: int) -> Array:
    """One input channel per group: a GEMM of one-row matrices would be all overhead."""
    filters = weight.shape[0]
    batch, _, rows, columns = views[0].shape
    factors = weight.reshape(groups, filters // groups, len(views))
    total = np.zeros((batch, groups, filters // groups, rows, columns), weight.dtype)
    for tap, view in enumerate(views):
        total += view[:, :, None] * factors[None, :, :, tap, None, None]
    return total.reshape(batch, filters, rows, columns)


PATCHES = 1 << 20
"""Elements of patches unrolled at a time: they stay in the cache, their memory is used again."""


def _grouped(weight: Array, views: list[Array], groups: int) -> Array:
    """A GEMM per group of the weights and the unrolled patches (im2col), some rows at a time."""
    filters, depth = weight.shape[:2]
    batch, _, rows, columns = views[0].shape
    taps_first = weight.reshape(groups, filters // groups, depth, len(views)).transpose(0, 1, 3, 2)
    matrix = taps_first.reshape(groups, filters // groups, len(views) * depth)
    output = np.empty((batch, groups, filters // groups, rows, columns), weight.dtype)
    at_once = max(1, PATCHES // (groups * len(views) * depth * columns))
    for start in range(0, rows, at_once):
        part = slice(start, start + at_once)
        height = min(at_once, rows - start)
        patches = np.empty((groups, len(views), depth, height, columns), weight.dtype)
        for image in range(batch):
            for tap, view in enumerate(views):
                patches[:, tap] = view[image, :, part].reshape(groups, depth, height, columns)
            unrolled = patches.reshape(groups, len(views) * depth, height * columns)
            products = matrix @ unrolled
            output[image, :, :, part] = products.reshape(groups, -1, height, columns)
    return output.reshape(batch, filters, rows, columns)


@operator
class ConvTranspose(Op):
    """`y[s*j + d*k] += w[k] * x[j]`, then the pads are cut off. Attributes strides, pads,
    dilations, output_padding, groups; weight `(C, M/groups, kh, kw)`, bias `(M,)`. Rewritten to a
    stride-1 Conv with a filter per output phase, and depth to space.
    """

    attrs = ("strides", "pads", "dilations", "output_padding", "groups")
    consts = ("weight", "bias")
    rewritten_by = "transposed-conv"

    def infer(self, node: Node, shapes: Sequence[Shape]) -> Shape:
        (shape,), weight, attrs = shapes, node.consts["weight"].shape, node.attrs
        check_window(node, shape)
        require(len(weight) == 4, f"weight must be (C, M/groups, kh, kw), is {weight}")
        require(
            weight[0] == shape[1] and weight[0] % attrs["groups"] == 0,
            f"weight {weight} with {attrs['groups']} groups does not fit {shape}",
        )
        filters, pads = weight[1] * attrs["groups"], attrs["pads"]
        _check_bias(node, filters)
        require(min(attrs["output_padding"]) >= 0, "output_padding must not be negative")
        full = _uncut_size(node, shape)
        spatial = tuple(full[i] - pads[i] - pads[i + 2] for i in range(2))
        require(min(spatial) > 0, f"pads {tuple(pads)} leave nothing of the result")
        return (shape[0], filters, *spatial)

    def evaluate(self, node: Node, operands: Sequence[Array]) -> Array:
        (x,), groups = operands, node.attrs["groups"]
        weight, bias = _weights(node, x)
        (sh, sw), (dh, dw) = node.attrs["strides"], node.attrs["dilations"]
        batch, channels, height, width = x.shape
        rows, columns = _uncut_size(node, x.shape)
        grouped = weight.reshape(groups, channels // groups, *weight.shape[1:])
        pixels = x.reshape(batch, groups, channels // groups, height * width)
        full = np.zeros((batch, groups * weight.shape[1], rows, columns), x.dtype)
        for ky in range(weight.shape[2]):
            for kx in range(weight.shape[3]):
                product = grouped[..., ky, kx].transpose(0, 2, 1) @ pixels
                y = slice(ky * dh, ky * dh + (height - 1) * sh + 1, sh)
                z = slice(kx * dw, kx * dw + (width - 1) * sw + 1, sw)
                full[:, :, y, z] += product.reshape(batch, -1, height, width)
        top, left, bottom, right = node.attrs["pads"]
        cut = full[:, :, top : rows - bottom, left : columns - right]
        return np.asarray(cut + bias[:, None, None])

    def write(self, writer: OnnxWriter, node: Node) -> None:
        names = ("strides", "pads", "dilations", "output_padding")
        writer.emit(
            "ConvTranspose",
            node,
            _written_weights(writer, node),
            kernel_shape=node.consts["weight"].shape[2:],
            group=node.attrs["groups"],
            **{name: node.attrs[name] for name in names},
        )


def _uncut_size(node: Node, shape: Shape) -> tuple[int, int]:
    """Height and width of a ConvTranspose's result before `pads` are cut off."""
    kernel, attrs = node.consts["weight"].shape[2:], node.attrs
    height, width = (
        (shape[2 + i] - 1) * attrs["strides"][i]
        + (kernel[i] - 1) * attrs["dilations"][i]
        + 1
        + attrs["output_padding"][i]
        for i in range(2)
    )
    return height, width


@operator
class Gemm(Op):
    """A fully connected layer, `(1, K) -> (1, M)`; weight `(M, K)`, bias `(M,)`."""

    consts = ("weight", "bias")
    traits = Trait.LINEAR | Trait.MIXING

    def infer(self, node: Node, shapes: Sequence[Shape]) -> Shape:
        (shape,), weight = shapes, node.consts["weight"].shape
        require(
            len(shape) == 2 and len(weight) == 2 and weight[1] == shape[1],
            f"weight {weight} does not fit {shape}",
        )
        _check_bias(node, weight[0])
        return shape[0], weight[0]

    def evaluate(self, node: Node, operands: Sequence[Array]) -> Array:
        weight, bias = _weights(node, operands[0])
        return np.asarray(operands[0] @ weight.T + bias)

    def write(self, writer: OnnxWriter, node: Node) -> None:
        writer.emit("Gemm", node, _written_weights(writer, node), transB=1)

    def scale_rule(self, scales: ScaleMap, node: Node) -> Field:
        """As Conv; every element of the operand is a channel."""
        return scales.begin(node.output, len(node.consts["bias"]))

    def adjoint(
        self, node: Node, operands: Sequence[Array], result: Array, grad: Array
    ) -> Sequence[Array]:
        return [grad @ node.consts["weight"].astype(grad.dtype)]

    def convolution(self, node: Node) -> Convolution:
        weight = node.consts["weight"].astype(np.float64)
        return Convolution(weight[:, :, None, None], node.consts["bias"].astype(np.float64))
