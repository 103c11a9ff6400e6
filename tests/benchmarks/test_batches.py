"""The benchmark of batches on a small Program."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import batches
from tests.support.runnable import save_small


def test_the_benchmark_verifies_and_reports(tmp_path: Path) -> None:
    save_small(tmp_path / "model")
    arguments = [
        str(tmp_path / "model"),
        "--batches",
        "1",
        "3",
        "--silent-from",
        "5",
        "--json",
        str(tmp_path / "r.json"),
    ]
    rows = batches.main(arguments)
    declared = batches.main([*arguments, "--declared"])
    assert [row["batch"] for row in rows] == [1, 3]
    assert [(row["up"], row["down"], row["flights"]) for row in rows] == [
        (row["up"], row["down"], row["flights"]) for row in declared
    ]
    assert len(json.loads((tmp_path / "r.json").read_text())) == 2
