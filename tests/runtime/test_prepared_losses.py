"""Items that are lost or given up: each costs its run and no more, and both parties go on with the
next one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

from moiety.protocols.errors import PeerMismatch
from moiety.runtime.party.executor import ServerExecutor
from moiety.runtime.party.framing import PeerRefused
from moiety.runtime.party.stock import ItemLost, NewStore, Stock
from moiety.runtime.results.retry import passing
from moiety.runtime.store.limits import DAY, Limits
from moiety.runtime.store.reconcile import SKIPPED
from tests.support.ahead import Ahead, run, state
from tests.support.stores import NAMES, NOW, Name, Pair, fill


@pytest.fixture
def ahead(executor: ServerExecutor, tmp_path: Path) -> Iterator[Ahead]:
    made = Ahead(tmp_path, executor)
    yield made
    made.end()


@pytest.mark.parametrize("who", NAMES)
def test_a_damaged_item_costs_one_run(ahead: Ahead, executor: ServerExecutor, who: Name) -> None:
    """Whatever of it is damaged, the client hears that another connection goes on; each side has
    given the item up.
    """
    server = ahead.serve()
    ahead.prepare(server, 3)
    (store,) = ahead.stores(who)
    files = sorted(store.glob("item-*"))
    files[0].write_bytes(files[0].read_bytes()[:-1])
    files[1].unlink()
    refusal = ItemLost if who == "client" else PeerRefused
    for index in (0, 1):
        with ahead.met(server, new=NewStore.NEVER) as connection:
            assert connection.prepared() == 3 - index
            with pytest.raises(refusal, match=f"prepared item {index} ") as raised:
                run(connection, executor)
        assert passing(raised.value, met=True)
    with ahead.met(server, new=NewStore.NEVER) as connection:
        run(connection, executor)
        assert connection.prepared() == 0
    assert [each.used for each in state(ahead)] == [3, 3]


def test_one_that_becomes_too_old_meanwhile_ends_the_connection(tmp_path: Path) -> None:
    """A new one goes on without it."""
    pair, now = Pair(tmp_path), [NOW]
    pair.create()
    with pair.open("client", Limits(age_days=1.0), lambda: now[0]) as store:
        fill(store, 0)
        stock = Stock(store, 1, bytes(32), deque([0]))
        now[0] += 2 * DAY
        with pytest.raises(ItemLost, match="item 0 has become too old"), stock.taken():
            pass
        assert store.ledger.book.used == 0


def test_items_can_be_given_up(ahead: Ahead, executor: ServerExecutor) -> None:
    """At once, at both sides: they take no place on a disk, and are not there the next time."""
    server = ahead.serve()
    ahead.prepare(server, 3)
    with ahead.met(server, new=NewStore.NEVER) as connection:
        assert connection.meet_stock(ahead.cellar("client"), skip_to=2) == 1
        assert connection.given_up() == 2
    server.wait_for("skips to 2; prepared items given up: 2")
    for role in NAMES:
        (store,) = ahead.stores(role)
        assert [path.name for path in store.glob("item-*")] == ["item-000000000000002"]
    assert [(each.prepared, each.burned, each.next) for each in state(ahead)] == [(1, 2, 2)] * 2
    with ahead.met(server) as connection:
        assert (connection.prepared(), connection.given_up()) == (1, 0)
        assert connection.meet_stock(ahead.cellar("client"), skip_to=1000) == 0
        connection.prepare()
        assert connection.prepared() == 1
        run(connection, executor)
    assert [(each.used, each.burned, each.next) for each in state(ahead)] == [(1, 3, 4)] * 2


def test_nothing_is_given_up_where_the_stores_do_not_go_together(tmp_path: Path) -> None:
    """What lies behind the item to skip to may not be right either."""
    pair = Pair(tmp_path)
    pair.create()
    with pair.both() as (client, server):
        for index in range(2 * SKIPPED):
            fill(client, index)
        fill(client, 2 * SKIPPED)
        fill(server, 2 * SKIPPED)
        stock = Stock(client, 1, bytes(32))
        with pytest.raises(PeerMismatch, match="`moiety prepare --skip-to 32` allows it"):
            stock.meet(server.position(), 1)
        assert len(client.usable()) == 2 * SKIPPED + 1
        stock.meet(server.position(), 2 * SKIPPED)
        assert (stock.given_up, list(stock.indices)) == (2 * SKIPPED, [2 * SKIPPED])
