"""Windows that slide over height and width: what convolutions and pools have in common.

`pads` are (top, left, bottom, right).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from moiety.compiler.ir.graph import Array, Node, Shape
from moiety.compiler.ir.ops.base import require


def positions(
    size: int, kernel: int, stride: int, before: int, after: int, dilation: int = 1
) -> int:
    """Number of window positions along one axis (floor mode):
    `(size + pads - extent) // stride + 1`.
    """
    return (size + before + after - (kernel - 1) * dilation - 1) // stride + 1


def window_shape(
    node: Node, shape: Shape, kernel: Sequence[int], dilations: Sequence[int] = (1, 1)
) -> Shape:
    """Height and width of the result of `node`, whose windows slide over an operand of `shape`."""
    strides, pads = node.attrs["strides"], node.attrs["pads"]
    height, width = (
        positions(shape[2 + i], kernel[i], strides[i], pads[i], pads[i + 2], dilations[i])
        for i in range(2)
    )
    require(
        height > 0 and width > 0,
        f"kernel {tuple(kernel)} is larger than the padded input {shape[2:]} "
        f"with pads {tuple(pads)}",
    )
    return height, width


def check_window(node: Node, shape: Shape) -> None:
    """ShapeError unless the operand is an image, strides are positive and pads not negative."""
    require(len(shape) == 4, f"needs an (N, C, H, W) operand, has {shape}")
    require(
        min(node.attrs["strides"]) >= 1 and min(node.attrs["pads"]) >= 0,
        "strides must be positive and pads not negative",
    )


def padded(x: Array, pads: Sequence[int], value: float) -> Array:
    """`x` `(N, C, H, W)` with `value` around the image."""
    top, left, bottom, right = pads
    if not any(pads):
        return x
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value)


def taps(x: Array, axis: int, kernel: int, stride: int, dilation: int = 1) -> Iterator[Array]:
    """The `kernel` strided views of x whose element-wise combination is a 1-D window
    operation along `axis`.
    """
    count = positions(x.shape[axis], kernel, stride, 0, 0, dilation)
    for tap in range(kernel):
        index = [slice(None)] * x.ndim
        index[axis] = slice(tap * dilation, tap * dilation + (count - 1) * stride + 1, stride)
        yield x[tuple(index)]
