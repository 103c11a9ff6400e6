"""The homomorphic parameters of a Linear step, as the Program records them."""

from __future__ import annotations

from moiety.protocols.linear.layout import Geometry
from moiety.protocols.linear.parameters import Masking
from moiety.protocols.linear.planner import plan_linear
from moiety.runtime.program import RlwePlan


def plan_rlwe(geometry: Geometry, bits: int, weight_bits: int, masking: Masking) -> RlwePlan:
    """The cheapest plan of a layer with `|w| <= 2^(weight_bits-1)` and values in Z_{2^bits}.

    Raises `BadPlan` if no supported ring holds the noise.
    """
    spec = plan_linear(geometry, bits, weight_bits, masking)
    return RlwePlan(
        degree=spec.degree,
        primes=spec.primes,
        masking=spec.masking,
        channels_per_ciphertext=spec.channels_per_ciphertext,
        filters_per_answer=spec.filters_per_answer,
        tile=spec.tile,
        flood_bits=spec.flood_bits,
        answer_bits=spec.answer_bits,
    )
