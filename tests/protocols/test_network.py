"""Networks, as a user names them."""

from __future__ import annotations

import pytest

from moiety.protocols.errors import BadInput
from moiety.protocols.network import Network, parse_network


def test_networks() -> None:
    assert parse_network("lan") == Network(0.8e-3, 3e9, 3e9)
    assert (
        parse_network("20ms,1Gbit")
        == parse_network("0.02 s, 1000 Mbit/s")
        == Network(0.02, 1e9, 1e9)
    )
    for wrong in (
        "moon",
        "20ms",
        "20,1Gbit",
        "-1ms,1Gbit",
        "1ms,0Mbit",
        "nan ms,1Gbit",
        "1ms,1Gbit,2Gbit",
        "ms,Gbit",
    ):
        with pytest.raises(BadInput, match="choose fast, lan, wan, loopback"):
            parse_network(wrong)
