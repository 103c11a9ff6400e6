"""Protocols on every mixture of the two generators of correlations."""

from __future__ import annotations

import numpy as np
import pytest

from moiety.protocols import ring
from moiety.protocols.arrays import U64
from moiety.protocols.compare.relu import relu, relu_cost
from moiety.protocols.cost import Cost
from moiety.protocols.ot.generators import NEVER_SILENT, Mixed
from moiety.protocols.session import Role, Session
from moiety.protocols.setup import open_session
from tests.support.two_party import channel_pair, run_both


@pytest.mark.parametrize("silent", [1, 2, 4, NEVER_SILENT])
def test_relus_with_every_mixture(silent: int) -> None:
    """Equal to the functionality, and to the declared bytes and flights, over
    several refills' worth of state.
    """
    bits, out_bits, n, times = 13, 25, 20_000, 3
    rng = np.random.default_rng(silent)
    x = ring.reduce(rng.integers(0, 2**64, n, np.uint64), bits)
    x0 = ring.reduce(rng.integers(0, 2**64, n, np.uint64), bits)
    x1 = ring.reduce(x - x0, bits)
    channels = channel_pair()

    def side(role: Role, mine: U64) -> tuple[Session, list[U64]]:
        session = open_session(role, channels[role], silent_from=silent)
        with session.channel.meter.labelled("case"):
            return session, [relu(session, mine, bits, out_bits) for _ in range(times)]

    (_, server), (session, client) = run_both(
        lambda: side(Role.SERVER, x0), lambda: side(Role.CLIENT, x1), channels
    )
    signed = ring.to_signed(x, bits)
    for a, b in zip(server, client, strict=True):
        np.testing.assert_array_equal(
            ring.to_signed(ring.reduce(a + b, out_bits), out_bits), np.maximum(signed, 0)
        )
    cost = sum((relu_cost(n, bits, out_bits) for _ in range(times)), Cost())
    wire = cost.on(Mixed(silent))
    metered = session.channel.meter.by_label["case"]
    assert (metered.sent, metered.received, metered.flights) == (
        wire.up,
        wire.down,
        len(wire.flights),
    )
