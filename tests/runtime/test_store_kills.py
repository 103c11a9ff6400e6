"""Two parties with stores, killed at random moments; `python -m tests.faults.kills` tries more."""

from __future__ import annotations

import random
from pathlib import Path

from tests.faults import kills
from tests.faults.kills import Outside, Tally
from tests.support.stores import Pair, digest_of, fill


def test_killed_at_random_moments_no_item_is_used_twice(tmp_path: Path) -> None:
    tally = kills.kills(tmp_path / "pair", 5, random.randrange(1 << 30))
    assert tally.bad == []
    assert tally.used("client") >= kills.AHEAD


def test_who_looks_sees_what_should_not_be(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    pair.create()
    with pair.open("client") as store:
        fill(store, 0)
        store.shelf.item(0).write_bytes(b"")
    for role, line in (
        ("client", f"used 5 {digest_of(5).hex()}"),
        ("client", f"used 5 {digest_of(5).hex()}"),
        ("server", f"used 5 {digest_of(6).hex()}"),
        ("server", f"wrong 7 {digest_of(7).hex()}"),
        ("server", f"prepared 8 {digest_of(8).hex()}"),
    ):
        Outside(tmp_path / f"{role}.log").say(line)
    tally = Tally(tmp_path)
    tally.look()
    assert len(tally.bad) == 5
    for said in (
        "client: item 5 used 2 times",
        "item 0 is damaged",
        "server: item 7 read wrong",
        "server: item 8 is lost",
        "item 5 differs at the two",
    ):
        assert said in "\n".join(tally.bad)
