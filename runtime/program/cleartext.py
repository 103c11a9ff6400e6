"""The cleartext executor: what a Program means, on plain integers.

It is the oracle of the two-party run. With *exact* rounding the two agree bit for bit. With
*stochastic* rounding they agree in distribution: the executor draws the share-dependent rounding
bit of the local truncation, and a last-place error of each uniformly masked linear layer. Its
random numbers simulate, they protect nothing.

Values are int64 arrays, always the signed representative in `[-2^(bits-1), 2^(bits-1))`. Every step
first computes the true integer, so values that leave their ring are seen before they wrap, and
counted: fixed-point two-party computation itself cannot notice them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from moiety.protocols.errors import BadInput, ContractViolation
from moiety.runtime import program as ir
from moiety.runtime.program.convolution import convolve
from moiety.runtime.program.weights import Weights

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]


class Executor:
    """Runs one Program with its Weights, image after image.

    `rng` draws the stochastic rounding; it is required for a Program with stochastic rounding and
    unused otherwise. `overflows` maps step index to the number of values, over all images run so
    far, that left their ring before reduction (for Input: that were clipped).
    """

    def __init__(
        self, program: ir.Program, weights: Weights, rng: np.random.Generator | None = None
    ) -> None:
        if rng is None and program.rounding == "stochastic":
            raise BadInput(
                "a Program with stochastic rounding needs a random generator to be simulated"
            )
        self.program, self.weights = program, weights
        self._rng = rng
        self._forget = program.last_uses()
        self._modular = _modular_steps(program)
        self.overflows: dict[int, int] = {}
        self.images = 0

    def run(self, image: npt.ArrayLike) -> dict[str, F64]:
        """Output name -> float64 result (scaled and postprocessed) for a float image `(C,H,W)`.
        BadInput as `quantise_input`.
        """
        values = self.run_integers(image)
        names = self.program.output_names()
        return {
            names[index]: ir.dequantise_output(step, values[index])
            for index, step in self.program.outputs.items()
        }

    def run_integers(
        self, image: npt.ArrayLike, trace: Callable[[int, I64], None] | None = None
    ) -> dict[int, I64]:
        """Output step index -> signed integers. `trace(step, values)` is
        called after every step, if given.
        """
        x = np.asarray(image, np.float64)
        quantised = ir.quantise_input(self.program, x)
        clipped = np.abs(quantised - x / self.program.input.scale) > 0.5000001
        self._count(0, int(np.count_nonzero(clipped)))
        return self.run_quantised(quantised, trace)

    def run_quantised(
        self, quantised: I64, trace: Callable[[int, I64], None] | None = None
    ) -> dict[int, I64]:
        """As `run_integers`, from the integers that `quantise_input` makes."""
        self.images += 1
        live: dict[int, I64] = {}
        for index, step in enumerate(self.program.steps):
            operands = [live[i] for i in step.inputs]
            live[index] = (
                quantised if isinstance(step, ir.Input) else self._step(index, step, operands)
            )
            if trace is not None:
                trace(index, _wrap(live[index], step.bits) if self._modular[index] else live[index])
            for done in self._forget[index]:
                del live[done]
        return {index: live[index] for index in self.program.outputs}

    def _step(self, index: int, step: ir.AnyStep, operands: list[I64]) -> I64:
        x = operands[0]
        match step:
            case ir.Linear():
                return self._linear(index, step, x)
            case ir.Truncate():
                return self._truncate(index, step, x)
            case ir.Relu():
                return self._relu(index, step, x, operands[1] if len(operands) > 1 else None)
            case ir.Gates():
                bits = self.program.steps[step.inputs[0]].bits
                thresholds = self.weights.thresholds(index).reshape(
                    *step.shape[:2], *(1,) * (x.ndim - 1)
                )
                return (_wrap(x + thresholds, bits) >= 0).astype(np.int64)
            case ir.MaxPool():
                return self._max_pool(index, step, x)
            case ir.SumPool():
                return self._fit(index, _sum_pool(step, x), step.bits)
            case ir.Extend() | ir.Output():
                return x
            case ir.Reduce():
                return self._fit(index, x, step.bits)
            case ir.Add():
                total = sum(
                    (y if sign > 0 else -y for sign, y in zip(step.signs, operands, strict=True)),
                    np.zeros_like(x),
                )
                return self._fit(index, total, step.bits)
            case ir.AddConst():
                return self._fit(index, x + self.weights.constant(index), step.bits)
            case ir.Concat():
                return np.concatenate(operands, axis=step.axis)
            case ir.Slice():
                return x[tuple(map(slice, step.starts, step.stops, step.strides))]
            case ir.Reshape():
                return x.reshape(step.shape)
            case ir.Transpose():
                return x.transpose(step.perm)
            case ir.Pad():
                return np.pad(x, step.pads)
            case ir.Input():
                raise ContractViolation("an Input has no operands")

    def _linear(self, index: int, step: ir.Linear, x: I64) -> I64:
        weight, bias = self.weights.linear(index)
        total, approximate = convolve(x, weight, step.pads, step.dilations, step.groups)
        if approximate is not None:
            outside = np.abs(approximate + bias) >= 2.0 ** (step.bits - 1)
            self._count(index, int(np.count_nonzero(outside)))
            return _wrap(total + bias, step.bits)
        total += bias
        if step.rlwe.masking == "uniform":
            # Server and client each round their half of the masked answer; together they miss by
            # -1, 0 or 1. How often depends on the noise: this is the worst case, and still
            # thousands of times below the truncation that follows.
            total += self._generator.integers(-1, 2, total.shape, np.int8)
        return self._fit(index, total, step.bits)

    def _truncate(self, index: int, step: ir.Truncate, x: I64) -> I64:
        """Exact: floor. Stochastic: `floor(x0/2^s) + floor(x1/2^s) + 1` for x0 uniform is
        `floor(x/2^s) + [low(x0) <= low(x)]`.
        """
        high = x >> np.int64(step.shift)
        if step.rounding == "stochastic":
            low = (x & np.int64((1 << step.shift) - 1)).astype(np.uint64)
            high += self._generator.integers(0, 1 << step.shift, x.shape, np.uint64) <= low
        return self._fit(index, high, step.bits)

    def _relu(self, index: int, step: ir.Relu, x: I64, gate: I64 | None) -> I64:
        if not step.affine:
            return np.maximum(x, 0) if gate is None else x * gate
        threshold, flip = self.weights.gate(index)
        per_channel = (-1,) + (1,) * (x.ndim - 1)
        bits = self.program.steps[step.inputs[0]].bits
        shifted = self._fit(index, x + threshold.reshape(per_channel), bits)
        if gate is not None:
            return np.asarray(shifted * (gate ^ flip.reshape(per_channel)))
        if flip.any():
            return np.where(
                flip.reshape(per_channel) == 1, np.minimum(shifted, 0), np.maximum(shifted, 0)
            )
        return np.maximum(shifted, 0, out=shifted)

    def _max_pool(self, index: int, step: ir.MaxPool, x: I64) -> I64:
        limit = 1 << (step.bits - 2)
        if x.min() < -limit or x.max() >= limit:
            self._count(index, int(np.count_nonzero((x < -limit) | (x >= limit))))
        top, left, bottom, right = step.pads
        padded = np.pad(x, ((0, 0), (top, bottom), (left, right)), constant_values=-limit)
        for axis in (2, 1):
            kernel, stride, count = step.kernel[axis - 1], step.strides[axis - 1], step.shape[axis]
            padded = np.maximum.reduce(
                [_taps(padded, axis, offset, stride, count) for offset in range(kernel)]
            )
        return padded

    @property
    def _generator(self) -> np.random.Generator:
        if self._rng is None:
            raise BadInput("a stochastic step needs a random generator to be simulated")
        return self._rng

    def _fit(self, index: int, x: I64, bits: int) -> I64:
        """x modulo 2^bits, signed; counts what does not fit. The usual case,
        everything fits, copies nothing.
        """
        half = 1 << (bits - 1)
        if self._modular[index] or bits == 64 or (x.min() >= -half and x.max() < half):
            return x
        self._count(index, int(np.count_nonzero((x < -half) | (x >= half))))
        return _wrap(x, bits)

    def _count(self, index: int, values: int) -> None:
        if values:
            self.overflows[index] = self.overflows.get(index, 0) + values


def _modular_steps(program: ir.Program) -> list[bool]:
    """Steps whose value is only summed up, by linear layers in the end: it may leave the ring
    unharmed, for sums modulo 2^bits forgive it.

    Such values are kept unreduced, so that the linear layer's own sums are the true ones.
    """
    sums = (ir.SumPool, ir.Add, ir.AddConst, ir.Concat, ir.Slice, ir.Reshape, ir.Transpose, ir.Pad)
    modular = [True] * len(program.steps)
    for index in reversed(range(len(program.steps))):
        step = program.steps[index]
        if not isinstance(step, sums):
            modular[index] = False
        for operand in step.inputs:
            modular[operand] &= isinstance(step, ir.Linear) or modular[index]
    return modular


def _wrap(x: I64, bits: int) -> I64:
    shift = np.int64(64 - bits)
    return (x << shift) >> shift


def _sum_pool(step: ir.SumPool, x: I64) -> I64:
    top, left, bottom, right = step.pads
    total = np.pad(x, ((0, 0), (top, bottom), (left, right)))
    for axis in (1, 2):
        kernel, stride, count = step.kernel[axis - 1], step.strides[axis - 1], step.shape[axis]
        total = np.add.reduce(
            [_taps(total, axis, offset, stride, count) for offset in range(kernel)]
        )
    return total


def _taps(x: I64, axis: int, offset: int, stride: int, count: int) -> I64:
    """Element `offset` of each of `count` windows along an axis."""
    window = [slice(None)] * x.ndim
    window[axis] = slice(offset, offset + stride * (count - 1) + 1, stride)
    return x[tuple(window)]
