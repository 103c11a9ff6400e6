"""`moiety store`, as its users meet it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moiety.protocols.errors import BadArtifact, BadInput
from moiety.runtime.cli.app import app
from tests.support.command import moiety
from tests.support.stores import PROGRAM, Pair, fill, meet

Run = Callable[..., str]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Items 0 to 3 at both; the client has used 0, and never finished another."""
    made = Pair(tmp_path / "stores")
    made.create()
    with made.both() as (client, server):
        for index in range(4):
            fill(client, index)
            fill(server, index)
        meet(client, server)
        client.take(0).close()
        (client.folder / ".item-000000000000004.tmp").write_bytes(b"half")
    return made


@pytest.fixture
def run(pair: Pair, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(pair.root)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("MOIETY_KEYS", str(pair.root / "client-keys"))

    def command(*arguments: object) -> str:
        app([str(each) for each in ("store", *arguments)], standalone_mode=False)
        return capsys.readouterr().out

    return command


def parsed(said: str) -> Any:
    return json.loads(said)


def test_status_shows_what_there_is(run: Run, pair: Pair) -> None:
    (row,) = parsed(run("status", pair.folder("client"), "--json"))
    wanted = {"role": "client", "program": PROGRAM, "prepared": 3, "used": 1, "burned": 0}
    assert row.items() >= wanted.items()
    assert (row["next"], row["counter"], row["peer_counter"], row["expired"]) == (1, 7, 5, 0)
    assert row["oldest"] == "2026-09-21T14:13:20.000Z"
    shown = [line.split(maxsplit=1) for line in run("status", pair.folder("client")).splitlines()]
    assert shown[0][0] == "client's"
    assert {"Program", "prepared", "used", "records"} <= {name for name, *_ in shown if name}
    assert max(map(len, run("status", pair.folder("client")).splitlines())) <= 80


def test_status_answers_while_a_party_is_at_work(run: Run, pair: Pair) -> None:
    with pair.open("client"):
        assert parsed(run("status", pair.folder("client"), "--json"))[0]["prepared"] == 3
        with pytest.raises(BadInput, match="has this store open"):
            run("verify", pair.folder("client"))


def test_a_folder_of_stores(run: Run, pair: Pair, tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    pair.folder("client").rename(shelf / "one")
    assert list(parsed(run("verify", shelf, "--json"))) == ["one"]
    with pytest.raises(BadInput, match="no store in it, nor in its folders"):
        run("status", tmp_path)
    with pytest.raises(BadInput, match="cannot be used as a store"):
        run("status", tmp_path / "missing")


def test_verify_finds_what_is_damaged_and_prune_gives_it_up(
    run: Run, pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pair.folder("client")
    path = folder / "item-000000000000002"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadArtifact, match="damaged items: 1"):
        run("verify", folder)
    assert "item 2 is damaged: chunk 0 of 'pads'" in capsys.readouterr().err
    done = parsed(run("prune", folder, "--json"))["client"]
    assert (done["damaged"], done["expired"]) == ([2], [])
    assert done["files"] == ["item-000000000000002"]
    assert [each["index"] for each in parsed(run("verify", folder, "--json"))["client"]] == [1, 3]
    (row,) = parsed(run("status", folder, "--json"))
    assert (row["prepared"], row["burned"], row["next"]) == (2, 1, 1)
    run("verify", folder)


def test_prune_removes_leftovers_and_what_is_too_old(run: Run, pair: Pair) -> None:
    folder = pair.folder("client")
    done = parsed(run("prune", folder, "--json"))["client"]
    assert done == {
        "expired": [],
        "damaged": [],
        "files": [".item-000000000000004.tmp"],
        "nbytes": 0,
    }
    assert parsed(run("status", folder, "--max-age-days", 0, "--json"))[0]["expired"] == 3
    assert "client" in run("prune", folder, "--max-age-days", 0)
    (row,) = parsed(run("status", folder, "--json"))
    assert (row["prepared"], row["expired"], row["burned"], row["nbytes"]) == (0, 0, 3, 0)


def test_a_store_with_nothing_in_it_is_spoken_of(
    run: Run, pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pair.folder("client")
    run("prune", folder, "--max-age-days", 0)
    for command, words in (
        ("verify", "no item waits to be used: there is nothing to verify"),
        ("prune", "nothing is too old, damaged or left over: there is nothing to remove"),
    ):
        app(["store", command, str(folder)], standalone_mode=False)
        assert capsys.readouterr() == ("", words + "\n")


def test_errors_have_their_exit_codes(pair: Pair) -> None:
    folder, keys = pair.folder("client"), pair.root / "client-keys"
    moiety("store", "status", folder, "--keys", pair.root).refused(5, "no key of stores")
    moiety("store", "verify", folder, "--keys", pair.root / "server-keys").refused(6, "another key")
    (folder / "item-000000000000001").unlink()
    done = moiety("store", "verify", folder, "--keys", keys)
    done.refused(6, "damaged items: 1")
    assert "item 1 is damaged" in done.stderr
    assert "sound" in done.stdout
