"""Responses: how far the results move for a perturbation anywhere in the Graph, squared.

All but those to the bias of max-pools are to perturbations of mean 0.

Means over a few calibration images of squared derivatives, found by reverse-mode differentiation
from random signs on the results: for r uniform in {-1, 1}^K, `E[(r^T J e)^2]` is the sum of the
variances of all K results (Hutchinson, 1990). They are in real numbers, free of any plan's widths,
and are kept with the calibrated ranges, for they need the images.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moiety.compiler.ir.evaluate import run_graph
from moiety.compiler.ir.graph import Array, Graph, Node, channelwise
from moiety.compiler.ir.ops import LINEAR, OPS, POWERS, PRODUCTS, SPLINES
from moiety.compiler.ir.ops.base import PRICED_BY_TRAIT
from moiety.compiler.ir.scales import propagate
from moiety.compiler.planning.feeds import feeds_of
from moiety.compiler.planning.layers import as_image
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.planning.powers import fitted_power, span
from moiety.compiler.planning.ranges import FINER, Progress, Ranges, Responses
from moiety.compiler.planning.spline_choice import fit_error, fitted_to
from moiety.compiler.planning.splines import KNOTS
from moiety.compiler.planning.unit_choice import choose_units
from moiety.compiler.planning.units import Units
from moiety.protocols.arrays import F64
from moiety.runtime.program import Case

PHASES = (1 / 8, 3 / 8, 5 / 8, 7 / 8)
"""Of the grid of integers, that biases are averaged over."""

IMAGES = 8
"""Images that responses are averaged over; they vary far less from image to image than
activations do.
"""


def measure_responses(
    graph: Graph,
    ranges: Ranges,
    images: Sequence[Case],
    probes: int = 1,
    progress: Progress | None = None,
) -> Responses:
    """Responses of a legalised Graph over images, as `calibrate` takes them, `probes` random
    signs for each.

    The signs are drawn from a fixed seed: the same images make the same plan.
    """
    graph, units = choose_units(graph, ranges, PlanOptions())
    squares = _SquaredDerivatives(graph, ranges, units)
    rng = np.random.default_rng(0)
    results = graph.outputs
    for number, image in enumerate(images):
        values = run_graph(graph, feeds_of(graph, image))
        for _ in range(probes):
            grads: dict[str, Array] = {}
            for value in results:
                signs = rng.choice(np.array([-1.0, 1.0], np.float32), values[value].shape)
                _add(grads, value, signs)
            squares.backward(values, grads)
        if progress is not None:
            progress("measuring sensitivities, image", number + 1, len(images))
    count = sum(int(np.prod(graph.shapes[value])) for value in results)
    return squares.mean(len(images) * probes * count)


class _SquaredDerivatives:
    """Sums of squared derivatives while gradients go from the results to the inputs."""

    def __init__(self, graph: Graph, ranges: Ranges, units: Units) -> None:
        self.graph, self.ranges, self.units = graph, ranges, units
        self.sources = set(propagate(graph).sources)
        self.biased = {node.output for node in biased(graph)}
        self.sums = Responses()

    def backward(self, values: dict[str, Array], grads: dict[str, Array]) -> None:
        """One pass, which uses up `grads`: gradients by value, of the results at first."""
        for node in reversed(self.graph.nodes):
            grad = grads.pop(node.output, None)
            if grad is not None:
                self.record(node, values, grad)
                operands = [values[value] for value in node.inputs]
                back = OPS[node.op].adjoint(node, operands, values[node.output], grad)
                for value, operand_grad in zip(node.inputs, back, strict=True):
                    _add(grads, value, operand_grad)
        for value in self.graph.inputs:
            if value in grads:
                _accumulate(self.sums.noise, value, _per_channel(grads[value] ** 2))

    def record(self, node: Node, values: dict[str, Array], grad: Array) -> None:
        """What the gradient of a node's result says of all that is rounded there."""
        if node.output in self.sources:
            _accumulate(self.sums.noise, node.output, _per_channel(grad**2))
        if node.op == "AffineRelu":
            _accumulate(self.sums.gate, node.output, self.of_gate(node, values[node.output], grad))
        if node.output in self.biased:
            operand, result = values[node.inputs[0]], values[node.output]
            _accumulate(self.sums.pool, node.output, self.of_bias(node, operand, result, grad))
        if node.op in SPLINES:
            operand, result = values[node.inputs[0]], values[node.output]
            of_fits = self.of_power_fits if node.op in POWERS else self.of_fits
            _accumulate(self.sums.fit, node.output, of_fits(node, operand, result, grad))
        if node.op in LINEAR:
            squares = self.of_weights(node, values[node.inputs[0]], grad)
            _accumulate(self.sums.weight, node.output, squares)

    def of_gate(self, node: Node, result: Array, grad: Array) -> F64:
        """A moved threshold moves a whole channel where its gate is open; the next bias takes the
        mean of that off. `(C,)`.
        """
        gain = node.consts["scale"].astype(np.float64)
        often_open = self.ranges.open[node.output].astype(np.float32)
        left: Array = (result > 0) - channelwise(often_open, grad.ndim)
        return np.asarray((gain * _per_channel(grad * left)) ** 2)

    def of_bias(self, node: Node, operand: Array, result: Array, grad: Array) -> F64:
        """Stochastic rounding lifts the whole of a pooled channel: where elements are nearly equal,
        the largest is more likely to have been rounded up than down. In squared units, for units of
        each of FINER, `(len(FINER) * C,)`. Fractions depend on a plan's zeros and exact units, so
        the squares are means over PHASES.
        """
        unit = channelwise(self.units.of(self.graph, node.output), grad.ndim)
        squares = []
        for finer in FINER:
            fine = unit / 2.0**finer
            total = np.zeros(grad.shape[1])
            for phase in PHASES:
                bias = OPS[node.op].rounding_bias(
                    node, operand / fine + phase, result / fine + phase
                )
                total += _per_channel(grad * bias) ** 2
            squares.append(total / len(PHASES))
        return np.concatenate(squares)

    def of_power_fits(self, node: Node, operand: Array, result: Array, grad: Array) -> F64:
        """The fit of a power has an error in proportion to the result, of either sign as its
        operand lies between two knots. For each of KNOTS.
        """
        exponent = node.attrs["exponent"]
        first, last = span(self.graph, self.ranges, PlanOptions(), self.units, node).tolist()
        fits = [fitted_power(exponent, last / first, count).rms for count in KNOTS]
        return np.array(fits) ** 2 * float(_per_channel((grad * result) ** 2).sum())

    def of_fits(self, node: Node, operand: Array, result: Array, grad: Array) -> F64:
        """The fit of an activation errs alike wherever its operand is alike, so its error is summed
        over a channel before it is squared. For each of KNOTS; plans take the mean of a channel
        off.
        """
        squares = []
        for count in KNOTS:
            spline = fitted_to(node, self.ranges, PlanOptions(), count)
            error = fit_error(node, self.ranges, spline, operand)
            squares.append(float((_per_channel(grad * error) ** 2).sum()))
        return np.array(squares)

    def of_weights(self, node: Node, operand: Array, grad: Array) -> F64:
        """Squared derivatives by weights times the squared unit of their output, summed to `(C,)`
        over everything but the input channel. The mean of an input channel is left out: biases are
        corrected for it.
        """
        mean = self.ranges.mean[node.inputs[0]].astype(np.float32)
        unit = self.units.of(self.graph, node.output).astype(np.float32)
        return _squared_weight_gradient(
            node, operand - channelwise(mean, operand.ndim), grad * channelwise(unit, grad.ndim)
        )

    def mean(self, count: int) -> Responses:
        """The sums over `count` gradients, divided by that."""
        return Responses(
            *(
                {value: array / count for value, array in kind.items()}
                for kind in self.sums.kinds().values()
            )
        )


