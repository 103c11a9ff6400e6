"""What the search for widths walks over: price and squared error of a plan as sums
of terms in a few widths each.

It follows the rules by which plan.py and lower.py turn widths into rings, without making the
integers: from one reference plan, every unit scales as 2^-bits. Rings, shifts and digits are
exact except where other widths would choose a coarser unit or freeze a gate; a test holds
them against those of real plans.

Prices are nanoseconds: bytes on the network that the Program is planned for, and the work of both
parties, at the format's column of protocols/prices. Squared errors are those of error_model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from moiety.compiler.ir.graph import Graph, Node
from moiety.compiler.ir.ops import LINEAR
from moiety.compiler.lowering.lower import Widening
from moiety.compiler.planning.error import FIXED, TRUNCATION, gate_rounding, required_responses
from moiety.compiler.planning.plan import MAX_EXTRA_SHIFT, MAX_LAYER_BITS, Plan, tied_rings
from moiety.compiler.planning.units import all_output_layers, ideal_weights, linear_constants
from moiety.protocols.compare import digits
from moiety.protocols.errors import BadPlan
from moiety.protocols.linear.layout import Geometry, Layout
from moiety.protocols.linear.parameters import MAX_WEIGHT_BITS, Masking
from moiety.protocols.linear.planner import layout_price, plan_linear
from moiety.protocols.network import NETWORKS, Network

I64 = npt.NDArray[np.int64]
State = list[int]
"""A width for every variable."""

NARROWEST, WIDEST = 5, 14
"""Widths that are tried for activations and for weights."""


UNAFFORDABLE = 1e15
"""Price of a layer that no RLWE parameters hold: days."""


@dataclass(frozen=True)
class Variable:
    """Activation bits of the values that share scales, or weight bits of one layer.
    fixed: not to be searched for.
    """

    kind: str
    values: tuple[str, ...]
    fixed: bool


@dataclass(frozen=True)
class Term:
    """Price and squared error as a function of some variables."""

    depends: frozenset[int]
    evaluate: Callable[[State], tuple[float, float]]


@dataclass(frozen=True)
class _Layer:
    """A linear layer's widths. peaks: by activation variable of its operand, log2 of its largest
    weight from there, and the squared error of its weights, at the reference units and shift 0.
    """

    weight: int
    out: int
    peaks: tuple[tuple[int, float, float], ...]
    ring: Callable[[State], int]
    ring_depends: frozenset[int]
    extra: int
    reference: int

    @property
    def depends(self) -> frozenset[int]:
        return (
            self.ring_depends
            | {self.weight, self.out}
            | {variable for variable, _, _ in self.peaks}
        )

    def widths(self, state: State) -> tuple[int, int, int]:
        """(shift, weight bits, ring) as `plan._choose_shift` chooses them."""
        bits, ring = min(state[self.weight] + self.extra, MAX_WEIGHT_BITS), self.ring(state)
        most = bits + MAX_EXTRA_SHIFT
        if self.peaks:
            peak = max(log - state[variable] for variable, log, _ in self.peaks) + state[self.out]
            most = min(most, math.floor(math.log2(2.0 ** (bits - 1) - 1) - peak))
        shift = min(most, MAX_LAYER_BITS - ring)
        return (shift, bits, ring + shift) if shift >= 0 else (0, bits - shift, ring)

    def squared_error(self, state: State) -> float:
        shift, reference = self.widths(state)[0], self.reference
        total = sum(
            error * 4.0 ** (state[variable] - reference) for variable, _, error in self.peaks
        )
        return total * 4.0 ** (reference - state[self.out] - shift)


class Landscape:
    """Terms of a legalised Graph, around a reference plan whose widths
    are all those of its options.
    """

    def __init__(self, reference: Plan) -> None:
        self.plan, self.graph = reference, reference.graph
        self.bits, self.margin = reference.options.activation_bits, reference.options.margin_bits
        self.masking = reference.options.masking
        self.network = NETWORKS[reference.options.network]
        self.responses = required_responses(reference.ranges)
        self.variables: list[Variable] = []
        self.terms: list[Term] = []
        self.of_id = self._activation_variables()
        self.weight_of = self._weight_variables()
        self.rings = tied_rings(self.graph)
        self.layers = {
            node.output: self._layer(node) for node in self.graph.nodes if node.op in LINEAR
        }
        self._errors()
        self._layers()
        self._comparisons()
        self.touched: list[list[int]] = [[] for _ in self.variables]
        for number, term in enumerate(self.terms):
            for variable in term.depends:
                self.touched[variable].append(number)

    # --- variables --------------------------------------------------------------------------------

    def _activation_variables(self) -> I64:
        """Variable of every class id: values whose channels are tied together share one."""
        scales, graph = self.plan.units.scales, self.graph
        roots = scales.classes.roots()
        fixed = {*graph.inputs, *all_output_layers(graph)}
        group_of_root: dict[int, list[str]] = {}
        for value, ids in scales.sources.items():
            members = {
                id(group): group
                for root in roots[ids]
                if (group := group_of_root.get(int(root))) is not None
            }
            merged = [value, *(name for group in members.values() for name in group)]
            for name in merged:
                for root in roots[scales.sources[name]]:
                    group_of_root[int(root)] = merged
        of_id = np.zeros(len(roots), np.int64)
        for group in {id(group): group for group in group_of_root.values()}.values():
            for name in group:
                of_id[scales.sources[name]] = len(self.variables)
            names = tuple(name for name in scales.sources if name in group)
            self.variables.append(Variable("activation", names, not fixed.isdisjoint(names)))
        return of_id

    def _weight_variables(self) -> dict[str, int]:
        """The layers that write the results are small, and nothing
        after them hides their errors.
        """
        found, last = {}, set(all_output_layers(self.graph))
        for node in self.graph.nodes:
            if node.op in LINEAR:
                found[node.output] = len(self.variables)
                self.variables.append(Variable("weight", (node.output,), node.output in last))
        return found

    def state(self, activation: int, weight: int) -> State:
        """The same widths everywhere, fixed variables as in the reference."""
        options = self.plan.options
        return [
            (options.activation_bits if v.kind == "activation" else options.weight_bits)
            if v.fixed
            else (activation if v.kind == "activation" else weight)
            for v in self.variables
        ]

    def channels(self, value: str) -> I64:
        """Activation variable of each channel, `(C,)`."""
        ids = self.plan.units.scales.fields[value].ids
        flat = self.of_id[ids.reshape(*ids.shape[:2], -1)[0, :, 0]]
        return np.broadcast_to(flat, (self.graph.shapes[value][1],))

    def inside(self, value: str) -> frozenset[int]:
        """All activation variables of a value's elements."""
        return frozenset(
            int(v) for v in np.unique(self.of_id[self.plan.units.scales.fields[value].ids])
        )

    def ring(self, value: str) -> tuple[Callable[[State], int], frozenset[int]]:
        """The ring that a value is kept in, and what it depends on."""
        fixed = self.plan.output_bits.get(value)
        if fixed is not None:
            return (lambda state: fixed), frozenset()
        depends = frozenset().union(*(self.inside(other) for other in self.rings[value]))
        return self._widest(depends), depends

    def _widest(self, variables: Iterable[int]) -> Callable[[State], int]:
        members, margin = tuple(variables), self.margin
        if len(members) == 1:
            (only,) = members
            return lambda state: state[only] + margin
        return lambda state: max(map(state.__getitem__, members)) + margin

    # --- terms ------------------------------------------------------------------------------------

    def _layer(self, node: Node) -> _Layer:
        units, (operand,) = self.plan.units, node.inputs
        ideal = np.abs(ideal_weights(self.graph, units, node))
        filters, depth = ideal.shape[:2]
        groups = linear_constants(node)[2]
        peaks = np.zeros(groups * depth)
        channel = (np.arange(filters) // (filters // groups))[:, None] * depth + np.arange(depth)[
            None, :
        ]
        np.maximum.at(peaks, channel, ideal.max(axis=(2, 3)))
        unit = self.plan.unit(operand)
        errors = self.responses.weight[node.output] * np.divide(
            1.0, unit**2, out=np.zeros_like(unit), where=unit != 0
        )
        variable = self.channels(operand)
        found = tuple(
            (int(v), math.log2(peak), FIXED * float(errors[variable == v].sum()))
            for v in np.unique(variable)
            if (peak := float(peaks[variable == v].max())) > 0
        )
        ring, depends = self.ring(node.output)
        out = int(self.channels(node.output)[0])
        extra = 4 if node.output in self.plan.output_bits else 0
        return _Layer(self.weight_of[node.output], out, found, ring, depends, extra, self.bits)

    def _errors(self) -> None:
        """Rounding of what layers write, and of thresholds: by activation variable."""
        totals = np.zeros(len(self.variables))
        for value in self.layers:
            squares = TRUNCATION * self.responses.noise[value] * self.plan.unit(value) ** 2
            np.add.at(totals, self.channels(value), squares)
        for node in self.graph.nodes:
            if node.op == "AffineRelu":
                unit = self.plan.unit(node.inputs[0])
                aligned = np.abs(gate_rounding(self.graph, self.plan.units, node)) < 1e-6 * np.abs(
                    unit
                )
                squares = (
                    FIXED * self.responses.gate[node.output] * np.where(aligned, 0.0, unit) ** 2
                )
                np.add.at(totals, self.channels(node.inputs[0]), squares)
        for variable in np.flatnonzero(totals):
            self.terms.append(
                Term(
                    frozenset({int(variable)}), self._noise(int(variable), float(totals[variable]))
                )
            )

    def _noise(self, variable: int, total: float) -> Callable[[State], tuple[float, float]]:
        return lambda state: (0.0, total * 4.0 ** (self.bits - state[variable]))

    def _layers(self) -> None:
        exact = self.plan.options.rounding == "exact"
        widening = Widening(self.graph)
        for node in self.graph.nodes:
            if node.op not in LINEAR:
                continue
            layer, geometry = self.layers[node.output], self._geometry(node)
            n = math.prod(self.graph.shapes[node.output])
            extended = None if node.inputs[0] in widening.free else self.ring(node.inputs[0])
            inputs = math.prod(self.graph.shapes[node.inputs[0]])

            def evaluate(
                state: State,
                layer: _Layer = layer,
                geometry: Geometry = geometry,
                n: int = n,
                inputs: int = inputs,
                extended: tuple[Callable[[State], int], frozenset[int]] | None = extended,
            ) -> tuple[float, float]:
                shift, weight_bits, bits = layer.widths(state)
                ns = layer_price(geometry, bits, weight_bits, self.masking)
                if exact and shift:
                    ns += comparison_price(n, shift, 1, self.network)
                if extended is not None and extended[0](state) < bits:
                    ns += comparison_price(inputs, extended[0](state), 1, self.network)
                return ns, layer.squared_error(state)

            depends = layer.depends | (extended[1] if extended is not None else frozenset())
            self.terms.append(Term(depends, evaluate))

    def _geometry(self, node: Node) -> Geometry:
        shapes = [tuple(self.graph.shapes[value][1:]) for value in (node.inputs[0], node.output)]
        (c, h, w), (m, rows, columns) = (
            shape if len(shape) == 3 else (shape[0], 1, 1) for shape in shapes
        )
        weight, _, groups = linear_constants(node)
        conv = node.op == "Conv"
        pads = tuple(node.attrs["pads"]) if conv else (0, 0, 0, 0)
        dilations = tuple(node.attrs["dilations"]) if conv else (1, 1)
        kernel = (weight.shape[2], weight.shape[3])
        return Geometry((c, h, w), (m, rows, columns), kernel, pads, dilations, groups)

    def _comparisons(self) -> None:
        """ReLUs: a comparison for each part of their operand, in its own ring, shared by all
        that read it; and a multiplexer each, into the widest ring that a layer asks for.
        Max-pools: both, in the pool's ring.
        """
        readers = Widening(self.graph).readers()
        users: dict[str, int] = {}
        for node in self.graph.nodes:
            n = math.prod(self.graph.shapes[node.output])
            if node.op in ("Relu", "AffineRelu"):
                for part in _parts(self.graph, node.inputs[0]):
                    users[part] = users.get(part, 0) + 1
                self._multiplexer(
                    n,
                    [self.layers[layer] for layer in readers[node.output]],
                    self.ring(node.output),
                )
            elif node.op == "MaxPool":
                rows = math.prod(self.graph.shapes[node.inputs[0]]) // node.attrs["strides"][1]
                maxima = rows * (node.attrs["kernel"][1] - 1) + n * (node.attrs["kernel"][0] - 1)
                ring, depends = self.ring(node.output)
                self._comparison(maxima, 1, ring, depends)
                self._multiplexer(maxima, [], (ring, depends))
        share = self.plan.options.share_gates
        for part, count in users.items():
            n, own = math.prod(self.graph.shapes[part]), self.inside(part)
            if share and count <= digits.MAX_THRESHOLDS:
                self._comparison(n, count, self._widest(own), own)
            else:
                self._comparison(n * count, 1, *self.ring(part))

    def _comparison(
        self, n: int, count: int, ring: Callable[[State], int], depends: frozenset[int]
    ) -> None:
        self.terms.append(
            Term(
                depends,
                lambda state: (comparison_price(n, ring(state) - 1, count, self.network), 0.0),
            )
        )

    def _multiplexer(
        self, n: int, layers: list[_Layer], ring: tuple[Callable[[State], int], frozenset[int]]
    ) -> None:
        depends = ring[1].union(*(layer.depends for layer in layers))

        def evaluate(state: State) -> tuple[float, float]:
            bits = max([ring[0](state), *(layer.widths(state)[2] for layer in layers)])
            return 4 * n * bits * self.network.bit / 1000, 0.0

        self.terms.append(Term(depends, evaluate))


