"""What both parties derive of a Program's linear layers stays what every release has derived."""

from __future__ import annotations

import pytest

from moiety.runtime import program as ir
from moiety.runtime.program.linear_layers import layout_digest, linear_specs, public_seed
from tests.support.runnable import small

# A change here makes parties of two releases refuse each other, and kept hints useless.
PINNED: dict[ir.Rounding, tuple[str, str, str, str]] = {
    "exact": (
        "7a59eb1a21d685f3cfe7419286ca739cd859d935e8fea9607f2f2b2b4a8b2781",
        "5c44ff81e2ddf4821fc27b92658aaba8ec71891bf5a49f233323d246ecd9cedc",
        "47b9d996c4289c446379410f7867cc865b55fb53fb9b29bb36dd25c7a4085fea",
        "db7f77d757920093348101cca86221b5",
    ),
    "stochastic": (
        "80519c4795955b26815509e82cdcc14dabff7533ff71a6878c38b125473c1122",
        "f3c90dd0f30d7a474265b2c6a77c42475448b7ae5ccb6722a0b1a38943804d70",
        "02792ceacc113e07de7940d1067ff88ae8ef889d7f1dd1592107ae1667bc82d7",
        "4afe2d5437b3a4589e79ec14040410f4",
    ),
}
"""Digests of the Program, of its layouts for one image and for three, and the seed of three."""


@pytest.mark.parametrize("rounding", PINNED)
def test_digests_are_those_of_every_release(rounding: ir.Rounding) -> None:
    program, _ = small(rounding)
    layouts = [layout_digest(linear_specs(program, images)) for images in (1, 3)]
    assert (program.digest(), *layouts, public_seed(program, 3).hex()) == PINNED[rounding]
