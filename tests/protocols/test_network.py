"""Networks: the classes that a Program can be planned for."""

from __future__ import annotations

import pytest

from moiety.protocols.network import LOOPBACK, NETWORKS, Network, NetworkName, planned_for


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
    ],
)
def test_another_network_is_planned_for_as_the_nearest_class(
    network: Network, name: NetworkName
) -> None:
    assert planned_for(network) == name
