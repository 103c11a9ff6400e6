"""The objective of the search for widths: price and squared error of a plan as sums of terms in a
few widths each.

It follows the rules by which plans and lowering turn widths into rings, without making the
integers: from the formats of one reference, every unit scales as 2^-bits. Rings, shifts and digits
are exact except where other widths would choose a coarser unit or freeze a gate; a test holds them
against those of real plans.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np

from moiety.compiler.ir.graph import Graph, Node
from moiety.compiler.ir.ops import LINEAR, OPS, POWERS, PRODUCTS, RELUS, SPLINES
from moiety.compiler.ir.ops.base import PRICED_BY_TRAIT, Trait
from moiety.compiler.planning.activations import final_spline
from moiety.compiler.planning.error import (
    FIXED,
    TRUNCATION,
    bias_squares,
    biased_pools,
    fit_square,
    threshold_rounding,
)
from moiety.compiler.planning.formats import Formats
from moiety.compiler.planning.layers import averaged_bits, layer_geometry
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.planning.products import SQUARE_ROOM
from moiety.compiler.planning.rings import tied_rings, widening
from moiety.compiler.planning.search.pieces import Pieces, PowerPieces
from moiety.compiler.planning.search.terms import (
    EXTRA_BITS,
    NARROWEST,
    WIDEST,
    Bias,
    Comparison,
    Extension,
    Factors,
    Layer,
    Multiplexer,
    Multiplication,
    Product,
    Ring,
    Rounding,
    Source,
    Term,
)
from moiety.compiler.planning.search.variables import Variables
from moiety.compiler.planning.unit_choice import choose_units
from moiety.compiler.planning.units import ideal_weights
from moiety.protocols.compare import digits
from moiety.protocols.network import NETWORKS


class Objective:
    """Terms of a legalised Graph, around reference formats whose widths are all those of their
    options. touched: by variable, the numbers of the terms that depend on it.

    BadInput if the ranges hold no responses.
    """

    def __init__(self, reference: Formats) -> None:
        self.formats, self.graph = reference, reference.graph
        self.network = NETWORKS[reference.options.network]
        self.responses = reference.ranges.required_responses()
        self.variables = Variables(reference)
        self.rings = tied_rings(self.graph)
        self.widening = widening(self.graph)
        self.extended = self.widening.extended
        self.layers = {n.output: self._layer(n) for n in self.graph.nodes_of(*LINEAR)}
        self.readers: dict[str, Layer | Factors] = dict(self.layers)
        self.factors = self._all_factors()
        self.terms: tuple[Term, ...] = (
            *self._roundings(),
            *self._biases(),
            *self._products(),
            *self._activations(),
            *self._powers(),
            *self._multiplications(),
            *self._multiplexers_and_pairs(),
            *self._comparisons(),
        )
        self.touched: list[list[int]] = [[] for _ in self.variables.all]
        for number, term in enumerate(self.terms):
            for variable in term.depends:
                self.touched[variable].append(number)

    def touched_by(self, variables: Iterable[int]) -> list[int]:
        """The numbers of the terms that depend on any of these variables."""
        return list(dict.fromkeys(term for number in variables for term in self.touched[number]))

    def _ring(self, value: str) -> Ring:
        """The ring that a value is kept in."""
        fixed = self.formats.output_bits.get(value)
        if fixed is not None:
            return Ring((), fixed=fixed)
        beyond: dict[int, int] = {}
        for each in self.rings[value]:
            for number, bits in self._own_ring(each, each in self.extended).members:
                beyond[number] = max(beyond.get(number, 0), bits)
        return Ring(tuple(sorted(beyond.items())))

    def _own_ring(self, value: str, roomy: bool = False) -> Ring:
        """One that holds a value itself; roomy: and a headroom bit beside it."""
        margins, inside = self.variables.margins, sorted(self.variables.inside(value))
        without = self.variables.without_headroom(value) if roomy else frozenset[int]()
        return Ring(tuple((number, margins[number] + (number in without)) for number in inside))

    def _extension(self, value: str) -> Extension:
        """Of a whole value; whatever is no result has a headroom bit where it is extended."""
        return Extension(
            math.prod(self.graph.shapes[value]),
            self._ring(value),
            headroom=value not in self.formats.output_bits,
            network=self.network,
        )

    def _all_factors(self) -> dict[str, Factors]:
        """From the results on, for the ring of a product depends on what reads it."""
        found: dict[str, Factors] = {}
        for node in reversed(list(self.graph.nodes_of(*PRODUCTS))):
            self.readers[node.output] = found[node.output] = self._factors(node)
        return found

    def _asking(self, value: str) -> tuple[Layer | Factors, ...]:
        """The layers and products in whose rings a value is wanted."""
        return tuple(self.readers[reader] for reader in self.widening.readers[value])

    def _factors(self, node: Node) -> Factors:
        x, y, out = (
            int(self.variables.channels(value)[0]) for value in (*node.inputs, node.output)
        )
        first, second = node.inputs
        return Factors(
            x,
            y,
            out,
            ring=self._ring(node.output),
            readers=self._asking(node.output) if node.output in self.widening.free else (),
            shift=self.formats.shift(node.output) - self.formats.options.activation_bits,
            operands=(self._ring(first), self._ring(second)),
            room=SQUARE_ROOM if first == second else 0,
        )

    def _layer(self, node: Node) -> Layer:
        return Layer(
            weight=self.variables.weight_of[node.output],
            out=int(self.variables.channels(node.output)[0]),
            sources=tuple(self._sources(node)),
            ring=self._ring(node.output),
            result=node.output in self.formats.output_bits,
            averaged=averaged_bits(self.graph, node),
            reference=self.formats.options.activation_bits,
        )

    def _sources(self, node: Node) -> Iterator[Source]:
        """What a layer's weights are, by variable of its operand; without those that are all 0."""
        (operand,) = node.inputs
        ideal = np.abs(ideal_weights(self.graph, self.formats.units, node))
        peaks = np.zeros(self.graph.shapes[operand][1])
        np.maximum.at(peaks, OPS[node.op].convolution(node).input_channels, ideal.max(axis=(2, 3)))
        unit = self.formats.unit(operand)
        inverse = np.divide(1.0, unit**2, out=np.zeros_like(unit), where=unit != 0)
        errors = self.responses.weight[node.output] * inverse
        variable = self.variables.channels(operand)
        for number in np.unique(variable).tolist():
            peak = float(peaks[variable == number].max())
            if peak > 0:
                squared_error = FIXED * float(errors[variable == number].sum())
                yield Source(number, math.log2(peak), squared_error)

    def _roundings(self) -> Iterator[Rounding]:
        """Of what layers and activations write, and of thresholds, summed by variable."""
        totals = np.zeros(len(self.variables.all))
        for value in (*self.layers, *(node.output for node in self.graph.nodes_of(*SPLINES))):
            squares = TRUNCATION * self.responses.noise[value] * self.formats.unit(value) ** 2
            np.add.at(totals, self.variables.channels(value), squares)
        for node in self.graph.nodes_of("AffineRelu"):
            unit = self.formats.unit(node.inputs[0])
            rounding = threshold_rounding(self.graph, self.formats.units, node)
            lost = np.where(np.abs(rounding) < 1e-6 * np.abs(unit), 0.0, unit)
            squares = FIXED * self.responses.gate[node.output] * lost**2
            np.add.at(totals, self.variables.channels(node.inputs[0]), squares)
        for variable in np.flatnonzero(totals).tolist():
            reference = self.formats.options.activation_bits
            yield Rounding(variable, float(totals[variable]), reference)

    def _biases(self) -> Iterator[Bias]:
        """Of max-pools, by activation variable."""
        reference = choose_units(self.graph, self.formats.ranges, PlanOptions())[1]
        at = self.formats.options.activation_bits
        for node in biased_pools(self.formats):
            variables = self.variables.channels(node.output)
            by_width = {
                width: bias_squares(self.formats, node, reference, width - at)
                for width in range(NARROWEST, max(WIDEST, at) + EXTRA_BITS[-1] + 1)
            }
            for variable in np.unique(variables).tolist():
                chosen = variables == variable
                yield Bias(
                    variable,
                    {width: float(squares[chosen].sum()) for width, squares in by_width.items()},
                )

    def _products(self) -> Iterator[Product]:
        options, free = self.formats.options, self.widening.free
        for node in self.graph.nodes_of(*LINEAR):
            (operand,) = node.inputs
            yield Product(
                layer=self.layers[node.output],
                geometry=layer_geometry(self.graph, node),
                extended=None if operand in free else self._extension(operand),
                mode=options.rounding,
                network=self.network,
            )

    def _activations(self) -> Iterator[Pieces]:
        for node in self.graph.nodes_of(*SPLINES - POWERS):
            made = final_spline(self.formats, node)
            yield Pieces(
                values=math.prod(self.graph.shapes[node.output]),
                gates=made.spline.gates,
                high=made.high,
                operand=self._own_ring(node.inputs[0]),
                ring=self._ring(node.output),
                squared_error=fit_square(self.formats, node),
                mode=self.formats.options.rounding,
                network=self.network,
            )

    def _powers(self) -> Iterator[PowerPieces]:
        for node in self.graph.nodes_of(*POWERS):
            yield PowerPieces(
                values=math.prod(self.graph.shapes[node.output]),
                gates=final_spline(self.formats, node).spline.gates,
                operand=self._own_ring(node.inputs[0]),
                ring=self._ring(node.output),
                squared_error=fit_square(self.formats, node),
                mode=self.formats.options.rounding,
                network=self.network,
            )

    def _multiplications(self) -> Iterator[Multiplication]:
        options, found = self.formats.options, self.widening
        for value, factors in self.factors.items():
            wide, narrow = found.factors[value]
            square = wide == narrow
            squares = self.responses.noise[value] @ self.formats.unit(value) ** 2
            state = self.variables.state(options.activation_bits, options.weight_bits)
            yield Multiplication(
                factors=factors,
                values=math.prod(self.graph.shapes[wide]),
                results=math.prod(self.graph.shapes[value]),
                gates=None if square else math.prod(self.graph.shapes[narrow]),
                narrow=self._ring(narrow),
                extended=None if square or wide in found.free else self._extension(wide),
                squared_error=TRUNCATION * float(squares) / 4.0 ** factors.log_unit(state),
                mode=options.rounding,
                network=self.network,
            )

    def _multiplexers_and_pairs(self) -> Iterator[Term]:
        """A multiplexer for each ReLU, into the widest ring that a reader asks for; for an op that
        compares its elements with each other, comparisons too, both in the op's ring.

        ContractViolation for an op whose price nothing says.
        """
        for node in self.graph.nodes:
            op, ring = OPS[node.op], self._ring(node.output)
            operand, result = self.graph.shapes[node.inputs[0]], self.graph.shapes[node.output]
            if Trait.RELU in op.traits:
                asking, given = self._asking(node.output), self._ring(node.inputs[0])
                yield Multiplexer(math.prod(result), given, ring, asking, self.network)
            elif not op.traits & PRICED_BY_TRAIT:
                pairs = op.comparisons(node, operand, result)
                yield Comparison(pairs, 1, ring, self.network)
                yield Multiplexer(pairs, ring, ring, (), self.network)

    def _comparisons(self) -> Iterator[Comparison]:
        """Of ReLUs: one for each part of their operands, in its own ring, shared by
        all that read it.
        """
        parts = [
            part
            for node in self.graph.nodes_of(*RELUS)
            for part in _parts(self.graph, node.inputs[0])
        ]
        for part, count in Counter(parts).items():
            values = math.prod(self.graph.shapes[part])
            if self.formats.options.share_gates and count <= digits.MAX_THRESHOLDS:
                yield Comparison(values, count, self._own_ring(part), self.network)
            else:
                yield Comparison(values * count, 1, self._ring(part), self.network)


def _parts(graph: Graph, value: str) -> list[str]:
    """The values that a value is a concatenation of along its channels."""
    node = graph.producer(value)
    if node is None or node.op != "Concat" or node.attrs["axis"] != 1:
        return [value]
    return [part for operand in node.inputs for part in _parts(graph, operand)]
