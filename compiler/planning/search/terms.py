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
from moiety.compiler.planning.product_price import product_price, square_price
from moiety.compiler.planning.products import product_widths
from moiety.compiler.planning.search.variables import State
from moiety.protocols.compare.digits import DigitPlan, digits_price
from moiety.protocols.linear.layout import Geometry
from moiety.protocols.network import Network
from moiety.runtime.program import Rounding as RoundingMode

NARROWEST, WIDEST = 5, 14
"""Widths that are tried for activations and for weights, at first."""

EXTRA_BITS = (0, 2, 4, 6, 8)
"""By how much the widest of them grows, one after the other, where it does not do; beyond it, rings
leave less and less for weights (shifts.MAX_LAYER_BITS).
"""


class Term(Protocol):
    """A part of the objective."""

    @property
    def depends(self) -> frozenset[int]:
        """The variables that it depends on."""

    def evaluate(self, state: State) -> tuple[float, float]:
        """(price, squared error) at a state."""


@dataclass(frozen=True)
class Ring:
    """The ring of a value: the widest of some activation variables, each with the bits of its
    margin; of none, `fixed` bits.
    """

    members: tuple[tuple[int, int], ...]
    fixed: int = 0

    @property
    def depends(self) -> frozenset[int]:
        return frozenset(variable for variable, _ in self.members)

    def bits(self, state: State) -> int:
        widest = self.fixed
        for variable, margin in self.members:
            if state[variable] + margin > widest:
                widest = state[variable] + margin
        return widest


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
    its result. averaged: bits that average pools add to its operand. reference: activation bits of
    the units that `sources` are in.
    """

    weight: int
    out: int
    sources: tuple[Source, ...]
    ring: Ring
    result: bool
    averaged: int
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
        found = shifts.by_peak(log_peak + state[self.out], weight_bits, ring, self.averaged)
        return found, ring + found.shift

    def squared_error(self, state: State, shift: int) -> float:
        """What rounding its weights adds."""
        total = sum(
            squared_error * 4.0 ** (state[variable] - self.reference)
            for variable, _, squared_error in self.sources
        )
        return total * 4.0 ** (self.reference - state[self.out] - shift)


@dataclass(frozen=True)
class Factors:
    """The widths of a product of two values. x, y, out: variables of its operands and of its
    result. ring: of its result. readers: that want it in theirs. shift: what all widths at 0 would
    give; every unit scales as 2^-bits. operands: their rings, and `room` by which the product's
    exceeds them at least.
    """

    x: int
    y: int
    out: int
    ring: Ring
    readers: tuple[Layer | Factors, ...]
    shift: int
    operands: tuple[Ring, Ring]
    room: int

    @property
    def depends(self) -> frozenset[int]:
        own = self.ring.depends | {self.x, self.y, self.out}
        return own.union(*(each.depends for each in (*self.operands, *self.readers)))

    def widths(self, state: State) -> tuple[int, int]:
        """The shift, and the product's own ring."""
        shift = self._shift(state)
        asked = max((reader.widths(state)[1] for reader in self.readers), default=0)
        least = max(operand.bits(state) for operand in self.operands) + self.room
        return shift, product_widths(self.ring.bits(state), asked, shift, least).bits

    def log_unit(self, state: State) -> int:
        """log2 of the result's unit, over that of all widths and the shift at 0."""
        return self._shift(state) - state[self.x] - state[self.y]

    def _shift(self, state: State) -> int:
        return max(0, self.shift + state[self.x] + state[self.y] - state[self.out])


@dataclass(frozen=True)
class Extension:
    """Of `values` values of a ring, into that of the layer or product that reads them, after they
    are made. headroom: whether their ring has a bit to spare.
    """

    values: int
    ring: Ring
    headroom: bool
    network: Network

    @property
    def depends(self) -> frozenset[int]:
        return self.ring.depends

    def price(self, bits: int, state: State) -> float:
        """Nanoseconds of extending them to `bits` bits."""
        narrow = self.ring.bits(state)
        if narrow >= bits:
            return 0.0
        if self.headroom:
            return self.values * transfers_price((bits - narrow,), self.network)
        return comparison_price(self.values, narrow, 1, self.network)


@dataclass(frozen=True)
class Multiplication:
    """A Term: a product of two values, its truncation, and the extension of its wide operand.
    values: number of products. results: of them, or of their means. gates: number of those of the
    narrow operand; None of a square. narrow: its ring. extended: None where the wide operand can be
    made in the product's ring for nothing. squared_error: of the truncation, with a result of unit
    1 (`Factors.log_unit`).
    """

    factors: Factors
    values: int
    results: int
    gates: int | None
    narrow: Ring
    extended: Extension | None
    squared_error: float
    mode: RoundingMode
    network: Network

    @property
    def depends(self) -> frozenset[int]:
        wide = self.extended.depends if self.extended else frozenset()
        return self.factors.depends | self.narrow.depends | wide

    def evaluate(self, state: State) -> tuple[float, float]:
        (shift, bits), narrow = self.factors.widths(state), self.narrow.bits(state)
        if self.gates is None:
            ns = square_price(self.values, bits, narrow, self.network)
        else:
            ns = product_price(self.values, self.gates, bits, narrow, self.network)
        if self.mode == "exact" and shift:
            ns += comparison_price(self.results, shift, 1, self.network)
        if self.extended:
            ns += self.extended.price(bits, state)
        return ns, self.squared_error * 4.0 ** self.factors.log_unit(state) if shift else 0.0


@dataclass(frozen=True)
class Product:
    """A Term: a layer's homomorphic product, its truncation (where that compares), and the
    extension of its operand. extended: None where it can be made in the layer's ring for nothing.
    mode: of truncations.
    """

    layer: Layer
    geometry: Geometry
    extended: Extension | None
    mode: RoundingMode
    network: Network

    @property
    def depends(self) -> frozenset[int]:
        return self.layer.depends | (self.extended.depends if self.extended else frozenset())

    def evaluate(self, state: State) -> tuple[float, float]:
        (shift, weight_bits), bits = self.layer.widths(state)
        ns = guarded_price(self.geometry, bits, weight_bits, shift, self.mode, self.network).ns
        if self.extended:
            ns += self.extended.price(bits, state)
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
    """A Term: `values` values times bits, from their ring or, if that is narrower, their result's,
    into the widest that a reader asks for.
    """

    values: int
    operand: Ring
    ring: Ring
    readers: tuple[Layer | Factors, ...]
    network: Network

    @property
    def depends(self) -> frozenset[int]:
        own = self.operand.depends | self.ring.depends
        return own.union(*(reader.depends for reader in self.readers))

    def evaluate(self, state: State) -> tuple[float, float]:
        bits = self.ring.bits(state)
        given = min(self.operand.bits(state), bits)
        asked = [reader.widths(state)[1] for reader in self.readers]
        return self.values * multiplexer_price(given, max([bits, *asked]), self.network), 0.0


def multiplexer_price(bits: int, out_bits: int, network: Network) -> float:
    """Nanoseconds of gating one value of `bits` bits and extending it to out_bits."""
    extended = (out_bits - bits,) if out_bits > bits else ()
    return transfers_price((bits, bits, *extended), network)


@lru_cache(maxsize=1 << 12)
def transfers_price(entries: tuple[int, ...], network: Network) -> float:
    """Nanoseconds of 1-of-2 transfers with entries of so many bits."""
    # A digit of one bit against one threshold is a 1-of-2 transfer of one bit.
    transfer = digits_price(DigitPlan((1,), ()), 1, None, network)
    return sum(transfer + (entry - 1) * network.bit for entry in entries) / 1000
