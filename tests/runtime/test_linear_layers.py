"""What both parties derive of a Program's linear layers stays what every release has derived."""

from __future__ import annotations

import pytest

from moiety.runtime import program as ir
from moiety.runtime.program.linear_layers import layout_digest, linear_specs, public_seed
from tests.support.runnable import small

# A change here makes parties of two releases refuse each other, and kept hints useless.
PINNED: dict[ir.Rounding, tuple[str, str, str, str]] = {
    "exact": (
        "ce952d293c34cd5a985c983a81393abfca1573fd0295fd553d54ebd7ac0076d8",
        "a5d2a4a0cdfcd5499a098403f3312e8a613e7546be0471d3af4ccf31b4fb86d9",
        "42664a2e3059c86321683523cb69936a764aa25c2c9f78fdb93bf83c0ecad46a",
        "7006bae3c0c64f7f90c020f63fef0e87",
    ),
    "stochastic": (
        "11ddcbdae6f16daba6846117741712cd357ad0c3b8a3479e65b3bc61265ab93f",
        "d5cff2104750a9779439d4a8b84234d21fd3d8f9a62a481ac5acbf06239b8828",
        "ad6a861425a33e7808987728bbbc9f2f45185c4588f5611a91b783596f8980ff",
        "4ff1b9b2eb8051ba8383b28b5b04abdd",
    ),
}
"""Digests of the Program, of its layouts for one image and for three, and the seed of three."""


@pytest.mark.parametrize("rounding", PINNED)
def test_digests_are_those_of_every_release(rounding: ir.Rounding) -> None:
    program, _ = small(rounding)
    layouts = [layout_digest(linear_specs(program, images)) for images in (1, 3)]
    assert (program.digest(), *layouts, public_seed(program, 3).hex()) == PINNED[rounding]
