"""Which plans a sweep makes: the planner's own, and around it one width at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moiety.compiler.planning.options import MAX_ACTIVATION_BITS, PlanOptions
from moiety.protocols.linear.parameters import MAX_WEIGHT_BITS
from moiety.runtime.program import Rounding

ROUNDINGS: tuple[Rounding, ...] = ("exact", "stochastic")

ACTIVATION_STEPS = (-3, -2, -1, 0, 1, 3)
WEIGHT_STEPS = (-4, -2, -1, 0, 1, 3)
"""Bits more than the planner's choice."""

LEAST_ACTIVATION_BITS, LEAST_WEIGHT_BITS = 4, 3


@dataclass(frozen=True, order=True)
class Widths:
    """One plan: of `activation_bits` and `weight_bits` everywhere, or without them the planner's
    own choice. margin_bits: None: as far as images differ.
    """

    rounding: Rounding
    activation_bits: int | None = None
    weight_bits: int | None = None
    margin_bits: int | None = None

    @property
    def chosen(self) -> bool:
        """By the planner."""
        return self.activation_bits is None

    def options(self) -> PlanOptions:
        """What the planner is asked. Raises `BadPlan`."""
        asked: dict[str, Any] = {
            "rounding": self.rounding,
            "activation_bits": self.activation_bits,
            "weight_bits": self.weight_bits,
            "margin_bits": self.margin_bits,
        }
        return PlanOptions.of_choices(**asked)

    def __str__(self) -> str:
        if self.chosen:
            return f"{self.rounding}, the planner's choice"
        return f"{self.rounding}, activations {self.activation_bits}, weights {self.weight_bits}"


@dataclass(frozen=True)
class Grid:
    """What was asked for. Widths that were not given lie around the planner's choice."""

    roundings: Sequence[Rounding] = ROUNDINGS[:1]
    activation_bits: Sequence[int] | None = None
    weight_bits: Sequence[int] | None = None
    margin_bits: int | None = None

    def planners(self, rounding: Rounding) -> Widths:
        """The planner's choice."""
        return Widths(rounding, margin_bits=self.margin_bits)

    def around(self, activation_bits: float, weight_bits: float) -> list[Widths]:
        """A cross: activation bits at the planner's weight bits, which are its mean, rounded; and
        the other way round.
        """
        centre = round(activation_bits), round(weight_bits)
        activations = self.activation_bits or _near(
            centre[0], ACTIVATION_STEPS, LEAST_ACTIVATION_BITS, MAX_ACTIVATION_BITS
        )
        weights = self.weight_bits or _near(
            centre[1], WEIGHT_STEPS, LEAST_WEIGHT_BITS, MAX_WEIGHT_BITS
        )
        pairs = [(bits, centre[1]) for bits in activations] + [
            (centre[0], bits) for bits in weights
        ]
        return [
            Widths(rounding, *pair, self.margin_bits)
            for rounding in self.roundings
            for pair in dict.fromkeys(pairs)
        ]


def _near(centre: int, steps: Sequence[int], least: int, most: int) -> list[int]:
    return sorted({min(max(centre + step, least), most) for step in steps})
