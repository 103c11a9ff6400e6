"""What a gradient becomes on its way back through each op."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from moiety.compiler.ir.graph import Array, Node
from moiety.compiler.ir.ops import OPS, channelwise

Adjoint = Callable[[Node, Sequence[Array], Array, Array], Iterable[Array]]
"""(node, operands, result, gradient of the result) -> gradients of the operands."""


def _conv(node: Node, operands: Sequence[Array], result: Array, grad: Array) -> Iterable[Array]:
    """The convolution with flipped weights, of the gradient padded by what the
    kernel reaches beyond the pads.
    """
    weight, groups = node.consts["weight"], node.attrs["groups"]
    filters, depth, kh, kw = weight.shape
    turned = weight.reshape(groups, filters // groups, depth, kh, kw).transpose(0, 2, 1, 3, 4)[
        ..., ::-1, ::-1
    ]
    flipped = np.ascontiguousarray(turned.reshape(groups * depth, filters // groups, kh, kw))
    dh, dw = node.attrs["dilations"]
    reach = ((kh - 1) * dh, (kw - 1) * dw) * 2
    pads = [most - pad for most, pad in zip(reach, node.attrs["pads"], strict=True)]
    consts = {"weight": flipped, "bias": np.zeros(groups * depth, weight.dtype)}
    attrs = {**node.attrs, "pads": tuple(max(0, pad) for pad in pads)}
    full = OPS["Conv"].evaluate(node.with_(op="Conv", attrs=attrs, consts=consts), [grad])
    top, left, bottom, right = (max(0, -pad) for pad in pads)
    return [full[:, :, top : full.shape[2] - bottom, left : full.shape[3] - right]]


def _gemm(node: Node, operands: Sequence[Array], result: Array, grad: Array) -> Iterable[Array]:
    return [grad @ node.consts["weight"].astype(grad.dtype)]


def _scale(node: Node, operands: Sequence[Array], result: Array, grad: Array) -> Iterable[Array]:
    return [grad * channelwise(node.consts["scale"].astype(grad.dtype), grad.ndim)]


def _relu(node: Node, operands: Sequence[Array], result: Array, grad: Array) -> Iterable[Array]:
    return [grad * (result > 0)]


def _affine_relu(
    node: Node, operands: Sequence[Array], result: Array, grad: Array
) -> Iterable[Array]:
    return _scale(node, operands, result, grad * (result > 0))


def _windows(node: Node, padded: Array, shape: tuple[int, ...]) -> Iterable[tuple[slice, ...]]:
    """For each tap, where it is in the padded operand for all windows at once."""
    (kh, kw), (sh, sw) = node.attrs["kernel"], node.attrs["strides"]
    for i in range(kh):
        for j in range(kw):
            yield (
                slice(None),
                slice(None),
                slice(i, i + (shape[2] - 1) * sh + 1, sh),
                slice(j, j + (shape[3] - 1) * sw + 1, sw),
            )


def _max_pool(node: Node, operands: Sequence[Array], result: Array, grad: Array) -> Iterable[Array]:
    """To the largest of each window, in equal parts where there are several."""
    (x,), (top, left, bottom, right) = operands, node.attrs["pads"]
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=-np.inf)
    taps = list(_windows(node, padded, result.shape))
    ties = np.sum([padded[tap] == result for tap in taps], axis=0)
    back = np.zeros_like(padded)
    for tap in taps:
        back[tap] += np.where(padded[tap] == result, grad / ties, 0)
    return [back[:, :, top : top + x.shape[2], left : left + x.shape[3]]]


def _avg_pool(node: Node, operands: Sequence[Array], result: Array, grad: Array) -> Iterable[Array]:
    (x,), (top, left, bottom, right) = operands, node.attrs["pads"]
    # What a window divides by is the average of ones, undone.
    inside = np.pad(
        np.ones((1, 1, *x.shape[2:]), x.dtype), ((0, 0), (0, 0), (top, bottom), (left, right))
    )
    taps = list(_windows(node, inside, result.shape))
    if node.attrs["count_include_pad"]:
        divisor = np.float32(len(taps))
    else:
        divisor = np.sum([inside[tap] for tap in taps], axis=0)
    back = np.zeros((*x.shape[:2], *inside.shape[2:]), grad.dtype)
    for tap in taps:
        back[tap] += grad / divisor
    return [back[:, :, top : top + x.shape[2], left : left + x.shape[3]]]


def _concat(node: Node, operands: Sequence[Array], result: Array, grad: Array) -> Iterable[Array]:
    axis = node.attrs["axis"]
    return np.split(grad, np.cumsum([operand.shape[axis] for operand in operands])[:-1], axis)


def _slice(node: Node, operands: Sequence[Array], result: Array, grad: Array) -> Iterable[Array]:
    back = np.zeros_like(operands[0])
    limits = zip(node.attrs["starts"], node.attrs["stops"], node.attrs["steps"], strict=True)
    back[tuple(slice(*limit) for limit in limits)] = grad
    return [back]


def _pad(node: Node, operands: Sequence[Array], result: Array, grad: Array) -> Iterable[Array]:
    sizes = zip(node.attrs["pads"], operands[0].shape, strict=True)
    return [grad[tuple(slice(before, before + size) for (before, _), size in sizes)]]


def _transpose(
    node: Node, operands: Sequence[Array], result: Array, grad: Array
) -> Iterable[Array]:
    return [grad.transpose(np.argsort(node.attrs["perm"]))]


ADJOINTS: dict[str, Adjoint] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "Scale": _scale,
    "Relu": _relu,
    "AffineRelu": _affine_relu,
    "MaxPool": _max_pool,
    "AvgPool": _avg_pool,
    "Add": lambda node, operands, result, grad: [grad, grad],
    "Sub": lambda node, operands, result, grad: [grad, -grad],
    "AddConst": lambda node, operands, result, grad: [grad],
    "Concat": _concat,
    "Slice": _slice,
    "Reshape": lambda node, operands, result, grad: [grad.reshape(operands[0].shape)],
    "Transpose": _transpose,
    "Pad": _pad,
}
