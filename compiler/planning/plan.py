"""The plan: ranges to scales, floats to integers, and the ring of every value.

A value is integers in a ring of `ring_bits` bits; its real numbers are the integers times a unit
per channel, which the vendor alone knows. Units are chosen so that the calibrated range of each
class of channels (see `fields`) fills `activation_bits`, and are absorbed into the integer weights
of the layers around: a linear layer maps units `u_in` to `u_out` with weights `round(w * u_in /
u_out * 2^s)` in the ring of `ring_bits + s` bits, and the truncation after it drops s bits. Units
need be no powers of two and cost nothing at run time.

`relu(g*x + h)` with g, h per channel is `g * gate(x + c)`, `c = h/g`: the gate's threshold is
`round(c / u)`, and the factor g goes into the unit of its result, of either sign
(docs/decisions/0002-channel-scales.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from moiety.compiler.ir.graph import Array, Graph, Node, Shape
from moiety.compiler.ir.ops import LINEAR, OPS, REINDEXING, SHARED_RING
from moiety.compiler.ir.ops.pooling import window_factors
from moiety.compiler.ir.queries import output_layers, revealed
from moiety.compiler.ir.scale_fields import Classes
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.planning.ranges import Ranges
from moiety.compiler.planning.units import (
    Units,
    Widths,
    choose_units,
    class_widths,
    gate_thresholds,
    ideal_weights,
    linear_constants,
)
from moiety.protocols.errors import BadPlan
from moiety.protocols.linear.parameters import MAX_WEIGHT_BITS

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

OUTPUT_INTEGER_BITS = 10
"""Integer bits of revealed values, sign included, where their range asks for no
more: a constant discloses nothing.
"""

MAX_LAYER_BITS = 44
"""Linear layers get no wider ring for the sake of their weights' precision."""

MAX_EXTRA_SHIFT = 8
"""A truncation drops at most this many bits more than a weight has: beyond
it, the weights do not matter.
"""

MAX_POOL_SHIFT = 3
"""Further fractional bits of the weights below an average pool in the uniform
style: its rings are wide already.
"""


@dataclass(frozen=True, eq=False)
class LinearPlan:
    """Integers of one linear layer, in the ring of `bits` bits.

    weight: int32 `(M, C/groups, kh, kw)`. bias: int64 `(M,1,1)` or `(M,H',W')`. shift: bits to
    truncate afterwards, down to `out_bits`. weight_bits: bound that the Program states.
    """

    weight: npt.NDArray[np.int32]
    bias: I64
    groups: int
    shift: int
    out_bits: int
    weight_bits: int

    @property
    def bits(self) -> int:
        return self.out_bits + self.shift


