"""What the user may ask of the planner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from moiety.protocols.errors import BadPlan
from moiety.protocols.linear.parameters import MAX_WEIGHT_BITS
from moiety.protocols.network import NETWORKS, NetworkName
from moiety.runtime.program import Rounding

MAX_RING_BITS = 62
MAX_ACTIVATION_BITS = 32
MAX_OUTPUT_FRAC = 32
Disclose = Literal["usual", "minimal"]

USUAL_ERROR: Final = 1.25e-3
"""Relative error that is searched for where nothing is asked for
(docs/decisions/0003-default-plan.md).
"""

USUAL_OVERFLOW: Final = 1e-6
"""Probability that an image leaves any ring, where nothing is asked for."""

MINIMAL_MARGIN: Final = 3
"""Margin bits of minimal disclosure, where they may not follow from images."""

CHOSEN_WIDTHS: Final = frozenset({"bits", "scale", "activation_bits", "weight_bits"})
"""Options that say how wide things are: with one of them, nothing is searched for."""


@dataclass(frozen=True)
class PlanOptions:
    """Widths of the fixed-point Program.

    activation_bits: signed bits that the calibrated range of a channel fills. margin_bits: further
    bits above it, for images beyond the calibrated range. headroom: by value where a scale begins,
    where `margins` chose it, what its ring holds as a multiple of that range. overflow_probability:
    what they are chosen for. weight_bits: signed bits of a weight. rounding: of every truncation;
    exact, linear layers have guard bits (`guards`). output_frac: fractional bits of the revealed
    values. floor_fraction: a channel's range is taken to be at least this part of its tensor's, so
    that a channel that is quiet on the calibration images keeps room.

    share_gates: comparisons of one tensor with several thresholds run together
    (compiler/lowering/share_gates.py); off, every ReLU compares by itself.

    target_error: search for the cheapest widths with at most this error of the results, root mean
    square over images (compiler/planning/search); activation_bits and weight_bits are then those of
    the image and of the layers that write the results. relative_error: the same, as a part of the
    calibrated span of the results (root mean square over them), or where no widths meet it, what
    those given here would make everywhere. Neither: the widths given here, everywhere.

    disclose: what a Program may tell about the weights and the calibration images. usual: whatever
    makes it cheap, each listed. minimal: shifts, weight bits and the image's scale follow from the
    architecture, the options and the preprocessing alone (shifts.by_size).

    input_reach: the largest magnitude of the values of the image, the first input, where it is
    known otherwise than from calibration images (from the preprocessing).

    network: the class of network that comparisons are planned for (protocols/compare/digits).

    bits, scale: the uniform CrypTFlow2 style instead (give both): linear layers in rings of `bits`
    bits, every value and weight with `scale` fractional bits, and activations, as a consequence, in
    rings of `bits - scale`; activation_bits, margin_bits, weight_bits, output_frac are then unused.
    """

    activation_bits: int = 12
    weight_bits: int = 12
    margin_bits: int = 1
    headroom: Mapping[str, float] = field(default_factory=dict, hash=False)
    overflow_probability: float | None = None
    rounding: Rounding = "exact"
    output_frac: int = 14
    floor_fraction: float = 0.25
    share_gates: bool = True
    network: NetworkName = "lan"
    target_error: float | None = None
    relative_error: float | None = None
    disclose: Disclose = "usual"
    input_reach: float | None = None
    bits: int | None = None
    scale: int | None = None

    def __post_init__(self) -> None:
        _within("activation bits", self.activation_bits, 4, MAX_ACTIVATION_BITS)
        _within("weight bits", self.weight_bits, 3, MAX_WEIGHT_BITS)
        _within("margin bits", self.margin_bits, 1, 16)
        _within("output fractional bits", self.output_frac, 0, MAX_OUTPUT_FRAC)
        _within("floor fraction", self.floor_fraction, 0.0, 1.0)
        _one_of("rounding", self.rounding, get_args(Rounding))
        _one_of("the network", self.network, tuple(NETWORKS))
        _one_of("disclose", self.disclose, get_args(Disclose))
        if self.overflow_probability is not None:
            _within("the probability of an overflow", self.overflow_probability, 1e-12, 0.1)
            if self.disclose == "minimal":
                raise BadPlan(
                    "margins that follow from images disclose something of them: with minimal "
                    "disclosure give margin bits"
                )
        if self.input_reach is not None:
            _within("the reach of the image's values", self.input_reach, 1e-9, 1e9)
        self._check_error()
        self._check_uniform()
        if self.disclose == "minimal" and (self.searching or self.bits is not None):
            raise BadPlan(
                "widths that follow from the architecture alone are neither searched for nor "
                "uniform in scale"
            )

    def _check_error(self) -> None:
        if self.target_error is not None and self.relative_error is not None:
            raise BadPlan("give one bound on the error, absolute or relative")
        for bound in (self.target_error, self.relative_error):
            if bound is not None:
                _within("the error allowed", bound, 1e-9, 1e9)
        if self.searching and self.bits is not None:
            raise BadPlan(
                "the uniform style has no widths to search for: give either bits and scale, or an "
                "error"
            )

    def _check_uniform(self) -> None:
        if (self.bits is None) != (self.scale is None):
            raise BadPlan(
                "the uniform style needs both a ring width (bits) and fractional bits (scale)"
            )
        if self.bits is not None and self.scale is not None:
            _within("the uniform ring width (bits)", self.bits, 8, MAX_RING_BITS)
            _within("the uniform fractional bits (scale)", self.scale, 1, self.bits - 4)

    @classmethod
    def of_choices(cls, **choices: Any) -> PlanOptions:
        """From options by name, where None leaves one to the planner. Without any widths or bound
        on the error they are searched for with the usual one, unless disclosure is minimal; without
        margin bits, margins are those of the usual probability of an overflow. Raises BadPlan for
        choices that exclude each other, or are out of range.
        """
        made = {name: choice for name, choice in choices.items() if choice is not None}
        if "margin_bits" in made and "overflow_probability" in made:
            raise BadPlan("give margin bits or the probability of an overflow, not both")
        if "margin_bits" not in made:
            if made.get("disclose") == "minimal":
                made["margin_bits"] = MINIMAL_MARGIN
            else:
                made.setdefault("overflow_probability", USUAL_OVERFLOW)
        searches = CHOSEN_WIDTHS.isdisjoint(made) and made.get("disclose") != "minimal"
        if searches and "target_error" not in made:
            made.setdefault("relative_error", USUAL_ERROR)
        return cls(**made)

    @property
    def searching(self) -> bool:
        """Are the widths to be searched for?"""
        return self.target_error is not None or self.relative_error is not None

    def headroom_of(self, value: str) -> float:
        """How many times the calibrated range of `value` its ring holds."""
        return self.headroom.get(value, 2.0**self.margin_bits)

    @property
    def uniform(self) -> int | None:
        """Fractional bits of the uniform style, None in the mixed one."""
        return self.scale

    @property
    def ring_bits(self) -> int:
        """Width of the ring that activations live in between layers."""
        if self.bits is not None and self.scale is not None:
            return self.bits - self.scale
        return self.activation_bits + self.margin_bits


def _within(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise BadPlan(f"{name} is {value}; it must lie within {least} and {most}")


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise BadPlan(f"{name} is {value!r}; choose one of {', '.join(choices)}")
