"""The list of deliberate breaks fits the code: else `make trust` would try something else."""

from __future__ import annotations

import pytest

from tests.mutants.catalogue import catalogue
from tests.mutants.mutant import Mutant

MUTANTS = [
    pytest.param(mutant, id=f"{area}/{mutant.name}")
    for area, mutants in catalogue().items()
    for mutant in mutants
]


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_fits_the_tree(mutant: Mutant) -> None:
    assert mutant.faults() == []


def test_mutants_have_names_of_their_own() -> None:
    names = [param.id for param in MUTANTS]
    assert len(set(names)) == len(names)
