"""Linear layers: encryption, answers, masks."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

MUTANTS = (
    Mutant(
        name="a_secret_encrypts_twice",
        breaks="the same a under one secret: the difference of two images' shares",
        file="protocols/linear/rlwe.py",
        old="        if layer in self._used:",
        new="        if layer < 0:",
        tests=("tests/protocols/test_rlwe.py::test_a_secret_serves_a_layer_once",),
    ),
)
