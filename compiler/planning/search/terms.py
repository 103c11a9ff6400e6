"""Terms of the search for widths: what one layer, one comparison, one rounding costs and how much
error it makes, as a function of a few variables.

Prices are nanoseconds, those of comparisons and layers from `guards`. Squared errors are those of
the error model (`error`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol

from moiety.compiler.planning import shifts
from moiety.compiler.planning.guards import comparison_price, guarded_price
from moiety.compiler.planning.search.variables import State
from moiety.protocols.compare.digits import DigitPlan, digits_price
from moiety.protocols.linear.layout import Geometry
from moiety.protocols.network import Network
from moiety.runtime.program import Rounding as RoundingMode

NARROWEST, WIDEST = 5, 14
"""Widths that are tried for activations and for weights."""


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
        widest = 0
        for variable in self.members:
            if state[variable] > widest:
                widest = state[variable]
        return widest + self.beyond


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
            if log - state[variable] > log_peak:
                log_peak = log - state[variable]
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
    ring for nothing. inputs: number of its values. mode: of truncations.
    """

    layer: Layer
    geometry: Geometry
    extended: Ring | None
    inputs: int
    mode: RoundingMode
    network: Network

    @property
    def depends(self) -> frozenset[int]:
        return self.layer.depends | (self.extended.depends if self.extended else frozenset())

    def evaluate(self, state: State) -> tuple[float, float]:
        (shift, weight_bits), bits = self.layer.widths(state)
        ns = guarded_price(self.geometry, bits, weight_bits, shift, self.mode, self.network).ns
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
        bits = self.ring.bits(state)
        asked = [layer.widths(state)[1] for layer in self.layers]
        return self.values * multiplexer_price(bits, max([bits, *asked]), self.network), 0.0


@lru_cache(maxsize=1 << 12)
def multiplexer_price(bits: int, out_bits: int, network: Network) -> float:
    """Nanoseconds of gating one value of `bits` bits and extending it to out_bits."""
    # A digit of one bit against one threshold is a 1-of-2 transfer of one bit.
    transfer = digits_price(DigitPlan((1,), ()), 1, None, network)
    entries = [bits, bits] + [out_bits - bits] * (out_bits > bits)
    return sum(transfer + (entry - 1) * network.bit for entry in entries) / 1000
