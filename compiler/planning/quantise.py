"""Floats to integers: weights and biases of linear layers, thresholds of gates, added constants.

A linear layer maps units `u_in` to `u_out` with weights `round(w * u_in / u_out * 2^s)` in the ring
of `ring_bits + s` bits, and the truncation after it drops s bits (the rule for s: `shifts`).

`relu(g*x + h)` with g, h per channel is `g * gate(x + c)`, `c = h/g`: the gate's threshold is
`round(c / u)`, and the factor g goes into the unit of its result, of either sign. What integers
times units leave out of a value (its *residue*) goes into the bias of the layer that reads it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from moiety.compiler.ir.graph import Array, Graph, Node, Shape, channelwise
from moiety.compiler.ir.ops import LINEAR, OPS, REINDEXING
from moiety.compiler.ir.ops.base import Convolution
from moiety.compiler.planning import shifts
from moiety.compiler.planning.formats import Formats
from moiety.compiler.planning.layers import averaged_bits
from moiety.compiler.planning.units import gate_thresholds, ideal_weights
from moiety.protocols.arrays import BOOL, F64, I32, I64, U8
from moiety.protocols.errors import BadPlan
from moiety.protocols.linear.parameters import MAX_WEIGHT_BITS


@dataclass(frozen=True, eq=False)
class LayerIntegers:
    """Integers of one linear layer, in the ring of `bits` bits.

    weight: int32 `(M, C/groups, kh, kw)`. bias: int64 `(M,1,1)` or `(M,H',W')`. shift: bits to
    truncate afterwards, down to `out_bits`. weight_bits: bound that the Program states.
    """

    weight: I32
    bias: I64
    shift: int
    weight_bits: int
    out_bits: int

    @property
    def bits(self) -> int:
        return self.out_bits + self.shift


@dataclass(frozen=True, eq=False)
class GateIntegers:
    """Secrets of one AffineRelu: threshold int64 `(C,)`, flip uint8 `(C,)`.

    clamped: channels whose gate never changes. constant: channels with factor 0, the model's
    own or frozen.
    """

    threshold: I64
    flip: U8
    clamped: int
    constant: int


@dataclass(frozen=True, eq=False)
class Residue:
    """What a value is beyond its integers times units: exactly, and in the mean over images. Both
    of the value's shape.
    """

    exact: Array
    mean: Array


def quantise_gates(formats: Formats) -> dict[str, GateIntegers]:
    """By result, the integers of every AffineRelu, in the Graph's order."""
    return {
        node.output: _Gate.of(formats, node).integers()
        for node in formats.graph.nodes_of("AffineRelu")
    }


def quantise_layers(formats: Formats) -> dict[str, LayerIntegers]:
    """By result, the integers of every linear layer, in the Graph's order. BadPlan for weights or a
    bias out of all proportion.
    """
    residues = _residues(formats)
    return {
        node.output: _quantise_layer(formats, node, residues.get(node.inputs[0]))
        for node in formats.graph.nodes_of(*LINEAR)
    }


def quantise_constants(formats: Formats) -> dict[str, I64]:
    """By result, the integers of every AddConst, of a shape that broadcasts to the value's
    without its batch.
    """
    return {
        node.output: _quantise_constant(formats, node)
        for node in formats.graph.nodes_of("AddConst")
    }


def _quantise_constant(formats: Formats, node: Node) -> I64:
    rank = len(formats.graph.shapes[node.output])
    unit = channelwise(formats.unit(node.output), rank)
    return np.rint(node.consts["value"].astype(np.float64) / unit)[0].astype(np.int64)


