"""The error model: how rounding anywhere in the Graph moves the results, to first order.

Every rounding of a plan is a small perturbation of the real computation. Perturbations of different
tensors, layers and gates are taken as independent, so their variances at the results add up, each
being (variance of the rounding) times (response of the results to it). Responses are means over a
few calibration images of squared derivatives, found by reverse-mode differentiation from random
signs on the results: for r uniform in {-1, 1}^K, `E[(r^T J e)^2]` is the sum of the variances of
all K results (Hutchinson, 1990). They are in real numbers, free of any plan's widths, and are kept
with the calibrated ranges, for they need the images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from moiety.compiler.ir.evaluate import run_graph
from moiety.compiler.ir.graph import Array, Graph, Node, channelwise
from moiety.compiler.ir.ops import LINEAR, OPS
from moiety.compiler.ir.queries import revealed
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.planning.plan import Plan
from moiety.compiler.planning.ranges import Progress, Ranges, Responses
from moiety.compiler.planning.scales import propagate
from moiety.compiler.planning.units import Units, choose_units, gate_thresholds
from moiety.protocols.errors import BadInput

F64 = npt.NDArray[np.float64]

IMAGES = 8
"""Images that responses are averaged over; they vary far less from
image to image than activations do.
"""

FIXED = 1 / 12
"""Variance of rounding to nearest, in squared units."""

TRUNCATION = 1 / 6
"""Variance of a truncation's rounding, in squared units: stochastic, it goes up with probability
p = frac(x), and the mean of p(1-p) is 1/6. Exact, it is half of that, but errors are alike at
neighbouring pixels where an image is flat: twice that has been measured on DenseNet-121.
"""


def predicted_error(plan: Plan) -> float:
    """Root mean square, over images and results, of the plan's error at the results.

    BadInput if the ranges have no responses.
    """
    return math.sqrt(sum(error_variances(plan).values()))


def error_variances(plan: Plan) -> dict[str, float]:
    """The parts of the squared error: `noise.VALUE`, `gate.VALUE`, `weight.VALUE`."""
    responses, graph = required_responses(plan.ranges), plan.graph
    reference = choose_units(graph, plan.ranges, PlanOptions())[1]
    parts = {}
    for value, layer in plan.linears.items():
        node = graph.producer(value)
        if node is None:
            continue
        if layer.shift:
            parts[f"noise.{value}"] = TRUNCATION * float(
                responses.noise[value] @ plan.unit(value) ** 2
            )
        unit = plan.unit(node.inputs[0])
        inverse = np.divide(1.0, unit, out=np.zeros_like(unit), where=unit != 0)
        coarser = float(np.mean((plan.unit(value) / reference.of(graph, value)) ** 2))
        step = FIXED * 4.0**-layer.shift * coarser
        parts[f"weight.{value}"] = step * float(responses.weight[value] @ inverse**2)
    for node in graph.nodes:
        if node.op == "AffineRelu":
            rounding = gate_rounding(plan.graph, plan.units, node)
            parts[f"gate.{node.output}"] = float(responses.gate[node.output] @ rounding**2)
    for value in graph.inputs:
        parts[f"noise.{value}"] = FIXED * float(
            responses.noise.get(value, np.zeros(1)) @ plan.unit(value) ** 2
        )
    return parts


def gate_rounding(graph: Graph, units: Units, node: Node) -> F64:
    """What the threshold of each channel of an AffineRelu loses by rounding, `(C,)`;
    0 where the gate is constant.
    """
    threshold, unit = (
        gate_thresholds(units.scales, units.zero, node),
        units.of(graph, node.inputs[0]),
    )
    live = (node.consts["scale"] != 0) & (
        np.abs(threshold) < 2.0 ** (units.bits_of(graph, node.inputs[0]) - 2) * unit
    )
    finite = np.where(live, threshold, 0.0)
    return np.asarray(np.where(live, finite - np.rint(finite / unit) * unit, 0.0))


def required_responses(ranges: Ranges) -> Responses:
    """BadInput if the ranges have none."""
    if ranges.responses is None:
        raise BadInput(
            "these ranges hold no responses of the results to rounding, which the search for "
            "widths needs: calibrate again from images, or give the widths (activation and weight "
            "bits)"
        )
    return ranges.responses


def measure_responses(
    graph: Graph,
    ranges: Ranges,
    images: Sequence[npt.ArrayLike],
    probes: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> Responses:
    """Responses of a legalised Graph over images float `(C,H,W)`, `probes` random signs for each.

    The signs are drawn from `seed`: the same images make the same plan.
    """
    graph, units = choose_units(graph, ranges, PlanOptions())
    responses = _Accumulator(graph, ranges, units)
    rng = np.random.default_rng(seed)
    (source,) = graph.inputs
    results = [revealed(graph, output) for output in graph.outputs]
    for number, image in enumerate(images):
        values = run_graph(graph, {source: np.asarray(image, np.float32)[None]})
        for _ in range(probes):
            grads: dict[str, Array] = {}
            for value in results:
                _add(
                    grads, value, rng.choice(np.array([-1.0, 1.0], np.float32), values[value].shape)
                )
            responses.backward(values, grads)
        if progress is not None:
            progress("measuring sensitivities", number + 1, len(images))
    count = sum(int(np.prod(graph.shapes[value])) for value in results)
    return responses.mean(len(images) * probes * count)


class _Accumulator:
    """Sums of squared derivatives while gradients go from the results to the input."""

    def __init__(self, graph: Graph, ranges: Ranges, units: Units) -> None:
        self.graph, self.ranges, self.units = graph, ranges, units
        self.sources = set(propagate(graph).sources)
        self.found = Responses()

    def backward(self, values: dict[str, Array], grads: dict[str, Array]) -> None:
        for node in reversed(self.graph.nodes):
            grad = grads.pop(node.output, None)
            if grad is None:
                continue
            if node.output in self.sources:
                self.record(self.found.noise, node.output, _per_channel(grad**2))
            if node.op == "AffineRelu":
                self.gate(node, values[node.output], grad)
            if node.op in LINEAR:
                self.weight(node, values[node.inputs[0]], grad)
            operands = [values[value] for value in node.inputs]
            back = OPS[node.op].adjoint(node, operands, values[node.output], grad)
            for value, operand_grad in zip(node.inputs, back, strict=True):
                _add(grads, value, operand_grad)
        for value in self.graph.inputs:
            if value in grads:
                self.record(self.found.noise, value, _per_channel(grads[value] ** 2))

    def gate(self, node: Node, result: Array, grad: Array) -> None:
        """A moved threshold moves a whole channel where its gate is open; the next
        bias takes the mean of that off.
        """
        gain = node.consts["scale"].astype(np.float64)
        left: Array = (result > 0) - channelwise(
            self.ranges.open[node.output].astype(np.float32), grad.ndim
        )
        self.record(self.found.gate, node.output, (gain * _per_channel(grad * left)) ** 2)

    def weight(self, node: Node, operand: Array, grad: Array) -> None:
        """Squared derivatives by weights times the squared unit of their output, summed to
        `(C,)` over everything but the input channel. The mean of an input channel is left out:
        biases are corrected for it.
        """
        centred = operand - channelwise(
            self.ranges.mean[node.inputs[0]].astype(np.float32), operand.ndim
        )
        scaled = grad * channelwise(
            self.units.of(self.graph, node.output).astype(np.float32), grad.ndim
        )
        self.record(self.found.weight, node.output, _squared_weight_gradient(node, centred, scaled))

    def record(self, into: dict[str, F64], value: str, response: F64) -> None:
        into[value] = into.get(value, 0.0) + np.asarray(response, np.float64)

    def mean(self, count: int) -> Responses:
        return Responses(
            *(
                {value: array / count for value, array in kind.items()}
                for kind in self.found.kinds().values()
            )
        )


def _per_channel(array: Array) -> F64:
    return np.asarray(array.sum(axis=(0, *range(2, array.ndim)), dtype=np.float64))


def _add(grads: dict[str, Array], value: str, grad: Array) -> None:
    grads[value] = grads[value] + grad if value in grads else grad


def _squared_weight_gradient(node: Node, operand: Array, grad: Array) -> F64:
    layer = OPS[node.op].convolution(node)
    if operand.ndim == 2:
        operand, grad = operand[:, :, None, None], grad[:, :, None, None]
    filters, depth, kh, kw = layer.weight.shape
    (top, left, bottom, right), (dh, dw), groups = layer.pads, layer.dilations, layer.groups
    height, width = grad.shape[2:]
    padded = np.pad(operand[0], ((0, 0), (top, bottom), (left, right)))
    rows = grad[0].reshape(groups, filters // groups, -1)
    total = np.zeros((groups, depth))
    for i in range(kh):
        for j in range(kw):
            tap = padded[:, i * dh : i * dh + height, j * dw : j * dw + width].reshape(
                groups, depth, -1
            )
            product = rows @ tap.transpose(0, 2, 1)
            total += (product.astype(np.float64) ** 2).sum(axis=1)
    return total.reshape(-1)
