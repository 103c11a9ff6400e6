"""The closed list of operations. To add one, write its class into a family and its name into the
family's `__all__`: it is found here, and the Program file knows it.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from moiety.runtime.program.expression import axes, elementwise, layout
from moiety.runtime.program.expression.base import Operation

FAMILIES = (elementwise, axes, layout)

OPERATIONS: tuple[type[Operation], ...] = tuple(
    getattr(family, name) for family in FAMILIES for name in family.__all__
)

if TYPE_CHECKING:
    AnyOperation = Operation
else:
    # A union for msgspec, which decodes an operation by its tag and refuses all others.
    AnyOperation = reduce(or_, OPERATIONS)

__all__ = ["FAMILIES", "OPERATIONS", "AnyOperation"]
