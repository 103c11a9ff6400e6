"""The choice of a generator, by request or by the network, the same at both parties."""

from __future__ import annotations

import pytest

from moiety.protocols.compare.relu import relu_cost
from moiety.protocols.errors import BadInput, NetworkFailure
from moiety.protocols.network import Network
from moiety.protocols.ot.generators import ALWAYS_SILENT, NEVER_SILENT
from moiety.runtime.party.generator_choice import (
    agreed,
    parse_ot,
    settle_client,
    settle_server,
    silent_from,
)
from tests.support.two_party import channel_pair, run_both


def test_slower_networks_take_more_silence() -> None:
    image = relu_cost(10**7, 16, 28)
    chosen = [silent_from(Network(0.001, bps, bps), image) for bps in (1e12, 3e9, 4e8, 1e7)]
    assert chosen == sorted(chosen, reverse=True)
    assert chosen[-1] == ALWAYS_SILENT


def test_few_relus_are_not_worth_the_start_of_silence() -> None:
    assert silent_from(Network(0.001, 1e9, 1e9), relu_cost(1000, 16, 28)) == NEVER_SILENT


def test_requests() -> None:
    assert agreed("auto", "auto") is None
    assert agreed("auto", "silent") == agreed("silent", "silent") == 1
    assert agreed("softspoken", "auto") == NEVER_SILENT
    assert parse_ot("silent") == "silent"
    with pytest.raises(BadInput, match="choose one of auto, softspoken, silent"):
        parse_ot("ferret")


@pytest.mark.parametrize(
    ("ours", "theirs"), [("auto", "auto"), ("silent", "auto"), ("auto", "softspoken")]
)
def test_both_sides_settle_on_one(ours: str, theirs: str) -> None:
    channels = channel_pair()
    server, (client, network) = run_both(
        lambda: settle_server(channels[0], theirs, ours),
        lambda: settle_client(channels[1], ours, theirs, relu_cost(9, 9, 9)),
        channels,
    )
    assert server == client
    assert (network is None) == (agreed(ours, theirs) is not None)


@pytest.mark.parametrize("message", [(1 << 40).to_bytes(8, "little"), bytes(8) + b"\x09"])
def test_a_probe_out_of_bounds_is_refused(message: bytes) -> None:
    server, client = channel_pair()
    client.send(message)
    with pytest.raises(NetworkFailure):
        settle_server(server, "auto", "auto")