def _parts(graph: Graph, value: str) -> list[str]:
    """The values that a value is a concatenation of along its channels."""
    node = graph.producer(value)
    if node is None or node.op != "Concat" or node.attrs["axis"] != 1:
        return [value]
    return [part for operand in node.inputs for part in _parts(graph, operand)]


@lru_cache(maxsize=1 << 16)
def comparison_price(n: int, bits: int, count: int, network: Network) -> float:
    """Nanoseconds of comparing n values of `bits` bits with `count` thresholds each."""
    plan = digits.plan_digits(bits, count, n, network)
    return digits.digits_price(plan, count, n, network) / 1000


@lru_cache(maxsize=1 << 16)
def layer_price(geometry: Geometry, bits: int, weight_bits: int, masking: Masking) -> float:
    """Nanoseconds of a homomorphic layer: the best of a few layouts, each
    the best for some widths nearby.
    """
    best = min(
        layout_price(layout, bits, weight_bits, masking) for layout in _layouts(geometry, masking)
    )
    if best < math.inf:
        return best
    try:
        layout = plan_linear(geometry, bits, weight_bits, masking).layout
        return layout_price(layout, bits, weight_bits, masking)
    except BadPlan:
        return UNAFFORDABLE


@lru_cache(maxsize=1 << 12)
def _layouts(geometry: Geometry, masking: Masking) -> tuple[Layout, ...]:
    anchors = ((18, NARROWEST + 1), (26, WIDEST - 2))
    return tuple({plan_linear(geometry, *anchor, masking).layout for anchor in anchors})
