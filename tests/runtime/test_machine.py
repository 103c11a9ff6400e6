"""A machine's figures: where they are kept, and that measuring takes them all."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from moiety.protocols import prices
from moiety.protocols.errors import BadInput
from moiety.runtime.cost import machine
from moiety.runtime.cost.machine import REFERENCE_MACHINE, Machine
from moiety.runtime.measure.machine import measure_machine
from tests.support.command import moiety
from tests.support.runnable import save_small


def test_machines_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert machine.find_machine()[0] == REFERENCE_MACHINE
    other = Machine(description={"machine": "x"}, figures=dict.fromkeys(prices.REFERENCE, 2.0))
    other.save(machine.default_path())
    assert machine.find_machine()[0] == other
    other.save(tmp_path / "elsewhere.json")
    assert machine.find_machine(tmp_path / "elsewhere.json")[0] == other
    (tmp_path / "bad.json").write_text('{"description": {}, "figures": {"pass": 1}}')
    with pytest.raises(
        BadInput,
        match=rf"bad\.json holds no machine's figures: it lacks {len(prices.REFERENCE) - 1} of "
        rf"{len(prices.REFERENCE)} figures .*calibrate-machine",
    ):
        machine.find_machine(tmp_path / "bad.json")
    (tmp_path / "bad.json").write_bytes(b'{"description": {"machine": "\xff"}, "figures": {}}')
    with pytest.raises(BadInput, match=r"bad\.json holds no machine's figures"):
        machine.find_machine(tmp_path / "bad.json")
    with pytest.raises(BadInput, match="cannot read"):
        machine.find_machine(tmp_path / "none.json")


def test_measuring_takes_every_figure() -> None:
    made = measure_machine(elements=2048, repeats=1)
    assert set(made.figures) == set(prices.REFERENCE)
    assert all(math.isfinite(value) for value in made.figures.values())
    for name in (
        "leaf_send_4",
        "vole_recv_4",
        "zero_residue",
        "message",
        "mux_send",
        "silent_send_4",
    ):
        assert made.figures[name] > 0, name
    assert made.description["kernels"]


def test_measure_a_machine_and_use_it(tmp_path: Path) -> None:
    file = tmp_path / "machine.json"
    moiety("calibrate-machine", "-o", file, "--elements", "2048", "--repeats", "1").check()
    assert Machine.load(file).description["cores"]
    save_small(tmp_path)
    options = ("--cost", "--machine", file, "--network", "1ms,100Mbit/s")
    used = moiety("inspect", tmp_path, *options).check().stdout
    assert str(file) in used
    assert "by layer" not in used
