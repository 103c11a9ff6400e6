"""Terms of the search for widths: what one layer, one comparison, one rounding costs and how much
error it makes, as a function of a few variables.

Prices are nanoseconds: bytes on the network that the Program is planned for, and the work of both
parties, as declared in protocols/compare/digits and protocols/linear/planner. Squared errors are
those of the error model (`error`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol

from moiety.compiler.planning import shifts
from moiety.compiler.planning.search.variables import State
from moiety.protocols.compare.digits import digits_price, plan_digits
from moiety.protocols.errors import BadPlan
from moiety.protocols.linear.layout import Geometry, Layout
from moiety.protocols.linear.parameters import Masking
from moiety.protocols.linear.planner import layout_price, plan_linear
from moiety.protocols.network import Network

NARROWEST, WIDEST = 5, 14
"""Widths that are tried for activations and for weights."""

UNAFFORDABLE = 1e15
"""Price of a layer that no RLWE parameters hold: days."""


class Term(Protocol):
    """A part of the objective."""

    @property
    def depends(self) -> frozenset[int]:
        """The variables that it depends on."""

    def evaluate(self, state: State) -> tuple[float, float]:
        """(price, squared error) at a state."""


@dataclass(frozen=True)
class Ring:
    """The ring of a value: the widest of some activation variables and `beyond` bits more; of
    none, just those.
    """

    members: tuple[int, ...]
    beyond: int

    @property
    def depends(self) -> frozenset[int]:
        return frozenset(self.members)

    def bits(self, state: State) -> int:
        return max([state[variable] for variable in self.members], default=0) + self.beyond


@dataclass(frozen=True)
class Rounding:
    """A Term: rounding to the unit of one activation variable. squared_error: at `reference`
    activation bits.
    """

    variable: int
    squared_error: float
    reference: int

    @property
    def depends(self) -> frozenset[int]:
        return frozenset({self.variable})

    def evaluate(self, state: State) -> tuple[float, float]:
        return 0.0, self.squared_error * 4.0 ** (self.reference - state[self.variable])


@dataclass(frozen=True, eq=False)
class Bias:
    """A Term: the mean error of a max-pool, of the channels of one activation variable.
    squared_error: by activation bits; it does not scale as roundings do.
    """

    variable: int
    squared_error: Mapping[int, float]

    @property
    def depends(self) -> frozenset[int]:
        return frozenset({self.variable})

    def evaluate(self, state: State) -> tuple[float, float]:
        return 0.0, self.squared_error[state[self.variable]]


class Source(NamedTuple):
    """The input channels of a layer that are of one activation variable. log_peak: log2 of the
    largest weight from there. squared_error: of all weights from there. Both of ideal weights in
    the reference's units, unscaled.
    """

    variable: int
    log_peak: float
    squared_error: float


@dataclass(frozen=True)
class Layer:
    """A linear layer's widths. weight, out: variables of its weights and of its result. ring: of
    its result. reference: activation bits of the units that `sources` are in.
    """

    weight: int
    out: int
    sources: tuple[Source, ...]
    ring: Ring
    result: bool
    reference: int

    @property
    def depends(self) -> frozenset[int]:
        return self.ring.depends | {self.weight, self.out, *(s.variable for s in self.sources)}

    def widths(self, state: State) -> tuple[shifts.Shift, int]:
        """The shift, and the layer's own ring. By the rule that real plans follow, from the largest
        weight at these widths: every unit scales as 2^-bits.
        """
        ring, log_peak = self.ring.bits(state), -math.inf
        for variable, log, _ in self.sources:
            log_peak = max(log_peak, log - state[variable])
        weight_bits = shifts.layer_weight_bits(state[self.weight], self.result)
        found = shifts.by_peak(log_peak + state[self.out], weight_bits, ring)
        return found, ring + found.shift

    def squared_error(self, state: State, shift: int) -> float:
        """What rounding its weights adds."""
        total = sum(
            squared_error * 4.0 ** (state[variable] - self.reference)
            for variable, _, squared_error in self.sources
        )
        return total * 4.0 ** (self.reference - state[self.out] - shift)


@dataclass(frozen=True)
class Product:
    """A Term: a layer's homomorphic product, its truncation (where that compares), and the
    extension of its operand. extended: the operand's ring, where it cannot be made in the layer's
    ring for nothing. inputs, outputs: numbers of values.
    """

    layer: Layer
    geometry: Geometry
    extended: Ring | None
    inputs: int
    outputs: int
    masking: Masking
    network: Network
    exact: bool

    @property
    def depends(self) -> frozenset[int]:
        return self.layer.depends | (self.extended.depends if self.extended else frozenset())

    def evaluate(self, state: State) -> tuple[float, float]:
        (shift, weight_bits), bits = self.layer.widths(state)
        ns = layer_price(self.geometry, bits, weight_bits, self.masking)
        if self.exact and shift:
            ns += comparison_price(self.outputs, shift, 1, self.network)
        if self.extended is not None and (narrow := self.extended.bits(state)) < bits:
            ns += comparison_price(self.inputs, narrow, 1, self.network)
        return ns, self.layer.squared_error(state, shift)


@dataclass(frozen=True)
class Comparison:
    """A Term: `values` values of one ring, with `count` thresholds each."""

    values: int
    count: int
    ring: Ring
    network: Network

    @property
    def depends(self) -> frozenset[int]:
        return self.ring.depends

    def evaluate(self, state: State) -> tuple[float, float]:
        bits = self.ring.bits(state) - 1
        return comparison_price(self.values, bits, self.count, self.network), 0.0


@dataclass(frozen=True)
class Multiplexer:
    """A Term: `values` values times bits, into their ring or the widest that a layer asks for."""

    values: int
    ring: Ring
    layers: tuple[Layer, ...]
    network: Network

    @property
    def depends(self) -> frozenset[int]:
        return self.ring.depends.union(*(layer.depends for layer in self.layers))

    def evaluate(self, state: State) -> tuple[float, float]:
        asked = [layer.widths(state)[1] for layer in self.layers]
        bits = max([self.ring.bits(state), *asked])
        return 4 * self.values * bits * self.network.bit / 1000, 0.0


@lru_cache(maxsize=1 << 16)
def comparison_price(n: int, bits: int, count: int, network: Network) -> float:
    """Nanoseconds of comparing n values of `bits` bits with `count` thresholds each."""
    return digits_price(plan_digits(bits, count, n, network), count, n, network) / 1000


@lru_cache(maxsize=1 << 16)
def layer_price(geometry: Geometry, bits: int, weight_bits: int, masking: Masking) -> float:
    """Nanoseconds of a homomorphic layer: the best of a few layouts, each the best for some
    widths nearby.
    """
    best = min(
        layout_price(layout, bits, weight_bits, masking) for layout in _layouts(geometry, masking)
    )
    if best < math.inf:
        return best
    try:
        layout = plan_linear(geometry, bits, weight_bits, masking).layout
    except BadPlan:
        return UNAFFORDABLE
    return layout_price(layout, bits, weight_bits, masking)


@lru_cache(maxsize=1 << 12)
def _layouts(geometry: Geometry, masking: Masking) -> tuple[Layout, ...]:
    anchors = ((18, NARROWEST + 1), (26, WIDEST - 2))
    return tuple({plan_linear(geometry, *anchor, masking).layout for anchor in anchors})
