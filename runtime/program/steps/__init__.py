"""The kinds of steps, by family; each is one class that holds all its facets (see `Step`).

To add a kind, write its class into a family and its name into the family's `__all__`: it is found
here, the Program file knows it, and `moiety.runtime.program` exports it.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from moiety.runtime.program.steps import (
    decisions,
    ends,
    gates,
    linear,
    local,
    maps,
    pooling,
    products,
    rounding,
)
from moiety.runtime.program.steps.base import Step

FAMILIES = (ends, linear, rounding, gates, products, pooling, decisions, maps, local)

KINDS: tuple[type[Step], ...] = tuple(
    getattr(family, name) for family in FAMILIES for name in family.__all__
)

if TYPE_CHECKING:
    AnyStep = Step
else:
    # A union for msgspec, which decodes a step by its tag and refuses all others.
    AnyStep = reduce(or_, KINDS)

__all__ = ["FAMILIES", "KINDS", "AnyStep"]
