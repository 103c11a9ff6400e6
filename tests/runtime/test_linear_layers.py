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
        "2a75eded23fdcd629cd95b491fda53171ff04d58c8823b0811b7059ca7b88460",
        "e68311e7033d8845974c004556eb8898292fd9536afec6052788856daacce65b",
        "9d91ee01f9fda73eb96aa25c1a0f2cbcf0161d43457a8e7e3dfe6365ac6ef486",
        "bb5c8390901b093268f079eb6e3edcac",
    ),
    "stochastic": (
        "3faea3c66eb78ee258463d909b08278041e6f238830aced8e1919f1e185bf66f",
        "835e95d0c81e3bebc33c314c4a4f4d2fa07fb93316256678c2fe1b96aa0a89b3",
        "ff6be10005ca0a80bcd3c6780a7757bfe1c893851de382b57e78d464446c4019",
        "05ab034a33cf0e48bdee23936de7e201",
    ),
}
"""Digests of the Program (version 6, without its commitment, whose salt is drawn), of its layouts
for one image and for three, and the seed of three.
"""


@pytest.mark.parametrize("rounding", PINNED)
def test_digests_are_those_of_every_release(rounding: ir.Rounding) -> None:
    program = uncommitted(small(rounding)[0])
    layouts = [layout_digest(linear_specs(program, images)) for images in (1, 3)]
    assert (program.digest(), *layouts, public_seed(program, 3).hex()) == PINNED[rounding]
