"""Networks, as a user names them, and the classes that a Program can be planned for."""

from __future__ import annotations

import pytest

from moiety.protocols.errors import BadInput
from moiety.protocols.network import (
    LOOPBACK,
    NETWORKS,
    Network,
    NetworkName,
    parse_network,
    planned_for,
)


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


@pytest.mark.parametrize("network", [*NETWORKS.values(), LOOPBACK])
def test_a_network_for_prepared_runs_is_another(network: Network) -> None:
    ahead = network.ahead
    assert ahead != network
    assert (ahead.rtt, ahead.down, ahead.up) == (network.rtt, network.down, network.up)
    assert ahead.ahead == ahead
    assert not network.prepared


@pytest.mark.parametrize("name", NETWORKS)
def test_a_class_is_planned_for_itself(name: NetworkName) -> None:
    assert planned_for(NETWORKS[name]) == name


@pytest.mark.parametrize(
    ("network", "name"),
    [
        (LOOPBACK, "fast"),
        (Network(40e-3, 2e9, 20e9), "lan"),
        (Network(0.1e-3, 5e6, 5e6), "wan"),
        (Network(20e-3, 1e13, 1e13), "fast"),
        (Network(1e-3, 1e-297, 1e-297), "wan"),
        (Network(1e300, 1e9, 1e9), "wan"),
    ],
)
def test_another_network_is_planned_for_as_the_nearest_class(
    network: Network, name: NetworkName
) -> None:
    assert planned_for(network) == name
