"""Terms of the search for widths that price activations: fits by straight pieces (`terms`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from moiety.compiler.planning.activations import slope_bits
from moiety.compiler.planning.guards import comparison_price
from moiety.compiler.planning.powers import power_slope_bits
from moiety.compiler.planning.search.terms import Ring, multiplexer_price
from moiety.compiler.planning.search.variables import State
from moiety.protocols.compare.digits import MAX_THRESHOLDS
from moiety.protocols.network import Network
from moiety.runtime.program import Rounding as RoundingMode


@dataclass(frozen=True)
class Pieces:
    """A Term: an activation of `values` elements, fitted by the sum of so many gates: a multiplexer
    for each, a comparison of the operand's `high` upper bits with all knots and of the others with
    none, and the truncation of the sum. operand: the ring that holds the operand itself.
    squared_error: of the fit, whatever the widths.
    """

    values: int
    gates: int
    high: int
    operand: Ring
    ring: Ring
    squared_error: float
    mode: RoundingMode
    network: Network

    @property
    def depends(self) -> frozenset[int]:
        return self.operand.depends | self.ring.depends

    def evaluate(self, state: State) -> tuple[float, float]:
        rings = self.operand.bits(state), self.ring.bits(state)
        price = pieces_price(self.values, self.gates, self.high, *rings, self.mode, self.network)
        return price, self.squared_error


@lru_cache(maxsize=1 << 14)
def pieces_price(
    values: int,
    gates: int,
    high: int,
    compared: int,
    bits: int,
    mode: RoundingMode,
    network: Network,
) -> float:
    """Nanoseconds of an activation of `values` elements of `compared` bits in a ring of `bits`."""
    shift, low = slope_bits(compared), max(compared - high, 0)
    ns = 0.0
    for first in range(0, gates, MAX_THRESHOLDS):
        together = min(MAX_THRESHOLDS, gates - first)
        ns += comparison_price(values, compared - low - 1, together, network)
    ns += comparison_price(values, low, 1, network) if low else 0.0
    ns += values * gates * multiplexer_price(compared, bits + shift, network)
    return ns + (comparison_price(values, shift, 1, network) if mode == "exact" else 0.0)


@dataclass(frozen=True)
class PowerPieces:
    """A Term: as Pieces, of a power, whose operand has a ring of its own and is compared whole."""

    values: int
    gates: int
    operand: Ring
    ring: Ring
    squared_error: float
    mode: RoundingMode
    network: Network

    @property
    def depends(self) -> frozenset[int]:
        return self.operand.depends | self.ring.depends

    def evaluate(self, state: State) -> tuple[float, float]:
        rings = self.operand.bits(state), self.ring.bits(state)
        price = power_pieces_price(self.values, self.gates, *rings, self.mode, self.network)
        return price, self.squared_error


@lru_cache(maxsize=1 << 14)
def power_pieces_price(
    values: int, gates: int, operand: int, bits: int, mode: RoundingMode, network: Network
) -> float:
    """Nanoseconds of a power of `values` elements in a ring of `operand` bits, into one of `bits`
    bits.
    """
    shift = power_slope_bits(operand, bits)
    ns = values * gates * multiplexer_price(operand, bits + shift, network)
    for first in range(0, gates, MAX_THRESHOLDS):
        together = min(MAX_THRESHOLDS, gates - first)
        ns += comparison_price(values, operand - 1, together, network)
    return ns + (comparison_price(values, shift, 1, network) if mode == "exact" else 0.0)
