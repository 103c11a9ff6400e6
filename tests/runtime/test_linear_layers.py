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
        "f9e61d5cf8b7bf2f317866cc24a6bd07f7259d73146afa5a2d610ecb8420b2b0",
        "e68311e7033d8845974c004556eb8898292fd9536afec6052788856daacce65b",
        "9d91ee01f9fda73eb96aa25c1a0f2cbcf0161d43457a8e7e3dfe6365ac6ef486",
        "40e1bfcedf72a51548b19b8e526e7a04",
    ),
    "stochastic": (
        "24b7fa6023d6d6f59e515759234af0b54899dac02586eaaacd1dc0484ca45809",
        "835e95d0c81e3bebc33c314c4a4f4d2fa07fb93316256678c2fe1b96aa0a89b3",
        "ff6be10005ca0a80bcd3c6780a7757bfe1c893851de382b57e78d464446c4019",
        "2a2ccbdea2bd78f1045216abbf97c099",
    ),
}
"""Digests of the Program (version 5, without its commitment, whose salt is drawn), of its layouts
for one image and for three, and the seed of three.
"""


@pytest.mark.parametrize("rounding", PINNED)
def test_digests_are_those_of_every_release(rounding: ir.Rounding) -> None:
    program = uncommitted(small(rounding)[0])
    layouts = [layout_digest(linear_specs(program, images)) for images in (1, 3)]
    assert (program.digest(), *layouts, public_seed(program, 3).hex()) == PINNED[rounding]
