"""Benchmarks that run no cryptography: the planner's front, and networks in the clear."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from benchmarks import pareto, public_networks
from benchmarks.support.harness import Row
from benchmarks.support.public_networks import ARCHITECTURES
from tests.support.command import Compiled


def test_the_front_has_searched_and_uniform_plans(compiled: Compiled, tmp_path: Path) -> None:
    ranges = compiled.folder / "vendor" / "ranges.safetensors"
    given = ["--model", str(compiled.model), "--ranges", str(ranges), "--rounding", "exact"]
    plot, file = tmp_path / "front.png", tmp_path / "rows.json"
    rows = pareto.main([*given, "--points", "2", "--plot", str(plot), "--json", str(file)])
    assert json.loads(file.read_text()) == json.loads(json.dumps(rows))
    assert [row["plan"].split()[0] for row in rows] == ["searched"] * 2 + ["uniform"] * 6
    cheap, dear = rows[1], rows[0]
    assert cheap["predicted_error"] > dear["predicted_error"] > 0
    for generators in ("bytes_total", "bytes_total_softspoken", "bytes_total_silent"):
        assert 0 < cheap[generators] < dear[generators]
    assert Image.open(plot).width > 600


def test_a_network_in_the_clear_is_near_the_float_one(compiled: Compiled, tmp_path: Path) -> None:
    row = public_networks.measure(compiled.model)
    assert row["file"] == compiled.model.name
    assert row["accepted"]
    assert 0 < row["relative_error"] < 0.05
    assert row["overflows"] == 0
    assert row["bytes"] > 0


def test_the_table_has_what_is_accepted_and_why_others_are_not() -> None:
    first, second = ARCHITECTURES[:2]
    measured = {"relative_error": 0.001, "overflows": 0, "bytes": 10**6, "flights": 9}
    rows: dict[str, Row] = {
        first.file("torchscript"): {"accepted": True, "predicted_s": 1.0, **measured},
        first.file("dynamo"): {"accepted": True},
        second.file("torchscript"): {"accepted": False, "why": "Op 'x' | not supported"},
    }
    accepted, refused = "\n".join(public_networks.table(rows)).split("\n\n")
    assert (
        f"| {first.name} | {first.library} | TorchScript, dynamo | 0.10% | 0 | 1 | 9 | 1.0 |"
        in (accepted)
    )
    assert (
        f"| {second.name} | {second.library} | TorchScript | Op 'x' \\| not supported |" in refused
    )
