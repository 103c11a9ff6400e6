"""Correlations alone: verified before they are timed, and their bytes are the declared ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import correlations
from benchmarks.support.harness import VerificationFailed
from moiety.protocols.prices import WIDTHS

SMALL = ["--piece", "3000", "--pieces", "2", "--runs", "1", "--no-pin"]


def test_every_generator_and_width(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    rows = correlations.main([*SMALL, "--json", str(file)])
    assert json.loads(file.read_text()) == json.loads(json.dumps(rows))
    measured = [(row["generator"], row["width"]) for row in rows]
    assert measured == [(name, k) for name in ("softspoken", "silent") for k in WIDTHS]
    for row in rows:
        assert row["verified"]
        assert row["correlations"] == 6000
        assert min(row["sender_ns"], row["receiver_ns"], row["elapsed_ns"]) > 0
        assert "machine" in row


def test_wrong_correlations_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlations, "check_correlations", lambda *_: "1 of 3000 does not hold")
    with pytest.raises(VerificationFailed, match="1 of 3000 does not hold"):
        correlations.main([*SMALL, "--only", "softspoken"])
