"""What both parties derive of a Program's linear layers stays what every release has derived."""

from __future__ import annotations

import pytest

from moiety.runtime import program as ir
from moiety.runtime.program.linear_layers import layout_digest, linear_specs, public_seed
from tests.support.runnable import small

# A change here makes parties of two releases refuse each other, and kept hints useless.
PINNED: dict[ir.Rounding, tuple[str, str, str, str]] = {
    "exact": (
        "88ac7031e5f2814bc69684bfb21f24d90c8ec3fa8682b8d0466a0c1747e5fae7",
        "e68311e7033d8845974c004556eb8898292fd9536afec6052788856daacce65b",
        "9d91ee01f9fda73eb96aa25c1a0f2cbcf0161d43457a8e7e3dfe6365ac6ef486",
        "423ec3e9bdb95651abc73aa480e6ee95",
    ),
    "stochastic": (
        "f24bed2b8d80f6926f40df4088d86e8dbd8a36f69c48e6c3baf306f5ffc8d90f",
        "78c575d9ffaa2a5e00b7387b5b046d43ae82d28c6d78843d7e1edbd3c45ce19e",
        "547a7be554e3a6f2d43b2fe8cf5b2a9d25d6956c0ecdbed11be7285c088d70c3",
        "1af85215a6ec624ea821f9467a924d73",
    ),
}
"""Digests of the Program, of its layouts for one image and for three, and the seed of three."""


@pytest.mark.parametrize("rounding", PINNED)
def test_digests_are_those_of_every_release(rounding: ir.Rounding) -> None:
    program, _ = small(rounding)
    layouts = [layout_digest(linear_specs(program, images)) for images in (1, 3)]
    assert (program.digest(), *layouts, public_seed(program, 3).hex()) == PINNED[rounding]
