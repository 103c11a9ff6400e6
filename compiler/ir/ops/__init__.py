"""The operators of the Graph, a closed list: one file per family, one class per op with all that
the compiler knows of it (but how lowering makes steps of it). A new op is one class in one file.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from moiety.compiler.ir.ops.base import REGISTRY, Op, Trait
from moiety.compiler.registry import import_all

import_all(__name__, __path__)

OPS: Mapping[str, Op] = MappingProxyType(REGISTRY)
"""Every operator by name."""


def having(trait: Trait) -> frozenset[str]:
    """Names of the ops that have a trait."""
    return frozenset(name for name, op in OPS.items() if trait in op.traits)


ANY_RING = having(Trait.ANY_RING)
AVERAGING = having(Trait.AVERAGING)
ELEMENTWISE = having(Trait.ELEMENTWISE)
KEEPS_ZERO = having(Trait.KEEPS_ZERO)
LINEAR = having(Trait.LINEAR)
MIXING = having(Trait.MIXING)
MOVEMENT = having(Trait.MOVEMENT)
POWERS = having(Trait.POWER)
PRODUCTS = having(Trait.PRODUCT)
REINDEXING = having(Trait.REINDEXING)
RELUS = having(Trait.RELU)
SHARED_RING = having(Trait.SHARED_RING)
SPLINES = having(Trait.SPLINE)
SUMS = having(Trait.SUM)
WIDE_OPERANDS = having(Trait.WIDE_OPERANDS)