# --- gates ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Gate:
    """`g * gate(x + c)` by channel, all `(C,)`. gain: g. shift: h, of `relu(g*x + h)` with x
    counted from its zero. unit: of x. threshold: c. steps: the threshold in whole units. clamped:
    where that is not c, because it would leave half the ring.

    A threshold beyond half the ring means that the gate never changes; it is moved to half the
    ring, where for every x within the other half it is as constant, and nothing overflows.
    """

    gain: F64
    shift: F64
    unit: F64
    threshold: F64
    steps: F64
    clamped: BOOL

    @classmethod
    def of(cls, formats: Formats, node: Node) -> _Gate:
        gain, shift = (node.consts[name].astype(np.float64) for name in ("scale", "shift"))
        units, unit = formats.units, formats.unit(node.inputs[0])
        bound = 2.0 ** (units.bits_of(formats.graph, node.inputs[0]) - 2) - 1
        threshold = gate_thresholds(units.scales, units.zero, node)
        with np.errstate(over="ignore"):
            wanted = np.rint(threshold / unit)
        return cls(
            gain=gain,
            shift=shift + gain * formats.zero(node.inputs[0]),
            unit=unit,
            threshold=threshold,
            steps=np.clip(wanted, -bound, bound),
            clamped=np.abs(wanted) > bound,
        )

    @property
    def flip(self) -> BOOL:
        """Where the factor is negative, and the gate open below its threshold."""
        return np.asarray(self.gain < 0)

    def integers(self) -> GateIntegers:
        return GateIntegers(
            threshold=self.steps.astype(np.int64),
            flip=self.flip.astype(np.uint8),
            clamped=int(np.count_nonzero(self.clamped)),
            constant=int(np.count_nonzero(self.gain == 0)),
        )

    def exact_residue(self) -> F64:
        """An open gate whose threshold was moved to c' gives `g * (x + c')` instead of `g*x + h`:
        the constant `h - g*c'` is missing. With g = 0 the result is the constant relu(h).
        """
        always_open = self.clamped & ((self.steps > 0) != self.flip)
        missing = np.where(always_open, self.shift - self.gain * self.steps * self.unit, 0.0)
        return np.where(self.gain == 0, np.maximum(self.shift, 0.0), missing)

    def mean_residue(self, often_open: F64) -> F64:
        """The rounding of a threshold is missing as often as the gate was open on the
        calibration images.
        """
        threshold = np.where(self.clamped, 0.0, self.threshold)
        rounding = self.gain * (threshold - self.steps * self.unit)
        return np.asarray(often_open * np.where(self.clamped | (self.gain == 0), 0.0, rounding))


# --- residues -------------------------------------------------------------------------------------


def _residues(formats: Formats) -> dict[str, Residue]:
    """Of the results of AffineRelus, and of what is reindexed from them."""
    graph, residues = formats.graph, dict[str, Residue]()
    for node in graph.nodes:
        if node.op == "AffineRelu":
            gate, shape = _Gate.of(formats, node), graph.shapes[node.output]
            mean = gate.mean_residue(formats.ranges.open[node.output])
            residues[node.output] = Residue(
                _spread(gate.exact_residue(), shape), _spread(mean, shape)
            )
        elif node.op in REINDEXING and any(value in residues for value in node.inputs):
            residues[node.output] = _reindexed(graph, node, residues)
    return residues


def _spread(per_channel: F64, shape: Shape) -> F64:
    """From one number per channel to the whole shape."""
    return np.broadcast_to(channelwise(per_channel, len(shape)), shape)


def _reindexed(graph: Graph, node: Node, residues: Mapping[str, Residue]) -> Residue:
    """The op itself, applied to the residues of its operands."""
    zeros = {value: np.zeros(graph.shapes[value]) for value in node.inputs}
    operands = [residues.get(value, Residue(zeros[value], zeros[value])) for value in node.inputs]
    run = OPS[node.op].evaluate
    exact, mean = run(node, [r.exact for r in operands]), run(node, [r.mean for r in operands])
    return Residue(np.asarray(exact), np.asarray(mean))


# --- linear layers --------------------------------------------------------------------------------


def _quantise_layer(formats: Formats, node: Node, residue: Residue | None) -> LayerIntegers:
    ideal = ideal_weights(formats.graph, formats.units, node)
    shift, weight_bits = _choose_shift(formats, node, ideal)
    weight = np.rint(ideal * 2.0**shift)
    bias = _real_bias(formats, node, weight * 2.0**-shift - ideal, residue)
    return LayerIntegers(
        weight=weight.astype(np.int32),
        bias=_quantise_bias(formats, node, bias, shift),
        shift=shift,
        weight_bits=weight_bits,
        out_bits=formats.bits(node.output),
    )