def biased(graph: Graph) -> list[Node]:
    """The ops that compare elements with each other, of which a truncation has rounded some (the
    image's rounding, to nearest, keeps their order).
    """
    rounded: set[str] = set()
    found = []
    for node in graph.nodes:
        if node.op in LINEAR | PRODUCTS or not rounded.isdisjoint(node.inputs):
            rounded.add(node.output)
        if not OPS[node.op].traits & PRICED_BY_TRAIT and not rounded.isdisjoint(node.inputs):
            found.append(node)
    return found


def _accumulate(sums: dict[str, F64], value: str, squares: F64) -> None:
    sums[value] = sums.get(value, 0.0) + np.asarray(squares, np.float64)


def _per_channel(array: Array) -> F64:
    return np.asarray(array.sum(axis=(0, *range(2, array.ndim)), dtype=np.float64))


def _add(grads: dict[str, Array], value: str, grad: Array) -> None:
    grads[value] = grads[value] + grad if value in grads else grad


def _squared_weight_gradient(node: Node, operand: Array, grad: Array) -> F64:
    """Squared derivatives by the weights of a linear op, summed to `(C,)`: one product of gradient
    and operand per tap of the kernel.
    """
    layer = OPS[node.op].convolution(node)
    operand, grad = (each.reshape(1, *as_image(each.shape[1:])) for each in (operand, grad))
    filters, depth, kh, kw = layer.weight.shape
    (top, left, bottom, right), (dh, dw), groups = layer.pads, layer.dilations, layer.groups
    height, width = grad.shape[2:]
    padded = np.pad(operand[0], ((0, 0), (top, bottom), (left, right)))
    rows = grad[0].reshape(groups, filters // groups, -1)
    total = np.zeros((groups, depth))
    for i in range(kh):
        for j in range(kw):
            tap = padded[:, i * dh : i * dh + height, j * dw : j * dw + width]
            product = rows @ tap.reshape(groups, depth, -1).transpose(0, 2, 1)
            total += (product.astype(np.float64) ** 2).sum(axis=1)
    return total.reshape(-1)
