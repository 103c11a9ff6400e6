"""The RLWE plan of one linear layer, as the Program records it. The
search is protocols/linear/planner.
"""

from __future__ import annotations

from moiety.protocols.linear.layout import Geometry
from moiety.protocols.linear.parameters import Masking
from moiety.protocols.linear.planner import plan_linear
from moiety.runtime.program import RlwePlan


def plan_rlwe(
    in_shape: tuple[int, int, int],
    out_shape: tuple[int, int, int],
    kernel: tuple[int, int],
    pads: tuple[int, int, int, int],
    dilations: tuple[int, int],
    groups: int,
    bits: int,
    weight_bits: int,
    masking: Masking,
) -> RlwePlan:
    """The cheapest plan. Shapes `(C,H,W)`, `(M,H',W')`; pads top, left, bottom, right; `|w| <=
    2^(weight_bits-1)`; values in Z_{2^bits}.

    Raises `BadPlan` if no supported ring holds the noise, or for an impossible geometry.
    """
    geometry = Geometry(in_shape, out_shape, kernel, pads, dilations, groups)
    return plan_linear(geometry, bits, weight_bits, masking).rlwe
