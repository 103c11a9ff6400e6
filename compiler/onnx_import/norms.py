"""Importers of norms: distances from a mean, over their root mean square.

    y = (x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) * scale + bias

A mean is a sum of shares, a variance the sum of squares (MeanProduct), and the root is taken of few
values (Power); the last factor is a product per element.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from moiety.compiler.ir.graph import Array
from moiety.compiler.onnx_import.activations import absolute
from moiety.compiler.onnx_import.arithmetic import (
    added,
    broadcast_constant,
    combined,
    scaled,
)
from moiety.compiler.onnx_import.call import Call, importer
from moiety.compiler.onnx_import.powers import biased, divided, powered
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
    epsilon = float(call.attrs.get("epsilon", epsilon))
    if centred:
        value = combined(call, "Sub", value, mean(call, value, axes))
    variance = mean_of_products(call, value, value, axes)
    return multiplied(call, value, _inverse_root(call, variance, epsilon))


def _inverse_root(call: Call, variance: str, epsilon: float) -> str:
    """`1 / sqrt(variance + epsilon)`. Where there are several in a channel, one for each pixel say,
    they are pixels of one channel here: they have one scale.
    """
    shape = call.builder.shapes[variance]
    several = math.prod(shape[2:]) > 1
    joined = call.reshape(variance, (1, 1, math.prod(shape), 1)) if several else variance
    return call.reshape(powered(call, biased(call, joined, epsilon), -0.5), shape)


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
    """Over all axes from any one on; its first output."""
    call.only_first_output()
    return [_over_last(call, centred=True)]


@importer("RMSNormalization")
def _root_mean_square(call: Call) -> Sequence[str]:
    """Over all axes from any one on."""
    return [_over_last(call, centred=False)]


def _over_last(call: Call, centred: bool) -> str:
    shape = call.shape()
    first = int(call.attrs.get("axis", -1)) % len(shape)
    if first == 0:
        call.fail("is over the batch axis, too", "export the model with axis 1 or more")
    value = normalised(call, call.value(), list(range(first, len(shape))), centred)
    given = call.shapes()[1] or ()
    return _scaled_by_operands(call, value, (1,) * (len(shape) - len(given)) + given)


@importer("MeanVarianceNormalization")
def _mean_variance(call: Call) -> Sequence[str]:
    """Over any axes but the batch; over it, too, in a model of one image."""
    shape = call.shape()
    axes = {axis % len(shape) for axis in call.ints("axes") or (0, 2, 3)}
    if 0 in axes and call.builder.batch != 1:
        call.fail("is over the batch axis, too", "export the model with a batch of one image")
    return [normalised(call, call.value(), sorted(axes - {0}), epsilon=1e-9)]


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
