"""All mutants: each module of `breaks` has those of one area in `MUTANTS`."""

from __future__ import annotations

import importlib
import pkgutil

from tests.mutants import breaks
from tests.mutants.mutant import Mutant


def catalogue() -> dict[str, tuple[Mutant, ...]]:
    """Every area's mutants."""
    names = sorted(module.name for module in pkgutil.iter_modules(breaks.__path__))
    return {name: importlib.import_module(f"{breaks.__name__}.{name}").MUTANTS for name in names}
