"""A study that takes runs which were prepared ahead, in one of its sessions: the same results."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from moiety.runtime.cli.prepared import holds
from moiety.runtime.party.executor import ServerExecutor
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.store.care import status
from moiety.runtime.study.journal import Journal
from tests.support.ahead import Ahead
from tests.support.stores import NAMES
from tests.support.studies import small_study

IMAGES, PREPARED = 8, 3


def test_a_damaged_item_does_not_end_a_study(tmp_path: Path) -> None:
    """Another session goes on with the next one. Before there are any, that is said, and so it is
    where the store has none any more, or is another Program's.
    """
    small = small_study(tmp_path / "small", 2)
    executor = ServerExecutor(small.program, small.weights)
    executor.prepare()
    ahead = Ahead(tmp_path, executor)
    server = ahead.serve()
    try:
        at = ("--connect", f"127.0.0.1:{server.listener.port}", "--bootstrap", 20)
        nowhere = ahead.command("evaluate", small.list, "-o", tmp_path / "first", *at).check()
        ahead.prepare(server, 2)
        (store,) = ahead.stores("client")
        min(store.glob("item-*")).write_bytes(b"")
        done = ahead.command("evaluate", small.list, "-o", tmp_path / "study", *at).check()
        after = ahead.command("evaluate", small.list, "-o", tmp_path / "after", *at).check()
    finally:
        ahead.end()
    assert "prepared item 0 is damaged" in done.stderr
    nothing = f"nothing is prepared in {ahead.cellar('client').root}: computing on demand"
    assert nothing in nowhere.stderr
    assert nothing not in done.stderr
    assert "are taken" in done.stderr
    assert "are taken" not in after.stderr
    left = f"nothing is prepared in {ahead.cellar('client').root} for this Program: computing on"
    assert left in after.stderr
    other = msgspec.structs.replace(ahead.program, name="other")
    assert not holds(ahead.cellar("client").root, other, ahead.keys("client"))
    journal = Journal.look(tmp_path / "study")
    assert journal is not None
    results = [image.result for image in journal.images.values()]
    assert [result.prepared_item for result in results] == [1, None]


def test_a_study_takes_what_is_prepared(tmp_path: Path) -> None:
    """By one session of two; what it does not have is computed on demand, and no item is left."""
    small = small_study(tmp_path / "small", IMAGES)
    executor = ServerExecutor(small.program, small.weights)
    executor.prepare()
    ahead = Ahead(tmp_path, executor)
    server = ahead.serve(options={"sessions": 3})
    try:
        ahead.prepare(server, PREPARED)
        at = ("--connect", f"127.0.0.1:{server.listener.port}", "--sessions", 2)
        given = (small.list, "-o", tmp_path / "study", *at, "--bootstrap", 20)
        done = ahead.command("evaluate", *given).check()
    finally:
        ahead.end()
    with_it = f"runs that were prepared with this server in {ahead.cellar('client').root} are taken"
    assert with_it in done.stderr
    journal = Journal.look(tmp_path / "study")
    assert journal is not None
    results = [image.result for image in journal.images.values()]
    assert len(results) == IMAGES
    taken = [result.prepared_item for result in results if result.prepared_item is not None]
    assert 0 < len(taken) <= PREPARED
    assert len(set(taken)) == len(taken)
    assert f"{len(taken)} of them prepared ahead" in done.stderr
    for role in NAMES:
        (store,) = ahead.stores(role)
        assert status(store, ahead.cellar(role).key).used == len(taken)
    clear = CleartextExecutor(small.program, small.weights)
    for result in results:
        expected = clear.run(np.load(result.file))["findings"].tolist()
        assert result.outputs[0].values == expected
