"""What both parties derive of a Program's linear layers stays what every release has derived."""

from __future__ import annotations

import pytest

from moiety.runtime import program as ir
from moiety.runtime.program.linear_layers import layout_digest, linear_specs, public_seed
from tests.support.programs import uncommitted
from tests.support.runnable import small

# A change here makes parties of two releases refuse each other, and kept hints useless.
PINNED: dict[ir.Rounding, tuple[str, str, str, str]] = {
    "exact": (
        "75e2d3e24d0fa06aeb5bedbf3bb1be6bd767ba42551f66ed4d05d95e94e04264",
        "e68311e7033d8845974c004556eb8898292fd9536afec6052788856daacce65b",
        "9d91ee01f9fda73eb96aa25c1a0f2cbcf0161d43457a8e7e3dfe6365ac6ef486",
        "eb047b7d3d08877bc148a2b9ac5ec7fa",
    ),
    "stochastic": (
        "60f32bd362ac33f8afad2c21b6ff7f56900511a49bb28c5a5f47555d7862c880",
        "835e95d0c81e3bebc33c314c4a4f4d2fa07fb93316256678c2fe1b96aa0a89b3",
        "ff6be10005ca0a80bcd3c6780a7757bfe1c893851de382b57e78d464446c4019",
        "545c2862eaae8e39a5ff90c227a1ed93",
    ),
}
"""Digests of the Program (version 4, without its commitment, whose salt is drawn), of its layouts
for one image and for three, and the seed of three.
"""


@pytest.mark.parametrize("rounding", PINNED)
def test_digests_are_those_of_every_release(rounding: ir.Rounding) -> None:
    program = uncommitted(small(rounding)[0])
    layouts = [layout_digest(linear_specs(program, images)) for images in (1, 3)]
    assert (program.digest(), *layouts, public_seed(program, 3).hex()) == PINNED[rounding]
