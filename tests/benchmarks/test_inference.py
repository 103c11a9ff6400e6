"""One image through vendor and hospital, over loopback and other networks: complete rows, nothing
timed unverified; and where the time of a profiled run goes.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy.typing as npt
import pytest

from benchmarks import inference, networks
from benchmarks.support import oracle, profile_tables
from benchmarks.support.harness import VerificationFailed
from benchmarks.support.profiled_command import Parts, Profile, Watch
from moiety.protocols.cost import Cost
from moiety.protocols.network import LAN
from moiety.runtime.cost import traffic
from moiety.runtime.program import Program
from moiety.runtime.program.weights import Weights
from tests.support.command import Compiled

EVERY_ROW = {"machine", "versions", "kernels_backend", "seed"}


def given(compiled: Compiled) -> list[str]:
    """Options for one image of the small compiled model."""
    picture = next(compiled.pictures.iterdir())
    arguments = ["--model", compiled.model, "--image", picture, "--compiled", compiled.folder]
    return [*map(str, arguments), "--rounding", "exact"]


@pytest.mark.timeout(200)
def test_inference_row(compiled: Compiled, tmp_path: Path) -> None:
    rows = inference.main(
        [*given(compiled), "--runs", "2", "--no-pin", "--json", str(tmp_path / "rows.json")]
    )
    assert json.loads((tmp_path / "rows.json").read_text()) == json.loads(json.dumps(rows))
    wanted = {
        "rounding",
        "plan",
        "setup_s",
        "prepare_s",
        "total_s",
        "server_cpu_s",
        "client_cpu_s",
        "rounds",
        "overflows",
    }
    wanted |= {
        "bytes_client_to_server",
        "bytes_server_to_client",
        "bytes_by_step_kind",
        "seconds_by_step_kind",
    }
    wanted |= {"peak_rss_server", "peak_rss_client", "max_diff_cleartext", "max_diff_float"}
    assert len(rows) == 2
    for row in rows:
        assert row.keys() >= EVERY_ROW | wanted
        assert row["max_diff_cleartext"] == 0
        assert row["max_diff_float"] < 0.5
        assert sum(row["bytes_by_step_kind"].values()) == row["bytes_total"]


def test_inference_refuses_a_wrong_result(
    compiled: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The executor's answer shifted by one in the last place: nothing is
    timed, and no row is written.
    """
    honest = oracle.simulate

    def shifted(
        program: Program, weights: Weights, tensor: npt.ArrayLike, simulations: int, seed: int
    ) -> oracle.Expected:
        expected = honest(program, weights, tensor, simulations, seed)
        return replace(expected, mean=[mean + 2.0**-14 for mean in expected.mean])

    monkeypatch.setattr(oracle, "simulate", shifted)
    with pytest.raises(VerificationFailed, match="logits differ from the cleartext executor"):
        inference.main([*given(compiled), "--runs", "1", "--no-pin"])


def test_inference_refuses_undeclared_bytes(
    compiled: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = traffic.run_cost
    more = Cost.of(("C", 1))
    monkeypatch.setattr(traffic, "run_cost", lambda program, images: honest(program, images) + more)
    with pytest.raises(VerificationFailed, match="declared are"):
        inference.main([*given(compiled), "--runs", "1", "--no-pin"])


@pytest.mark.timeout(200)
def test_networks_give_a_row_each(compiled: Compiled, tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    more = ["--runs", "1", "--no-pin", "--links", "loopback", "lan", "--json", str(file)]
    rows = networks.main([*given(compiled), *more])
    assert json.loads(file.read_text()) == json.loads(json.dumps(rows))
    assert [row["link"] for row in rows] == [
        "loopback",
        {"name": "lan", "rtt": LAN.rtt, "bandwidth": LAN.up},
    ]
    for row in rows:
        assert row["verified"]
        assert row["max_diff_cleartext"] == 0
    assert rows[1]["network"]["rtt"] >= LAN.rtt


@pytest.mark.timeout(200)
def test_a_profile_accounts_for_every_second(compiled: Compiled, tmp_path: Path) -> None:
    (row,) = inference.main([*given(compiled), "--runs", "1", "--no-pin", "--profile"])
    assert row["verified"]
    for party in ("server", "client"):
        found = row["profile"][party]
        assert {"linear", "relu", "keys"} <= set(found["by_kind"])
        for parts in found["by_kind"].values():
            assert sum(parts[name] for name in profile_tables.COLUMNS[1:]) == pytest.approx(
                parts["wall"]
            )
            assert all(parts[name] >= 0 for name in ("wall", "kernel", "socket"))
        in_kernels = sum(parts["kernel"] for parts in found["by_kind"].values())
        assert in_kernels == pytest.approx(sum(spent for spent, _ in found["kernels"].values()))
        assert all(calls > 0 for _, calls in found["kernels"].values())
    assert {"leaves_send", "add_products"} <= set(row["profile"]["server"]["kernels"])
    assert {"leaves_recv"} <= set(row["profile"]["client"]["kernels"])
    sums = {kind: parts["wall"] for kind, parts in row["profile"]["client"]["by_kind"].items()}
    assert sums.keys() == row["seconds_by_step_kind"].keys()


def test_a_watch_tells_computing_from_waiting() -> None:
    watch = Watch()
    watch.runs.append(Profile())

    def compute() -> None:
        until = time.thread_time() + 0.05
        while time.thread_time() < until:
            pass

    kernel, read = (
        watch.around("kernel", compute, "compute"),
        watch.around("socket", lambda: time.sleep(0.1)),
    )

    def nested() -> None:
        compute()
        kernel()

    both = watch.around("kernel", nested, "outer")
    watch.begin()
    kernel()
    read()
    both()
    compute()
    thread = threading.Thread(target=kernel)
    thread.start()
    thread.join()
    watch.end("relu")
    kernel()
    parts = watch.runs[0].by_kind["relu"]
    assert watch.runs[0].kernels.keys() == {"compute", "outer"}
    assert {name: calls for name, (_, calls) in watch.runs[0].kernels.items()} == {
        "compute": 1,
        "outer": 1,
    }
    assert parts.kernel > 0.14, "one call alone, and one with another inside it"
    assert parts.python > 0.04
    assert parts.waiting > 0.04
    assert sum(asdict(parts).values()) == pytest.approx(2 * parts.wall)


def test_tables_of_profiles() -> None:
    runs = [
        Profile({"relu": Parts(wall, wall / 2, 0, 0, wall / 2, 0)}, {"pack": (wall, 3)})
        for wall in (1, 9, 2)
    ]
    runs[2].by_kind["pad"] = Parts(0.001)
    lines = list(profile_tables.table("server", runs))
    assert lines[2] == "| relu | 2.00 | 1.00 | 0.00 | 0.00 | 1.00 | 0.00 |"
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["relu", "rest", "**all**"]
    assert len({line.count("|") for line in lines}) == 1
    assert "| pack | 2.000 | 3 | 2.000 | 3 |" in list(profile_tables.kernel_table(runs, runs))
    assert len(fields(Parts)) == len(profile_tables.COLUMNS)


def test_a_short_profile_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "profile-server.json"
    file.write_text(json.dumps(asdict(Profile())))
    with pytest.raises(VerificationFailed, match="holds 1 profiled runs, not 2"):
        profile_tables.load(file, 2)
