"""Importers of norms: distances from a mean, over their root mean square.

    y = (x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) * scale + bias

A mean is a sum of shares, a variance the sum of squares (MeanProduct), and the root is taken of few
values (Power); the last factor is a product per element.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from moiety.compiler.ir.axis_map import AxisMap
from moiety.compiler.ir.graph import Array
from moiety.compiler.onnx_import.activations import absolute
from moiety.compiler.onnx_import.arithmetic import (
    added,
    broadcast_constant,
    combined,
    scaled,
    shifted,
)
from moiety.compiler.onnx_import.axes import mapped
from moiety.compiler.onnx_import.call import Call, importer
from moiety.compiler.onnx_import.powers import divided, powered
from moiety.compiler.onnx_import.products import multiplied
from moiety.compiler.onnx_import.reductions import (
    mean,
    mean_of_products,
    sum_of_squares,
    summed,
)


def normalised(
    call: Call, value: str, axes: list[int], centred: bool = True, epsilon: float = 1e-5
) -> str:
    """`value`, less its mean over `axes` if `centred`, over its root mean square there."""
    if centred:
        value = combined(call, "Sub", value, mean(call, value, axes))
    return multiplied(call, value, inverse_deviation(call, value, axes, epsilon))


def inverse_deviation(call: Call, centred: str, axes: list[int], epsilon: float = 1e-5) -> str:
    """One over the root mean square over `axes`."""
    variance = mean_of_products(call, centred, centred, axes)
    epsilon = float(call.attrs.get("epsilon", epsilon))
    return powered(call, shifted(call, variance, epsilon), -0.5)


def _scaled_by_operands(call: Call, value: str, shape: Sequence[int]) -> str:
    """Times the second operand, plus the third, constants that are viewed as `shape`."""
    value = scaled(call, *broadcast_constant(call, value, _viewed(call, 1, "the scale", shape)))
    if len(call.operands) < 3 or call.operands[2] is None:
        return value
    return added(call, *broadcast_constant(call, value, _viewed(call, 2, "the bias", shape)))


def _viewed(call: Call, index: int, what: str, shape: Sequence[int]) -> Array:
    constant = call.weight(index, what)
    if constant.size != math.prod(shape):
        call.fail(f"{what} has shape {constant.shape}, it must have {math.prod(shape)} elements")
    return constant.reshape(shape)


def _per_channel(call: Call) -> tuple[int, ...]:
    """The shape of a constant per channel of the operand."""
    rank = len(call.shape())
    if rank < 3:
        call.fail(f"an operand of shape {call.shape()}", "it must have axes behind the channels")
    return (1, call.shape()[1], *(1,) * (rank - 2))


@importer("InstanceNormalization")
def _instance(call: Call) -> Sequence[str]:
    """Any number of axes behind the channels."""
    shape = _per_channel(call)
    value = normalised(call, call.value(), list(range(2, len(shape))))
    return [_scaled_by_operands(call, value, shape)]


@importer("GroupNormalization")
def _group(call: Call) -> Sequence[str]:
    """Any groups; scale and bias per channel."""
    whole, shape, groups = call.shape(), _per_channel(call), int(call.attrs["num_groups"])
    if groups < 1 or shape[1] % groups:
        call.fail(f"num_groups={groups} for {shape[1]} channels", "export the model again")
    grouped = call.reshape(call.value(), (1, groups, math.prod(whole[1:]) // groups, 1))
    value = call.reshape(normalised(call, grouped, [2, 3]), whole)
    return [_scaled_by_operands(call, value, shape)]


@importer("LayerNormalization")
def _layer(call: Call) -> Sequence[str]:
    """Over all axes from any one on; all outputs."""
    axes, shape = _last_axes(call)
    average = mean(call, call.value(), axes)
    centred = combined(call, "Sub", call.value(), average)
    inverse = inverse_deviation(call, centred, axes)
    return [_scaled_by_operands(call, multiplied(call, centred, inverse), shape), average, inverse]


@importer("RMSNormalization")
def _root_mean_square(call: Call) -> Sequence[str]:
    """Over all axes from any one on."""
    axes, shape = _last_axes(call)
    return [_scaled_by_operands(call, normalised(call, call.value(), axes, False), shape)]


def _last_axes(call: Call) -> tuple[list[int], tuple[int, ...]]:
    """The axes from `axis` on, and the shape of the scale with all of the operand's axes."""
    shape = call.shape()
    first = int(call.attrs.get("axis", -1)) % len(shape)
    if first == 0:
        call.fail("is over the batch axis, too", "export the model with axis 1 or more")
    given = call.shapes()[1] or ()
    return list(range(first, len(shape))), (1,) * (len(shape) - len(given)) + given


@importer("MeanVarianceNormalization")
def _mean_variance(call: Call) -> Sequence[str]:
    """Over any axes but the batch; over it, too, in a model of one image."""
    shape = call.shape()
    axes = {axis % len(shape) for axis in call.ints("axes") or (0, 2, 3)}
    if 0 in axes and call.builder.batch != 1:
        call.fail("is over the batch axis, too", "export the model with a batch of one image")
    return [normalised(call, call.value(), sorted(axes - {0}), epsilon=1e-9)]


@importer("LRN")
def _local_response(call: Call) -> Sequence[str]:
    """Any attributes; the power of what it divides by is fitted by straight pieces over the
    calibrated range.
    """
    value, channels, size = call.value(), np.arange(call.shape()[1]), int(call.attrs["size"])
    alpha, beta, bias = (
        float(call.attrs.get(name, default))
        for name, default in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))
    )
    call.make_room(len(channels), len(channels))
    offset = np.subtract.outer(channels, channels).T
    near = (-((size - 1) // 2) <= offset) & (offset <= size // 2)
    sums = mapped(call, multiplied(call, value, value), 1, AxisMap.of(near.astype(np.float64)))
    means = scaled(call, sums, np.full((1,) * len(call.shape()), alpha / size, np.float32))
    power = ("x", bias, "add", "log", -beta, "mul", "exp")
    return [multiplied(call, value, call.emit("Activation", [means], formula=power))]


@importer("LpNormalization")
def _lp(call: Call) -> Sequence[str]:
    """p of 1 or 2, along any axis but the batch."""
    shape = call.shape()
    axis, order = int(call.attrs.get("axis", -1)) % len(shape), int(call.attrs.get("p", 2))
    if axis == 0:
        call.fail("is along the batch axis", "export the model with another axis")
    value = call.value()
    if order == 1:
        return [divided(call, value, summed(call, absolute(call, value), [axis]))]
    return [multiplied(call, value, powered(call, sum_of_squares(call, value, [axis]), -0.5))]
