"""Protocols alone: complete rows, and a wrong result stops them before anything is timed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import protocols
from benchmarks.support.harness import VerificationFailed
from benchmarks.support.parties import Call, two_processes
from benchmarks.support.protocol_cases import Case, cases
from moiety.protocols.cost import Cost, SoftSpoken

SMALL = ["--elements", "300", "--pool", "2,7,8", "--shrink", "32", "--runs", "1", "--no-pin"]
EVERY_ROW = {"machine", "versions", "kernels_backend", "seed"}


def small_case(word: str) -> Case:
    return next(case for case in cases(300, (2, 7, 8), 32, seed=5) if word in case.name)


def measured(word: str) -> tuple[Case, Call]:
    """A case and one run of it between two processes, whose result is right."""
    case = small_case(word)
    with two_processes(pinned=False) as pair:
        pair.make(case.maker, *case.arguments)
        call = pair.run(results=True)
    protocols.verify(case, call, SoftSpoken())
    return case, call


@pytest.mark.parametrize("ot", ["softspoken", "mixed", "silent"])
def test_every_protocol_is_verified_and_timed(tmp_path: Path, ot: str) -> None:
    rows = protocols.main([*SMALL, "--ot", ot, "--json", str(tmp_path / "rows.json")])
    assert json.loads((tmp_path / "rows.json").read_text()) == json.loads(json.dumps(rows))
    assert {row["case"] for row in rows} == {
        case.name for case in cases(300, (2, 7, 8), 32, seed=1)
    }
    for row in rows:
        assert row.keys() >= EVERY_ROW | {
            "seconds",
            "server_cpu_s",
            "client_cpu_s",
            "work_per_second",
            "peak_rss_server",
        }
        assert row["verified"]
        assert len(row["seconds_each"]) == row["runs"] == 1
        assert row["bytes_total"] == row["bytes_client_to_server"] + row["bytes_server_to_client"]


@pytest.mark.parametrize(
    "word", ["relu 16 to 28", "truncate exact", "max-pool", "conv 3x3 14x14 128->32 guard 1"]
)
def test_a_wrong_result_is_not_timed(word: str) -> None:
    case, call = measured(word)
    call.client.result.reshape(-1)[7] ^= np.uint64(2)
    with pytest.raises(VerificationFailed, match=r"1 of .* values are wrong"):
        protocols.verify(case, call, SoftSpoken())


def test_a_wrong_correlation_is_noticed() -> None:
    case, call = measured("correlations of 4")
    call.server.result[1][11, 3] ^= 16
    with pytest.raises(VerificationFailed, match="1 of 300 correlations"):
        protocols.verify(case, call, SoftSpoken())


def test_undeclared_traffic_is_noticed() -> None:
    case, call = measured("relu 13 to 24")
    for more in (("C", 1), ("S", 1)):
        wrong = replace(case, declared=case.declared + Cost.of(more))
        with pytest.raises(VerificationFailed, match="declared"):
            protocols.verify(wrong, call, SoftSpoken())


def test_a_party_that_fails_is_reported() -> None:
    with two_processes(pinned=False) as pair:
        pair.make("benchmarks.support.protocol_cases:make_relu", 1, (4,), 16, 28)
        with pytest.raises(RuntimeError, match="AttributeError"):
            pair.make("benchmarks.support.protocol_cases:make_nothing")