@dataclass(frozen=True, eq=False)
class GatePlan:
    """Secrets of one AffineRelu: threshold int64 `(C,)`, flip uint8 `(C,)`.

    clamped: channels whose gate never changes. constant: channels with factor
    0, the model's own or frozen.
    """

    threshold: I64
    flip: npt.NDArray[np.uint8]
    clamped: int
    constant: int


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything that lowering needs. `graph` has its constant gates frozen; `rings` are those of
    values between layers, `widths` what departs from the options.
    """

    graph: Graph
    options: PlanOptions
    ranges: Ranges
    units: Units
    input_unit: float
    input_bits: int
    output_unit: float
    output_bits: dict[str, int]
    rings: dict[str, int]
    widths: Widths
    linears: dict[str, LinearPlan] = field(default_factory=dict)
    gates: dict[str, GatePlan] = field(default_factory=dict)
    constants: dict[str, I64] = field(default_factory=dict)

    def unit(self, value: str) -> F64:
        """Real number per integer step of each channel of `value`, `(C,)`."""
        return self.units.of(self.graph, value)

    def zero(self, value: str) -> F64:
        """Real number that integer 0 stands for in each channel of `value`, a linear layer's result
        or a gate's operand, `(C,)`.
        """
        return self.units.zero_of(self.graph, value)

    def bits(self, value: str) -> int:
        """Width of the ring in which `value` is kept between layers."""
        return self.rings[value]

    def compared_bits(self, value: str) -> int:
        """Width of a ring that holds `value` itself: comparisons need no wider one."""
        return min(int(self.units.bits_of(self.graph, value).max()), self.rings[value])


def make_plan(
    graph: Graph, ranges: Ranges, options: PlanOptions, widths: Widths | None = None
) -> Plan:
    """Plan a legalised Graph, with `widths` instead of those of the options where given.
    BadPlan where there is no room.
    """
    ranges.check(graph)
    widths = widths or Widths()
    graph, units = choose_units(graph, ranges, options, widths)
    (source,) = graph.inputs
    input_unit = float(units.of(graph, source)[0])
    output_unit = 2.0 ** -(options.output_frac if options.uniform is None else options.uniform)
    output_bits = _output_bits(graph, ranges, options)
    plan = Plan(
        graph=graph,
        options=options,
        ranges=ranges,
        units=units,
        input_unit=input_unit,
        input_bits=options.ring_bits
        if options.uniform is not None
        else options.activation_bits + 1,
        output_unit=output_unit,
        output_bits=output_bits,
        rings=ring_widths(graph, {v: int(units.bits_of(graph, v).max()) for v in graph.shapes})
        | output_bits,
        widths=widths,
    )
    _quantise(plan)
    return plan


def ring_widths(graph: Graph, needed: Mapping[str, int]) -> dict[str, int]:
    """The ring of every value between layers, from that which each needs for itself.

    Values that ops of one ring tie together take the widest that any of them needs: linear layers
    and ReLUs can write any ring, and so a narrow value is never extended, at the price of a
    comparison, to meet a wider one.
    """
    return {
        value: max(needed[other] for other in tied) for value, tied in tied_rings(graph).items()
    }


def tied_rings(graph: Graph) -> dict[str, tuple[str, ...]]:
    """For every value, all that are in one ring with it."""
    tied, names = Classes(), tuple(graph.shapes)
    ids = dict(zip(names, tied.fresh(len(names)).tolist(), strict=True))
    for node in graph.nodes:
        if node.op in SHARED_RING:
            tied.tie([ids[node.output], *(ids[value] for value in node.inputs)])
    together: dict[int, list[str]] = {}
    for value in names:
        together.setdefault(tied.root(ids[value]), []).append(value)
    found = {root: tuple(values) for root, values in together.items()}
    return {value: found[tied.root(ids[value])] for value in names}


def _output_bits(graph: Graph, ranges: Ranges, options: PlanOptions) -> dict[str, int]:
    """Ring width of the output layers' values and of what is reindexed from them."""
    if options.uniform is not None:
        return {}
    widths: dict[str, int] = {}
    for output in graph.outputs:
        value = revealed(graph, output)
        layers = output_layers(graph, value) or []
        reach = max(
            float(np.abs([ranges.low[layer], ranges.high[layer]]).max()) for layer in layers
        )
        needed = 1 + math.ceil(math.log2(max(reach, 1e-30) * 2.0**options.margin_bits))
        bits = options.output_frac + max(OUTPUT_INTEGER_BITS, needed)
        pending = [value, output]
        while pending:
            widths[pending[-1]] = bits
            name = pending.pop()
            node = graph.producer(name)
            if node is not None and name not in layers:
                pending.extend(node.inputs)
    return widths


@dataclass(frozen=True, eq=False)
class _Rest:
    """What a value is beyond its integers times units: exactly, and in the mean over images."""

    exact: Array
    mean: Array

    def spread(self, shape: Shape) -> _Rest:
        """From one number per channel to the whole shape."""
        per_channel = (1, -1) + (1,) * (len(shape) - 2)
        exact, mean = (
            np.broadcast_to(a.reshape(per_channel), shape) for a in (self.exact, self.mean)
        )
        return _Rest(exact, mean)