def _choose_shift(formats: Formats, node: Node, ideal: F64) -> shifts.Shift:
    """By the rule of the options' style. BadPlan for weights out of all proportion."""
    options, result = formats.options, node.output in formats.output_bits
    peak = float(np.abs(ideal).max(initial=0.0))
    if not math.isfinite(peak):
        raise BadPlan(
            f"{node.op} {node.name!r}: its weights are out of all proportion to its calibrated "
            "range"
        )
    if options.disclose == "minimal":
        return shifts.by_size(math.prod(ideal.shape[1:]), result, options)
    averaged = averaged_bits(formats.graph, node)
    if options.uniform is not None:
        found = shifts.uniform(options.uniform, peak, averaged)
    else:
        wanted = formats.widths.weight.get(node.output, options.weight_bits)
        weight_bits = shifts.layer_weight_bits(wanted, result)
        log_peak = math.log2(peak) if peak > 0 else -math.inf
        found = shifts.by_peak(log_peak, weight_bits, formats.bits(node.output), averaged)
    if found.weight_bits > MAX_WEIGHT_BITS:
        raise BadPlan(
            f"{node.op} {node.name!r} needs weights of {found.weight_bits} bits, {MAX_WEIGHT_BITS} "
            "are possible: its output range is very small against its input's, or a batch norm's "
            "factor very large"
        )
    return found


def _real_bias(formats: Formats, node: Node, error: F64, residue: Residue | None) -> F64:
    """The bias in real numbers, `(M,1,1)` or `(M,H',W')`.

    It takes what the operand's integers leave out, and the mean effect of the weights' `error`,
    from the mean of each input channel (bias correction: Nagel et al., ICCV 2019, section 4.2).
    """
    convolution = OPS[node.op].convolution(node)
    wrong = _mean_error(formats, node, replace(convolution, weight=error), residue)
    bias = convolution.bias - formats.zero(node.output) - wrong * formats.unit(node.output)
    if residue is not None:
        bias = bias + convolution.of_constants(_channel_means(residue.mean))
    bias = bias.reshape(-1, 1, 1)
    if residue is not None and residue.exact.any():
        bias = bias + _response(formats.graph, node, residue.exact)
        if (bias == bias[:, :1, :1]).all():
            bias = bias[:, :1, :1]
    return np.asarray(bias)


def _mean_error(formats: Formats, node: Node, error: Convolution, residue: Residue | None) -> F64:
    """Mean of what an error in the weights adds to each output, `(M,)`, in output units."""
    unit, mean = formats.unit(node.inputs[0]), formats.ranges.mean[node.inputs[0]]
    if residue is not None:
        mean = mean - _channel_means(residue.exact) - _channel_means(residue.mean)
    integers = np.where(unit != 0, mean / np.where(unit != 0, unit, 1.0), 0.0)
    return error.of_constants(integers)


def _channel_means(array: Array) -> F64:
    return np.asarray(array.reshape(array.shape[1], -1).mean(axis=1), np.float64)


def _response(graph: Graph, node: Node, constant: Array) -> F64:
    """The linear part's answer to a constant tensor, float64 `(M,H',W')`; zero padding makes it
    depend on the place.
    """
    bias = "shift" if node.op == "Scale" else "bias"
    plain = node.with_(consts={**node.consts, bias: np.zeros_like(node.consts[bias])})
    answer = np.asarray(OPS[node.op].evaluate(plain, [constant.astype(np.float64)]), np.float64)[0]
    shape = graph.shapes[node.output]
    return answer.reshape(-1, *(shape[2:] if len(shape) == 4 else (1, 1)))


def _quantise_bias(formats: Formats, node: Node, bias: F64, shift: int) -> I64:
    """The bias in the layer's ring, with the half that makes an exact truncation
    round to nearest.
    """
    scaled = np.rint(bias / formats.unit(node.output)[:, None, None] * 2.0**shift)
    if np.abs(scaled).max(initial=0.0) >= 2.0**62:
        raise BadPlan(
            f"{node.op} {node.name!r}: its bias is out of all proportion to its calibrated range"
        )
    half = 1 << (shift - 1) if formats.options.rounding == "exact" and shift > 0 else 0
    return scaled.astype(np.int64) + half
