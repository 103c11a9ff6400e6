"""The documents that benchmarks write: cost tables and results."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from benchmarks import cost_tables, results
from benchmarks.support.harness import Row
from moiety.compiler.registry import import_all
from moiety.protocols import compare
from moiety.protocols.cost import declared_costs
from moiety.protocols.errors import BadInput


def test_the_cost_table_is_up_to_date() -> None:
    assert cost_tables.main(["--check"]) == 0


def test_every_protocol_has_a_row_in_the_cost_table() -> None:
    """Or is named in WITHOUT_ROW, with the reason."""
    import_all(compare.__name__, compare.__path__)
    shown = {row.func for row in cost_tables.PROTOCOLS.values() if isinstance(row, partial)}
    declared = {
        formula: protocol.__name__
        for protocol, formula in declared_costs().items()
        if protocol.__module__.startswith(f"{compare.__name__}.")
    }
    lacking = declared.keys() - shown - cost_tables.WITHOUT_ROW.keys()
    names = sorted(declared[formula] for formula in lacking)
    assert not names, f"no row in benchmarks/cost_tables.py for: {', '.join(names)}"
    assert not shown & cost_tables.WITHOUT_ROW.keys()
    assert declared.keys() >= cost_tables.WITHOUT_ROW.keys()


def test_a_stale_cost_table_is_noticed(tmp_path: Path) -> None:
    stale = tmp_path / "protocols.md"
    stale.write_text(
        cost_tables.DOCUMENT.read_text().replace(
            "| reveal, 24 bits | 0 | 24 |", "| reveal, 24 bits | 0 | 25 |"
        )
    )
    assert cost_tables.main(["--check", "--document", str(stale)]) == 1
    assert cost_tables.main(["--write", "--document", str(stale)]) == 0
    assert cost_tables.main(["--check", "--document", str(stale)]) == 0


def test_results_go_into_the_document(tmp_path: Path) -> None:
    """Medians of the runs, a note, and nothing of the section that was there before."""
    common = {
        "machine": {"cpu": "a processor", "cores": 2, "instructions": ["avx2"]},
        "kernels_backend": "native",
    }
    network: Row = {
        "benchmark": "inference",
        "model": "net.onnx",
        "rounding": "exact",
        "rounds": 12,
        "prepare_s": 1.0,
    }
    network |= {
        "setup_s": 0.5,
        "max_diff_cleartext": 0.0,
        "max_diff_float": 0.125,
        "overflows": 0,
        **common,
    }
    network |= {"server_cpu_s": 2.0, "client_cpu_s": 1.0, "bytes_total": 10**9}
    network |= {"peak_rss_server": 10**9, "peak_rss_client": 10**8}
    single: Row = {
        "benchmark": "protocols",
        "case": "relu 16 to 28 bits",
        "ot": "mixed",
        "unit": "elements",
        **common,
    }
    single |= {"seconds": 0.25, "bytes_total": 2 * 10**6, "arguments": []}
    rows = [network | {"total_s": seconds} for seconds in (3.0, 9.0, 4.0)] + [single]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    document = tmp_path / "README.md"
    document.write_text(
        f"before\n{results.SECTION.begin}\nold figures\n{results.SECTION.end}\nafter\n"
    )
    arguments = [
        str(tmp_path / "rows.json"),
        "--write",
        "--document",
        str(document),
        "--note",
        "A note.",
    ]
    results.main(arguments)
    text = document.read_text()
    assert "| **Moiety, exact** | **4.0** | 2.0 / 1.0 | **1.00** | 12 | 1.00 / 0.10 |" in text
    assert "| ReLU, 2^20 values, 16 bits | 250; 2.0 |" in text
    assert "*A note.*" in text
    assert "old figures" not in text
    assert (text.startswith("before\n"), text.endswith("after\n")) == (True, True)
    results.main(arguments)
    assert document.read_text() == text
    with pytest.raises(BadInput, match=r"no row of benchmarks\.inference"):
        list(results.section([single]))
