"""Importers of convolutions, fully connected layers, batch normalisation, activations and pools."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import wraps

import numpy as np
import onnx

from moiety.compiler.ir.graph import Array
from moiety.compiler.onnx_import.arithmetic import fit, negated, scaled, shifted
from moiety.compiler.onnx_import.builder import Call, Importer, importer


def _two(call: Call, name: str, default: int = 1) -> tuple[int, int]:
    values = call.ints(name) or (default, default)
    if len(values) != 2:
        call.fail(f"{name}={values}", "only images and signals are supported")
    return values[0], values[1]


def _image_shape(call: Call) -> tuple[int, int]:
    shape = call.shape()
    if len(shape) != 4:
        call.fail(
            f"operand has shape {shape}",
            "only images (N, C, H, W) and signals (N, C, L) are supported",
        )
    return shape[2], shape[3]


def _window_pads(
    call: Call, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
    """(top, left, bottom, right) as given or as auto_pad says, and the (bottom,
    right) that ceil_mode adds to them.
    """
    mode = call.attrs.get("auto_pad", b"NOTSET").decode()
    sizes = _image_shape(call)
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    if mode in ("NOTSET", ""):
        pads = call.ints("pads") or (0, 0, 0, 0)
        if len(pads) != 4 or min(pads) < 0:
            call.fail(f"pads={pads}", "four pads, none negative, are supported")
    elif mode == "VALID":
        pads = (0, 0, 0, 0)
    elif mode in ("SAME_UPPER", "SAME_LOWER"):
        totals = [
            max(0, (math.ceil(size / stride) - 1) * stride + extent - size)
            for size, stride, extent in zip(sizes, strides, extents, strict=True)
        ]
        small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
        pads = (*small, *large) if mode == "SAME_UPPER" else (*large, *small)
    else:
        call.fail(f"auto_pad={mode!r} is unknown")
    extra = [0, 0]
    if call.attrs.get("ceil_mode", 0):
        for axis in range(2):
            padded = sizes[axis] + pads[axis] + pads[axis + 2]
            count = math.ceil((padded - extents[axis]) / strides[axis]) + 1
            if (count - 1) * strides[axis] >= sizes[axis] + pads[
                axis
            ]:  # a window that starts in the right padding is dropped
                count -= 1
            extra[axis] = max(0, (count - 1) * strides[axis] + extents[axis] - padded)
    return (pads[0], pads[1], pads[2], pads[3]), (extra[0], extra[1])


def _planar(function: Importer) -> Importer:
    """A layer of 1-D signals (N, C, L) is one of images (N, C, L, 1)."""

    @wraps(function)
    def with_signals(call: Call) -> Sequence[str]:
        if not call.is_value(0) or len(call.shape()) != 3:
            return function(call)
        attrs = dict(call.attrs)
        beyond = {
            "kernel_shape": 1,
            "strides": 1,
            "dilations": 1,
            "output_padding": 0,
            "output_shape": 1,
        }
        for name, size in beyond.items():
            if name in attrs:
                attrs[name] = [*attrs[name], size]
        if "pads" in attrs:
            before, after = attrs["pads"]
            attrs["pads"] = [before, 0, after, 0]
        proto = onnx.NodeProto.FromString(call.proto.SerializeToString())
        operands: list[str | Array | None] = [
            call.reshape(call.value(), (*call.shape(), 1)),
            *call.operands[1:],
        ]
        if len(operands) > 1 and isinstance(operands[1], np.ndarray):
            operands[1] = operands[1][..., None]
            proto.input[1] += "::image"  # arrays are remembered by name
        (result, *_) = function(replace(call, proto=proto, attrs=attrs, operands=tuple(operands)))
        return [call.reshape(result, call.builder.shapes[result][:3])]

    return with_signals


@importer("Conv")
@_planar
def _conv(call: Call) -> Sequence[str]:
    """1-D and 2-D, constant weight; strides, pads, auto_pad, dilations, group."""
    weight = call.weight(1, "the weight")
    _image_shape(call)
    if weight.ndim != 4:
        call.fail(f"weight of shape {weight.shape}", "only 1-D and 2-D convolutions are supported")
    if (call.ints("kernel_shape") or weight.shape[2:]) != weight.shape[2:]:
        call.fail(
            f"kernel_shape {call.ints('kernel_shape')} contradicts the weight of shape {weight.shape}"
        )
    bias = (
        call.weight(2, "the bias") if call.constant(2) is not None else call.zeros(weight.shape[0])
    )
    strides, dilations = _two(call, "strides"), _two(call, "dilations")
    pads, _ = _window_pads(call, weight.shape[2:], strides, dilations)
    groups = int(call.attrs.get("group", 1))
    return [
        call.emit(
            "Conv",
            [call.value()],
            strides=strides,
            pads=pads,
            dilations=dilations,
            groups=groups,
            weight=weight,
            bias=bias,
        )
    ]


@importer("ConvTranspose")
@_planar
def _convtranspose(call: Call) -> Sequence[str]:
    """1-D and 2-D, constant weight; strides, pads, auto_pad, output_padding,
    output_shape, dilations, group.
    """
    weight = call.weight(1, "the weight")
    sizes = _image_shape(call)
    if weight.ndim != 4:
        call.fail(f"weight of shape {weight.shape}", "only 1-D and 2-D convolutions are supported")
    if (call.ints("kernel_shape") or weight.shape[2:]) != weight.shape[2:]:
        call.fail(
            f"kernel_shape {call.ints('kernel_shape')} contradicts the weight of shape {weight.shape}"
        )
    groups = int(call.attrs.get("group", 1))
    filters = weight.shape[1] * groups
    bias = call.weight(2, "the bias") if call.constant(2) is not None else call.zeros(filters)
    strides, dilations = _two(call, "strides"), _two(call, "dilations")
    extra = list(call.ints("output_padding") or (0, 0))
    pads = list(call.ints("pads") or (0, 0, 0, 0))
    if len(extra) != 2 or len(pads) != 4 or min(pads) < 0:
        call.fail(
            f"output_padding={extra}, pads={pads}",
            "two and four non-negative numbers are supported",
        )
    mode, wanted = call.attrs.get("auto_pad", b"NOTSET").decode(), call.ints("output_shape")
    if mode == "VALID":
        pads = [0, 0, 0, 0]
    if wanted is not None or mode in ("SAME_UPPER", "SAME_LOWER"):
        wanted = (
            wanted[-2:]
            if wanted is not None
            else tuple(n * s for n, s in zip(sizes, strides, strict=True))
        )
        for axis in range(2):
            extent = (weight.shape[2 + axis] - 1) * dilations[axis] + 1
            total = strides[axis] * (sizes[axis] - 1) + extra[axis] + extent - wanted[axis]
            extra[axis] += max(0, -total)  # a result larger than the windows reach ends in the bias
            small, large = max(0, total) // 2, max(0, total) - max(0, total) // 2
            pads[axis], pads[axis + 2] = (small, large) if mode == "SAME_UPPER" else (large, small)
    return [
        call.emit(
            "ConvTranspose",
            [call.value()],
            strides=strides,
            pads=tuple(pads),
            dilations=dilations,
            output_padding=tuple(extra),
            groups=groups,
            weight=weight,
            bias=bias,
        )
    ]


@importer("BatchNormalization")
def _batch_normalization(call: Call) -> Sequence[str]:
    """Inference mode, one output."""
    if call.attrs.get("training_mode", 0):
        call.fail("is in training mode", "export the model in inference mode (model.eval())")
    if call.attrs.get("spatial", 1) != 1:
        call.fail(
            "spatial=0 is not supported", "export the model with per-channel batch normalization"
        )
    call.only_first_output()
    names = ("scale", "bias", "mean", "variance")
    gamma, beta, mean, variance = (
        call.weight(index, what).astype(np.float64) for index, what in enumerate(names, start=1)
    )
    denominator = variance + call.attrs.get("epsilon", 1e-5)
    if denominator.min(initial=1) <= 0:
        call.fail(
            f"tensor {call.proto.input[4]!r} has negative variances",
            "export the model from an intact checkpoint",
        )
    scale = gamma / np.sqrt(denominator)
    shift = call.finite(beta - mean * scale, call.proto.input[2])
    return [
        call.emit(
            "Scale", [call.value()], scale=call.finite(scale, call.proto.input[1]), shift=shift
        )
    ]


@importer("Relu")
def _relu(call: Call) -> Sequence[str]:
    """Any shape."""
    return [call.emit("Relu", [call.value()])]


@importer("Clip")
def _clip(call: Call) -> Sequence[str]:
    """Constant bounds, either or both; ReLU6 costs two ReLUs."""
    bounds: list[float] = []
    for index, (name, default) in enumerate((("min", -math.inf), ("max", math.inf)), start=1):
        array = call.constant(index)
        given = (
            float(array.reshape(-1)[0])
            if array is not None and array.size
            else float(call.attrs.get(name, default))
        )
        unbounded = abs(given) >= float(
            np.finfo(np.float16).max
        )  # exporters write the largest float for "no bound"
        bounds.append(default if unbounded else given)
    low, high = bounds
    if (low, high) == (-math.inf, math.inf):
        return [call.value()]
    if not low < high:
        call.fail(f"bounds ({low:g}, {high:g})", "the lower must be less than the upper one")
    if low == -math.inf:  # high - relu(high - x)
        return [
            shifted(
                call,
                negated(
                    call, call.emit("Relu", [shifted(call, negated(call, call.value()), high)])
                ),
                high,
            )
        ]
    moved = shifted(call, call.value(), -low)
    if high == math.inf:
        return [shifted(call, call.emit("Relu", [moved]), low)]
    return [shifted(call, call.emit("Clip", [moved], min=0.0, max=high - low), low)]


@importer("LeakyRelu", "PRelu")
def _leaky(call: Call) -> Sequence[str]:
    """Constant slope, of PRelu one for all or one per channel: `a*x + (1 - a)*relu(x)`."""
    if call.proto.op_type == "PRelu":
        slope = fit(call, 1)
    else:
        slope = np.full((1,) * len(call.shape()), call.attrs.get("alpha", 0.01), np.float32)
    advice = "use one slope for all, or one per channel"
    positive = call.emit("Relu", [call.value()])
    return [
        call.emit(
            "Add",
            [scaled(call, call.value(), slope, advice), scaled(call, positive, 1 - slope, advice)],
        )
    ]


@importer("Abs")
def _abs(call: Call) -> Sequence[str]:
    """Any shape: `2 relu(x) - x`."""
    positive = call.emit("Relu", [call.value()])
    return [call.emit("Sub", [call.emit("Add", [positive, positive]), call.value()])]


@importer("HardSigmoid")
def _hardsigmoid(call: Call) -> Sequence[str]:
    """Any shape: `clip(alpha*x + beta, 0, 1)`, two ReLUs."""
    alpha, beta = float(call.attrs.get("alpha", 0.2)), float(call.attrs.get("beta", 0.5))
    factor = np.full((1,) * len(call.shape()), alpha, np.float32)
    line = shifted(call, scaled(call, call.value(), factor, ""), beta)
    return [call.emit("Clip", [line], min=0.0, max=1.0)]


@importer("Sigmoid")
def _sigmoid(call: Call) -> Sequence[str]:
    """Directly before an output: the client computes it on the revealed logits."""
    return [call.emit("Sigmoid", [call.value()])]


@importer("Softmax")
def _softmax(call: Call) -> Sequence[str]:
    """Directly before an output, along the channels (axis 1); before opset 13 along
    the last axis of size over 1.
    """
    shape = call.shape()
    axis = int(call.attrs.get("axis", -1 if call.opset >= 13 else 1))
    axis += len(shape) if axis < 0 else 0
    if call.opset < 13 and math.prod(shape[axis + 1 :]) != 1:
        call.fail(
            f"flattens {shape} from axis {axis} on (opset {call.opset})",
            "export the model with opset 13 or newer",
        )
    return [call.emit("Softmax", [call.value()], axis=axis)]


def _linear(call: Call, weight: Array, bias: Array) -> str:
    """`x @ weight.T + bias` over the last axis: Gemm for (1, K), else a 1x1 Conv with
    the axes before as its pixels.
    """
    shape = call.shape()
    if len(shape) == 2:
        return call.emit("Gemm", [call.value()], weight=weight, bias=bias)
    moved = call.transpose(call.value(), (0, len(shape) - 1, *range(1, len(shape) - 1)))
    image = call.reshape(moved, (1, shape[-1], math.prod(shape[1:-1]), 1))
    attrs = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "groups": 1}
    result = call.emit("Conv", [image], weight=weight[:, :, None, None], bias=bias, **attrs)
    result = call.reshape(result, (1, weight.shape[0], *shape[1:-1]))
    return call.transpose(result, (0, *range(2, len(shape)), 1))


@importer("Gemm")
def _gemm(call: Call) -> Sequence[str]:
    """Constant matrix and bias; transB, alpha, beta."""
    if call.attrs.get("transA", 0):
        call.fail(
            "transA=1 is not supported", "transpose in the model, or export the layer as Linear"
        )
    weight = call.weight(1, "the weight") * np.float32(call.attrs.get("alpha", 1.0))
    weight = weight if call.attrs.get("transB", 0) else weight.T
    if weight.ndim != 2:
        call.fail(f"weight of shape {weight.shape} is no matrix")
    bias = call.zeros(weight.shape[0])
    if call.constant(2) is not None:
        given = call.weight(2, "the bias")
        if given.size not in (1, bias.size):
            call.fail(f"bias of shape {given.shape} does not fit {bias.size} outputs")
        bias = bias + given.reshape(-1) * np.float32(call.attrs.get("beta", 1.0))
    return [call.emit("Gemm", [call.value()], weight=np.ascontiguousarray(weight), bias=bias)]


@importer("MatMul")
def _matmul(call: Call) -> Sequence[str]:
    """(..., K) times a constant (K, M)."""
    if call.is_value(0) and call.is_value(1):
        call.fail(
            "multiplies two secret tensors",
            "only products with constant weights are supported (no attention)",
        )
    if not call.is_value(0):
        call.fail("the constant is on the left", "write it as x @ constant")
    weight = call.weight(1, "the weight")
    if weight.ndim != 2 or weight.shape[0] != call.shape()[-1] or len(call.shape()) < 2:
        call.fail(
            f"weight of shape {weight.shape} with an operand of shape {call.shape()}",
            "only (..., K) @ (K, M) is supported",
        )
    return [_linear(call, np.ascontiguousarray(weight.T), call.zeros(weight.shape[1]))]


@importer("MaxPool")
@_planar
def _maxpool(call: Call) -> Sequence[str]:
    """1-D and 2-D; strides, pads, auto_pad, ceil_mode; one output, no dilations."""
    call.only_first_output()
    kernel, strides, dilations = (
        _two(call, "kernel_shape"),
        _two(call, "strides"),
        _two(call, "dilations"),
    )
    if dilations != (1, 1):
        call.fail(f"dilations={dilations} is not supported", "use a max-pool without dilation")
    (top, left, bottom, right), (below, beside) = _window_pads(call, kernel, strides, dilations)
    pads = (top, left, bottom + below, right + beside)
    return [call.emit("MaxPool", [call.value()], kernel=kernel, strides=strides, pads=pads)]


@importer("AveragePool")
@_planar
def _averagepool(call: Call) -> Sequence[str]:
    """1-D and 2-D; strides, pads, auto_pad, ceil_mode, count_include_pad; no dilations."""
    kernel, strides, dilations = (
        _two(call, "kernel_shape"),
        _two(call, "strides"),
        _two(call, "dilations"),
    )
    if dilations != (1, 1):
        call.fail(f"dilations={dilations} is not supported", "use an average pool without dilation")
    pads, extra = _window_pads(call, kernel, strides, dilations)
    value, counted = call.value(), bool(call.attrs.get("count_include_pad", 0))
    if counted and any(extra):
        # What ceil_mode adds never counts, the written pads do: those become zeros of the image.
        value = call.emit(
            "Pad", [value], pads=((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3]))
        )
        pads, counted = (0, 0, 0, 0), False
    pads = (pads[0], pads[1], pads[2] + extra[0], pads[3] + extra[1])
    return [
        call.emit(
            "AvgPool",
            [value],
            kernel=kernel,
            strides=strides,
            pads=pads,
            count_include_pad=counted and any(pads),
        )
    ]


def _mean(call: Call, value: str, kernel: tuple[int, int]) -> str:
    return call.emit(
        "AvgPool",
        [value],
        kernel=kernel,
        strides=(1, 1),
        pads=(0, 0, 0, 0),
        count_include_pad=False,
    )


@importer("GlobalAveragePool")
@_planar
def _globalaveragepool(call: Call) -> Sequence[str]:
    """1-D and 2-D."""
    return [_mean(call, call.value(), _image_shape(call))]


@importer("GlobalMaxPool")
@_planar
def _globalmaxpool(call: Call) -> Sequence[str]:
    """1-D and 2-D."""
    return [
        call.emit(
            "MaxPool", [call.value()], kernel=_image_shape(call), strides=(1, 1), pads=(0, 0, 0, 0)
        )
    ]


@importer("ReduceMean")
def _reducemean(call: Call) -> Sequence[str]:
    """Over any axes but the batch; keepdims."""
    shape = call.shape()
    given = call.ints("axes", 1)
    if given is None and call.attrs.get("noop_with_empty_axes", 0):
        return [call.value()]
    axes = sorted({axis % len(shape) for axis in given}) if given else list(range(len(shape)))
    value = call.value()
    if len(shape) == 4 and set(axes) <= {2, 3}:
        value = _mean(call, value, (shape[2] if 2 in axes else 1, shape[3] if 3 in axes else 1))
    elif len(shape) == 4 and axes == [1, 2]:  # channels last
        value = _mean(call, call.transpose(value, (0, 3, 1, 2)), (shape[1], shape[2]))
        value = call.transpose(value, (0, 2, 3, 1))
    elif 0 not in axes:
        kept = [axis for axis in range(len(shape)) if axis not in axes]
        count, mixed = (
            math.prod(shape[axis] for axis in kept),
            math.prod(shape[axis] for axis in axes),
        )
        image = call.reshape(call.transpose(value, (*kept, *axes)), (1, count, mixed, 1))
        reduced = [1 if axis in axes else size for axis, size in enumerate(shape)]
        value = call.reshape(_mean(call, image, (mixed, 1)), reduced)
    else:
        call.fail(f"over axes {axes} of {shape}", "the batch axis cannot be averaged over")
    if call.attrs.get("keepdims", 1):
        return [value]
    return [call.reshape(value, [size for axis, size in enumerate(shape) if axis not in axes])]
