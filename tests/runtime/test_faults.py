"""Sessions over a line that fails: the exact results or one clear error, in time, and a server that
goes on as if nothing had been. `python -m tests.faults` does the same with hundreds of sessions.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.faults.fault import KINDS, of_each_kind
from tests.faults.parties import Clocks, House
from tests.faults.sessions import all_sessions, measured

CLOCKS = Clocks(silence=2.0, patience=4.0, stage=8.0)


@pytest.mark.parametrize("tls", [True, False], ids=["TLS", "plain"])
def test_every_kind_of_fault_ends_well(tls: bool, tmp_path: Path) -> None:
    """Also: no handle, no process and no memory of a session is left at the server."""
    faults = of_each_kind(measured(tmp_path / "measured", tls), number=12)
    house = House(tmp_path / "house", tls, CLOCKS)
    try:
        tally = asyncio.run(all_sessions(house, faults, at_once=len(faults)))
    finally:
        house.server.end()
    assert not tally.bad
    assert tally.counts.total() == len(KINDS)
