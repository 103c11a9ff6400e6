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
        "2c18eb2a56a66580927e214eb21126f3166d41b0d5ef4c2d6ada6fd84959eab6",
        "835e95d0c81e3bebc33c314c4a4f4d2fa07fb93316256678c2fe1b96aa0a89b3",
        "ff6be10005ca0a80bcd3c6780a7757bfe1c893851de382b57e78d464446c4019",
        "28b24f10b1e78897d00d254eadcef797",
    ),
}
"""Digests of the Program, of its layouts for one image and for three, and the seed of three."""


@pytest.mark.parametrize("rounding", PINNED)
def test_digests_are_those_of_every_release(rounding: ir.Rounding) -> None:
    program, _ = small(rounding)
    layouts = [layout_digest(linear_specs(program, images)) for images in (1, 3)]
    assert (program.digest(), *layouts, public_seed(program, 3).hex()) == PINNED[rounding]
