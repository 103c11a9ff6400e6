"""`moiety prepare` and `moiety infer` killed at random moments; `python -m
tests.faults.prepared_kills` tries more.
"""

from __future__ import annotations

import random
from pathlib import Path

from tests.faults.outside import Ledger
from tests.faults.prepared_kills import killed

KILLS = 5


def test_killed_while_they_prepare_or_infer_no_item_is_read_twice(tmp_path: Path) -> None:
    made = killed(tmp_path, KILLS, random.randrange(1 << 30))
    assert made.bad == []
    assert made.kills.total() == KILLS
    assert made.right >= KILLS
    assert made.outside.read("client")
    assert made.outside.read("server")


def test_who_looks_from_outside_sees_what_should_not_be(tmp_path: Path) -> None:
    digests = ["11" * 32, "22" * 32, "33" * 32]
    (tmp_path / "client").write_text(
        f"taken aa 0 7 {digests[0]}\nread aa 0 7 pads 0 {digests[0]}\n"
        f"taken aa 0 8 {digests[0]}\ntaken aa 1 8 {digests[1]}\nread aa 1 8 pads 0 {digests[0]}\n"
        "unmarked - 4 9 -\n"
    )
    (tmp_path / "server").write_text(
        f"taken aa 1 5 {digests[2]}\ntaken aa 2 5 {digests[2]}\nread aa 2 5 pads 0 {digests[2]}\n"
    )
    assert Ledger(tmp_path).faults() == [
        "client: item 0 taken 2 times",
        "client: item 4 read and not taken",
        "client: the same bytes read by [('aa', '0', '7'), ('aa', '1', '8')]",
        "item 1 differs at the two",
        "the server read item 2, which the client has not taken",
    ]
