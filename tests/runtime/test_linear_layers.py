"""What both parties derive of a Program's linear layers stays what every release has derived."""

from __future__ import annotations

import pytest

from moiety.runtime import program as ir
from moiety.runtime.program.linear_layers import layout_digest, linear_specs, public_seed
from tests.support.runnable import small

# A change here makes parties of two releases refuse each other, and kept hints useless.
PINNED: dict[ir.Rounding, tuple[str, str, str, str]] = {
    "exact": (
        "e3a8abdc436297ca1eb5782df00d0d3feb4dbfd7098b81326bf1bd042736c43d",
        "daa12df5595d0ce937f88b9f90f93971a4ddab8b5ac0d62725a55f9f07fa83fe",
        "47b9d996c4289c446379410f7867cc865b55fb53fb9b29bb36dd25c7a4085fea",
        "06678bcbbead9d5d7f32a748487dae7e",
    ),
    "stochastic": (
        "c9cc8d2600175b949754c130a0d3a6008fff87874225a46f77d7a4d1c262a51e",
        "7104a802c852584291c0a2bf91602929a98cafca370759c74d5f08ef35b90f42",
        "02792ceacc113e07de7940d1067ff88ae8ef889d7f1dd1592107ae1667bc82d7",
        "cc12ad05300473b51433584532712198",
    ),
}
"""Digests of the Program, of its layouts for one image and for three, and the seed of three."""


@pytest.mark.parametrize("rounding", PINNED)
def test_digests_are_those_of_every_release(rounding: ir.Rounding) -> None:
    program, _ = small(rounding)
    layouts = [layout_digest(linear_specs(program, images)) for images in (1, 3)]
    assert (program.digest(), *layouts, public_seed(program, 3).hex()) == PINNED[rounding]
