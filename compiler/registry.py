"""Registries that fill themselves: whoever adds a file to a room edits no list of files."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable


def import_all(package: str, path: Iterable[str]) -> None:
    """Import every module of a package (`__name__`, `__path__`), so that its decorators run."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")