def _quantise(plan: Plan) -> None:
    """Weights, biases, thresholds and constants, in the Graph's order."""
    graph, rests = plan.graph, dict[str, _Rest]()
    for node in graph.nodes:
        if node.op == "AffineRelu":
            rests[node.output] = _gate(plan, node).spread(graph.shapes[node.output])
        elif node.op in LINEAR:
            plan.linears[node.output] = _linear(plan, node, rests.get(node.inputs[0]))
        elif node.op == "AddConst":
            unit = plan.unit(node.output).reshape(
                (-1,) + (1,) * (len(graph.shapes[node.output]) - 2)
            )
            plan.constants[node.output] = np.rint(
                node.consts["value"].astype(np.float64)[0] / unit
            ).astype(np.int64)
        elif node.op in REINDEXING and any(value in rests for value in node.inputs):
            zeros = {value: np.zeros(graph.shapes[value]) for value in node.inputs}
            operands = [
                rests.get(value, _Rest(zeros[value], zeros[value])) for value in node.inputs
            ]
            run = OPS[node.op].evaluate
            exact, mean = (
                run(node, [r.exact for r in operands]),
                run(node, [r.mean for r in operands]),
            )
            rests[node.output] = _Rest(np.asarray(exact), np.asarray(mean))


def _gate(plan: Plan, node: Node) -> _Rest:
    """Quantises one AffineRelu. Returns what its real result has per channel,
    `(C,)`, beyond `g * gate(x + c)`.

    A threshold beyond half the ring means that the gate never changes; it is moved to half the
    ring, where for every x within the other half it is as constant, and nothing overflows. An open
    gate then gives `g * (x + c')` instead of `g*x + h`: the constant `h - g*c'` is missing. With
    g = 0 the result is the constant relu(h). The rounding of the other thresholds is missing as
    often as the gate was open on the calibration images.
    """
    gain, shift = (node.consts[name].astype(np.float64) for name in ("scale", "shift"))
    unit = plan.unit(node.inputs[0])
    bound = 2.0 ** (plan.units.bits_of(plan.graph, node.inputs[0]) - 2) - 1
    threshold = gate_thresholds(plan.units.scales, plan.units.zero, node)
    shift = shift + gain * plan.zero(node.inputs[0])
    with np.errstate(over="ignore"):
        wanted = np.rint(threshold / unit)
    clamped = np.abs(wanted) > bound
    moved = np.clip(wanted, -bound, bound)
    flip = gain < 0
    always_open = clamped & ((moved > 0) != flip)
    offset = np.where(always_open, shift - gain * moved * unit, 0.0)
    offset = np.where(gain == 0, np.maximum(shift, 0.0), offset)
    plan.gates[node.output] = GatePlan(
        threshold=moved.astype(np.int64),
        flip=flip.astype(np.uint8),
        clamped=int(np.count_nonzero(clamped)),
        constant=int(np.count_nonzero(gain == 0)),
    )
    rounding = np.where(
        clamped | (gain == 0), 0.0, gain * (np.where(clamped, 0.0, threshold) - moved * unit)
    )
    return _Rest(offset, plan.ranges.open[node.output] * rounding)


def _linear(plan: Plan, node: Node, rest: _Rest | None) -> LinearPlan:
    """Integer weights and bias of a Conv, Gemm or (depthwise) Scale.

    The bias takes what the operand's integers leave out, and the mean effect of
    rounding the weights, from the mean of each input channel (bias correction: Nagel et
    al., ICCV 2019, section 4.2).
    """
    options = plan.options
    _, bias, groups = linear_constants(node)
    unit_out = plan.unit(node.output)
    ideal = ideal_weights(plan.graph, plan.units, node)
    shift, weight_bits = _choose_shift(plan, node, ideal)
    integers = np.rint(ideal * 2.0**shift)
    expected = (
        bias
        - plan.zero(node.output)
        - _mean_error(plan, node, integers * 2.0**-shift - ideal, rest) * unit_out
    )
    if rest is not None:
        expected = expected + _sum_of_means(node, _channel_means(rest.mean))
    real_bias = expected.reshape(-1, 1, 1)
    if rest is not None and rest.exact.any():
        real_bias = real_bias + _response(node, rest.exact).reshape(-1, *_spatial(plan, node))
        if (real_bias == real_bias[:, :1, :1]).all():
            real_bias = real_bias[:, :1, :1]
    scaled = np.rint(real_bias / unit_out[:, None, None] * 2.0**shift)
    if np.abs(scaled).max(initial=0.0) >= 2.0**62:
        raise BadPlan(
            f"{node.op} {node.name!r}: its bias is out of all proportion to its calibrated range"
        )
    half = 1 << (shift - 1) if options.rounding == "exact" and shift > 0 else 0
    out_bits = plan.bits(node.output)
    return LinearPlan(
        integers.astype(np.int32),
        scaled.astype(np.int64) + half,
        groups,
        shift,
        out_bits,
        weight_bits,
    )


