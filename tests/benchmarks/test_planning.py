"""Benchmarks that run no cryptography: the planner's front, and networks in the clear."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from benchmarks import architectures, pareto
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
    file = tmp_path / "rows.json"
    architectures.main([str(compiled.model), "--images", "1", "--json", str(file)])
    row = json.loads(file.read_text())
    assert row["model"] == compiled.model.name
    assert 0 < row["max_relative_error"] < 0.2
    assert row["bytes_client_to_server"] > 0
