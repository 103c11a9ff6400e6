"""Profiles, kernel timings and networks at small size: complete rows, sums that
add up, nothing timed unverified.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest

from benchmarks import inference, kernel_cases, networks, profile
from benchmarks import kernels as kernel_benchmark
from benchmarks.harness import VerificationFailed
from benchmarks.profiled import Parts, Profile, Watch
from benchmarks.relay import LAN
from moiety.protocols import kernels
from tests.support.command import Compiled

native = pytest.mark.skipif(kernels.backend_name() == "reference", reason="compares both twins")


@pytest.mark.timeout(200)
def test_a_profile_accounts_for_every_second(compiled: Compiled, tmp_path: Path) -> None:
    picture = next(compiled.pictures.iterdir())
    arguments = [
        "--model",
        compiled.model,
        "--image",
        picture,
        "--compiled",
        compiled.folder,
        "--rounding",
        "exact",
    ]
    (row,) = inference.main([*map(str, arguments), "--runs", "1", "--no-pin", "--profile"])
    assert row["verified"]
    for party in ("server", "client"):
        found = row["profile"][party]
        assert {"linear", "relu", "keys"} <= set(found["by_kind"])
        for parts in found["by_kind"].values():
            assert sum(parts[name] for name in profile.COLUMNS[1:]) == pytest.approx(parts["wall"])
            assert all(parts[name] >= 0 for name in ("wall", "kernel", "blas", "socket"))
        assert sum(
            parts["kernel"] + parts["blas"] for parts in found["by_kind"].values()
        ) == pytest.approx(sum(seconds for seconds, _ in found["kernels"].values()))
        assert all(calls > 0 for _, calls in found["kernels"].values())
    assert {"leaves_send", "matmul"} <= set(row["profile"]["server"]["kernels"])
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
    both = watch.around("kernel", lambda: (compute(), kernel()), "outer")
    with watch.step("relu"):
        kernel()
        read()
        both()
        compute()
        thread = threading.Thread(target=kernel)
        thread.start()
        thread.join()
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
        Profile({"relu": Parts(wall, wall / 2, 0, 0, 0, wall / 2, 0)}, {"pack": (wall, 3)})
        for wall in (1, 9, 2)
    ]
    runs[2].by_kind["pad"] = Parts(0.001)
    lines = list(profile.table("server", runs))
    assert lines[2] == "| relu | 2.00 | 1.00 | 0.00 | 0.00 | 0.00 | 1.00 | 0.00 |"
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["relu", "rest", "**all**"]
    assert len({line.count("|") for line in lines}) == 1
    assert "| pack | 2.000 | 3 | 2.000 | 3 |" in list(profile.kernel_table(runs, runs))
    assert len(fields(Parts)) == len(profile.COLUMNS)


def test_a_short_profile_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "profile-server.json"
    file.write_text(json.dumps([asdict(Profile())]))
    with pytest.raises(VerificationFailed, match="holds 1 profiled runs, not 2"):
        profile.load(file, 2)


def test_every_kernel_has_a_case() -> None:
    assert kernel_cases.missing() == set()
    assert {name.split()[0] for name in kernel_cases.CASES} <= set(kernels.kernel_names())


@native
def test_every_kernel_is_verified_and_timed(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    rows = kernel_benchmark.main(["--elements", "4096", "--repeats", "1", "--json", str(file)])
    assert json.loads(file.read_text()) == json.loads(json.dumps(rows))
    assert {row["kernel"] for row in rows} == set(kernel_cases.CASES)
    for row in rows:
        assert row["ns"] > 0
        assert row["reference_ns"] > 0
        assert row["verified"]
        assert row["share"] == pytest.approx(
            row["work"] * 1e9 / row["limits"][row["limit"]] / row["ns"]
        )


@native
@pytest.mark.parametrize("name", ["leaves_send k=4", "encode_blocks"])
def test_a_wrong_kernel_is_not_timed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """What it returns, and what it writes into its arguments."""
    honest = kernel_benchmark.twin

    def twin(backend: kernels.Backend, which: str) -> Callable[..., Any]:
        def wrong(*arguments: Any) -> Any:
            result = honest(backend, which)(*arguments)
            target = arguments[-1] if result is None else result[0]
            target.reshape(-1)[5] ^= 1
            return result

        return wrong if (backend, which) == ("native", name) else honest(backend, which)

    monkeypatch.setattr(kernel_benchmark, "twin", twin)
    with pytest.raises(VerificationFailed, match=f"twins of kernel {name} differ"):
        kernel_benchmark.main(["--elements", "4096", "--repeats", "1", "--only", *name.split()[:1]])


@pytest.mark.timeout(200)
def test_networks_give_a_row_each(compiled: Compiled, tmp_path: Path) -> None:
    picture = next(compiled.pictures.iterdir())
    arguments = [
        "--model",
        compiled.model,
        "--image",
        picture,
        "--compiled",
        compiled.folder,
        "--rounding",
        "exact",
    ]
    file = tmp_path / "rows.json"
    more = ["--runs", "1", "--no-pin", "--links", "loopback", "lan", "--json", str(file)]
    rows = networks.main([*map(str, arguments), *more])
    assert json.loads(file.read_text()) == json.loads(json.dumps(rows))
    assert [row["link"] for row in rows] == [
        "loopback",
        {"name": "lan", "rtt": LAN.rtt, "bandwidth": LAN.bandwidth},
    ]
    for row in rows:
        assert row["verified"]
        assert row["max_diff_cleartext"] == 0
    assert rows[1]["network"]["rtt"] >= LAN.rtt
