"""What both parties hold against a linear layer before they run it: that it
is secure and that it decrypts.
"""

from __future__ import annotations

from moiety.protocols.errors import BadPlan
from moiety.protocols.linear.layout import LinearSpec
from moiety.protocols.linear.parameters import MAX_ANSWER_BITS, MAX_WEIGHT_BITS, fit
from moiety.protocols.linear.rlwe import Ring


def check_spec(spec: LinearSpec) -> None:
    """Raises `BadPlan` unless the spec is secure, fits, and decrypts: nothing in a peer's Program
    is taken on trust. Makes the ring's tables on the way, before anybody waits for them.
    """
    plan = spec.rlwe
    what = f"linear layer {spec.geometry.in_shape} -> {spec.geometry.out_shape}"
    Ring.of(plan.degree, plan.primes)
    if not 1 <= spec.weight_bits <= MAX_WEIGHT_BITS:
        raise BadPlan(
            f"{what}: weights of {spec.weight_bits} bits; 1 to {MAX_WEIGHT_BITS} are supported"
        )
    noise = spec.layout.noise(spec.weight_bits)
    if plan.masking == "flooded" and plan.flood_bits < noise.flood_bits:
        raise BadPlan(
            f"{what}: hiding the noise takes flooding of {noise.flood_bits} bits, "
            f"the plan has {plan.flood_bits}"
        )
    need = fit(plan.primes, plan.masking, spec.bits, noise, plan.flood_bits)
    if need is None:
        raise BadPlan(
            f"{what}: the noise does not fit into q for {spec.bits}-bit outputs; "
            "more primes or fewer bits are needed"
        )
    if not need.answer_bits <= plan.answer_bits <= MAX_ANSWER_BITS:
        raise BadPlan(
            f"{what}: answers need {need.answer_bits} to {MAX_ANSWER_BITS} bits, "
            f"the plan has {plan.answer_bits}"
        )