def _channel_means(array: Array) -> F64:
    return np.asarray(array.reshape(array.shape[1], -1).mean(axis=1), np.float64)


def _sum_of_means(node: Node, means: F64, weight: F64 | None = None) -> F64:
    """Result of a linear op (or of other weights in its place) for constant input channels
    `(C,)`, borders left aside: `(M,)`.
    """
    own, _, groups = linear_constants(node)
    taps = (own if weight is None else weight).sum(axis=(2, 3))
    filters, depth = taps.shape
    return np.asarray(
        np.einsum(
            "gmc,gc->gm", taps.reshape(groups, -1, depth), means.reshape(groups, depth)
        ).reshape(filters)
    )


def _mean_error(plan: Plan, node: Node, error: F64, rest: _Rest | None) -> F64:
    """Mean of what an error in the weights adds to each output, `(M,)`, in output units."""
    unit = plan.unit(node.inputs[0])
    mean = plan.ranges.mean[node.inputs[0]]
    if rest is not None:
        mean = mean - _channel_means(rest.exact) - _channel_means(rest.mean)
    integers = np.where(unit != 0, mean / np.where(unit != 0, unit, 1.0), 0.0)
    return _sum_of_means(node, integers, error)


def _spatial(plan: Plan, node: Node) -> tuple[int, int]:
    shape = plan.graph.shapes[node.output]
    return (shape[2], shape[3]) if len(shape) == 4 else (1, 1)


def _response(node: Node, offset: Array) -> F64:
    """The linear part's answer to a constant tensor, in float64; zero padding
    makes it depend on the place.
    """
    bias = "shift" if node.op == "Scale" else "bias"
    plain = node.with_(consts={**node.consts, bias: np.zeros_like(node.consts[bias])})
    return np.asarray(OPS[node.op].evaluate(plain, [offset.astype(np.float64)]), np.float64)[0]


def _choose_shift(plan: Plan, node: Node, ideal: F64) -> tuple[int, int]:
    """The largest shift that keeps the integer weights within their bits (uniform style: its
    fractional bits), and those bits.
    """
    peak = float(np.abs(ideal).max(initial=0.0))
    if not math.isfinite(peak):
        raise BadPlan(
            f"{node.op} {node.name!r}: its weights are out of all proportion to its calibrated range"
        )
    options = plan.options
    if options.uniform is not None:
        # Below an average pool the 1/k is in the weights: they keep (most of)
        # their precision with more bits.
        pooled = min(MAX_POOL_SHIFT, math.ceil(math.log2(_pooled(plan.graph, node))))
        shift = options.uniform + pooled
        weight_bits = max(2, 2 + math.floor(math.log2(peak * 2.0**shift + 1)))
    elif options.disclose == "minimal":
        return class_widths(node, node.output in plan.output_bits, options)
    else:
        weight_bits = plan.widths.weight.get(node.output, options.weight_bits)
        if node.output in plan.output_bits:
            weight_bits = min(
                weight_bits + 4, MAX_WEIGHT_BITS
            )  # a small layer, and nothing after it hides its error
        most = weight_bits + MAX_EXTRA_SHIFT
        shift = (
            most
            if peak == 0
            else min(most, math.floor(math.log2((2.0 ** (weight_bits - 1) - 1) / peak)))
        )
        shift = min(shift, MAX_LAYER_BITS - plan.bits(node.output))
        if shift < 0:
            weight_bits, shift = weight_bits - shift, 0
    if weight_bits > MAX_WEIGHT_BITS:
        raise BadPlan(
            f"{node.op} {node.name!r} needs weights of {weight_bits} bits, {MAX_WEIGHT_BITS} are possible: its "
            "output range is very small against its input's, or a batch norm's factor very large"
        )
    return shift, weight_bits


def _pooled(graph: Graph, node: Node) -> int:
    """What the average pools below a layer divide by, from the architecture alone."""
    divisor, below = 1, graph.producer(node.inputs[0])
    while below is not None and below.op in REINDEXING:
        if below.op == "AvgPool":
            divisor *= window_factors(graph, below).divisor
        below = graph.producer(below.inputs[0])
    return divisor
