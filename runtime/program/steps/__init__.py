"""The kinds of steps, by family; each is one class that holds all its facets (see `Step`).

To add a kind, write its class into a family: it is found here, and the Program file knows it.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from moiety.runtime.program.steps import ends, gates, linear, local, pooling, rounding
from moiety.runtime.program.steps.base import Step

FAMILIES = (ends, linear, rounding, gates, pooling, local)

KINDS: tuple[type[Step], ...] = tuple(
    each
    for family in FAMILIES
    for each in vars(family).values()
    if isinstance(each, type) and issubclass(each, Step) and each.__module__ == family.__name__
)

if TYPE_CHECKING:
    AnyStep = Step
else:
    # A union for msgspec, which decodes a step by its tag and refuses all others.
    AnyStep = reduce(or_, KINDS)

__all__ = ["FAMILIES", "KINDS", "AnyStep"]
