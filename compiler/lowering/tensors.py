"""Weights while steps are still being rewritten: `kind.STEP.role`, STEP being a step's number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

Tensors = dict[str, npt.NDArray[Any]]


def renumbered(tensors: Tensors, where: Mapping[int, int]) -> Tensors:
    """The tensors of the steps that have a new number in `where`, under that."""
    moved: Tensors = {}
    for name, tensor in tensors.items():
        kind, old, *role = name.split(".")
        if int(old) in where:
            moved[".".join([kind, str(where[int(old)]), *role])] = tensor
    return moved
