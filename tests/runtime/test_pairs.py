"""The options of many machines: what is refused before anything is sent, and what workers get."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from moiety.protocols.errors import BadInput
from moiety.runtime.cli.pairs import WorkerOptions, check_ports, check_roles, room_for
from moiety.runtime.cluster.placement import Room
from moiety.runtime.party.credentials import KeyFiles


def test_a_cluster_without_ray_names_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"--cluster needs ray, .*pip install 'moiety\[ray\]'"):
        room_for("auto", 2, None, 1)
    assert room_for(None, None, None, 1) is None
    with pytest.raises(BadInput, match="--pairs and --worker-cpus: for workers that --cluster"):
        room_for(None, 2, 1.0, 1)


def test_a_cluster_has_two_pairs_where_nobody_says_how_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert room_for("auto", None, None, 3) == Room(address="auto", workers=2, cpus=3.0)
    assert room_for("auto", 5, 0.5, 3) == Room(address="auto", workers=5, cpus=0.5)


def test_a_worker_has_what_is_its_own() -> None:
    check_roles("auto", None, [("--access", "a.toml")])
    check_roles(None, "vendor:7700", [("--access", None)])
    with pytest.raises(BadInput, match="--access and --cluster: belong to the front"):
        check_roles("auto", "vendor:7700", [("--access", "a.toml"), ("--audit", None)])


@pytest.mark.parametrize(
    ("ports", "workers", "said"),
    [
        ("7701", 2, "1 ports, and all 2 workers may come to be on one node"),
        ("7701-7702", None, "is for workers that --cluster places"),
        ("7702-7701", 2, "write FIRST-LAST"),
        ("0-9", 2, "write FIRST-LAST"),
        ("7701-70000", 2, "write FIRST-LAST"),
        ("any", 2, "write FIRST-LAST"),
    ],
)
def test_ports_that_cannot_be_the_workers(ports: str, workers: int | None, said: str) -> None:
    room = None if workers is None else Room(address="auto", workers=workers)
    with pytest.raises(BadInput, match=said):
        check_ports(ports, room)
    check_ports("7701-7702", Room(address="auto", workers=2))
    check_ports("0", room)


def test_workers_get_the_fronts_options_with_whole_paths() -> None:
    options = WorkerOptions(
        folder=Path("compiled"),
        cohorts=None,
        batch="1,4",
        threads=2,
        ot="auto",
        hint_file=True,
        setup_seconds=1.0,
        idle_seconds=2.0,
        run_seconds=None,
        session_seconds=3.0,
        min_rate=100.0,
        keys=KeyFiles(store=Path("keys")),
        insecure=False,
    )
    folder, *said = options.arguments()
    assert folder == str(Path("compiled").resolve())
    assert f"--keys={Path('keys').absolute()}" in said
    assert {"--batch=1,4", "--threads=2", "--min-rate=100.0", "--hint-file"} <= set(said)
    assert not any(word.startswith(("--run-seconds", "--cert", "--insecure")) for word in said)
