"""What a linear layer costs, and its guard bits: those below its result in which the noise of the
encryption ends (protocols/linear/server).

More of them leave the noise more room, up to half a step of the operand's ring, and so sometimes
take a shorter modulus or shorter answers; but the truncation that must follow compares that many
bits more. Where truncation is stochastic there are none. The low bits of the result are then left
behind but for a few, below what the truncation drops: noise of their size does no harm.

Prices are nanoseconds: bytes on the network that the Program is planned for, and the work of both
parties, as declared in protocols/compare/digits and protocols/linear/planner.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final, NamedTuple

from moiety.protocols.compare.digits import digits_price, plan_digits
from moiety.protocols.errors import BadPlan
from moiety.protocols.linear.layout import Geometry, Layout
from moiety.protocols.linear.planner import layout_price, plan_linear
from moiety.protocols.network import Network
from moiety.runtime.program import Rounding

GUARDS: Final = range(1, 5)
"""Guard bits that are tried; more would leave the noise less than 1/32 more room."""

KEPT: Final = 4
"""Bits that a stochastic truncation drops after its layer has left the others behind: noise of one
step is 1/16 of the result's last place, a squared error 40 times below that of the truncation.
"""

UNAFFORDABLE = 1e15
"""Price of a layer that no RLWE parameters hold: days."""

ANCHORS: Final = ((18, 6), (26, 12), (36, 14))
"""Bits and weight bits of the layouts that a layer is priced in."""


class GuardedPrice(NamedTuple):
    """Nanoseconds of a layer and the truncation after it, and its guard bits. Ordered by price."""

    ns: float
    guard: int


@lru_cache(maxsize=1 << 18)
def guarded_price(
    geometry: Geometry,
    bits: int,
    weight_bits: int,
    shift: int,
    rounding: Rounding,
    network: Network,
) -> GuardedPrice:
    """The cheapest guard bits of a layer on operands of `bits` bits whose result is truncated by
    `shift` bits; of equal prices the fewest.
    """
    if rounding == "stochastic":
        guard = min(0, KEPT - shift)
        return GuardedPrice(layer_price(geometry, bits, weight_bits, guard), guard)
    return min(
        GuardedPrice(
            layer_price(geometry, bits, weight_bits, guard)
            + comparison_price(geometry.outputs, shift + guard, 1, network),
            guard,
        )
        for guard in GUARDS
    )


@lru_cache(maxsize=1 << 16)
def comparison_price(n: int, bits: int, count: int, network: Network) -> float:
    """Nanoseconds of comparing n values of `bits` bits with `count` thresholds each."""
    return digits_price(plan_digits(bits, count, n, network), count, n, network) / 1000


@lru_cache(maxsize=1 << 18)
def layer_price(geometry: Geometry, bits: int, weight_bits: int, guard: int) -> float:
    """Nanoseconds of a homomorphic layer: the best of a few layouts, each the best for some
    widths nearby.
    """
    best = min(layout_price(layout, bits, weight_bits, guard) for layout in _layouts(geometry))
    if best < math.inf:
        return best
    try:
        layout = plan_linear(geometry, bits, weight_bits, guard).layout
    except BadPlan:
        return UNAFFORDABLE
    return layout_price(layout, bits, weight_bits, guard)


@lru_cache(maxsize=1 << 12)
def _layouts(geometry: Geometry) -> tuple[Layout, ...]:
    return tuple({plan_linear(geometry, *anchor, GUARDS[0]).layout for anchor in ANCHORS})
