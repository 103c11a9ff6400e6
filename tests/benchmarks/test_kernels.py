"""Kernels alone: each has a case and a complete row, and a wrong twin is not timed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import kernels as kernel_benchmark
from benchmarks.support import kernel_cases
from benchmarks.support.harness import VerificationFailed
from moiety.protocols import kernels

native = pytest.mark.skipif(kernels.backend_name() == "reference", reason="compares both twins")


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
@pytest.mark.parametrize("name", ["leaves_send k=4", "expand_full F_2"])
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
