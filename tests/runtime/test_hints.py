"""Hints beside the weights: used when they are the right ones, else
made again with a word in the log.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from moiety.protocols.linear.server import ServerLinear
from moiety.protocols.parallel import Workers
from moiety.runtime import program as ir
from moiety.runtime.party.executor import ServerExecutor
from moiety.runtime.party.hints import _digest
from moiety.runtime.program.artifacts import VENDOR, load_vendor, program_file, weights_file
from moiety.runtime.program.linear_layers import linear_specs
from moiety.runtime.program.weights import commit
from tests.support.runnable import save, save_small

HINTS = "hints.safetensors"

Tensors = dict[str, np.ndarray]


class Model:
    """A compiled folder, and what preparing it computes."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.program, self.weights = save_small(folder)
        self.computed = 0
        compute = ServerLinear.prepare

        def counted(layer: ServerLinear, workers: Workers | None = None) -> None:
            self.computed += 1
            compute(layer, workers)

        monkeypatch.setattr(ServerLinear, "prepare", counted)

    @property
    def file(self) -> Path:
        return self.folder / VENDOR / HINTS

    @property
    def layers(self) -> int:
        return len(linear_specs(self.program))

    def prepare(self, batches: tuple[int, ...] = (1,)) -> int:
        """Number of layers whose hints had to be computed; all hints
        are checked against fresh ones.
        """
        program, weights = load_vendor(self.folder)
        before = self.computed
        executor = ServerExecutor(program, weights, batches)
        executor.prepare(keep_beside=weights_file(self.folder))
        took = self.computed - before
        fresh = ServerExecutor(program, weights, batches)
        fresh.prepare()
        for images in batches:
            for index, layer in executor._layers[images].items():
                assert np.array_equal(layer.hint_array(), fresh._layers[images][index].hint_array())
        return took


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    return Model(tmp_path / "model", monkeypatch)


# With a file of hints, one layer is computed to compare.
PROBE = 1


def test_hints_are_kept_and_found(model: Model) -> None:
    assert model.prepare() == model.layers
    assert model.prepare() == PROBE
    assert stat.S_IMODE(model.file.stat().st_mode) == 0o600
    assert [path.name for path in model.file.parent.iterdir() if path.name.startswith(".")] == []


def test_each_batch_size_has_its_file(model: Model) -> None:
    assert model.prepare((1, 3)) == 2 * model.layers
    assert model.file.with_name("hints-3.safetensors").is_file()
    assert model.prepare((1, 3)) == 2 * PROBE
    assert model.prepare((1, 2)) == model.layers + PROBE


def test_a_mode_that_others_can_read_is_not_inherited(model: Model) -> None:
    before = os.umask(0)
    try:
        model.file.write_bytes(b"")
        model.file.chmod(0o666)
        model.prepare()
    finally:
        os.umask(before)
    assert stat.S_IMODE(model.file.stat().st_mode) == 0o600


def test_nothing_is_kept_unless_asked(model: Model) -> None:
    executor = ServerExecutor(model.program, model.weights)
    executor.prepare()
    assert not model.file.exists()


def rewrite(file: Path, **changes: str) -> None:
    """The same tensors under other metadata."""
    with safetensors.safe_open(file, framework="numpy") as opened:
        metadata = opened.metadata()
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    safetensors.numpy.save_file(tensors, file, {**metadata, **changes})


def replace_tensors(file: Path, change: Callable[[Tensors], Tensors]) -> None:
    """Other tensors under the same metadata, with the digest that belongs to them."""
    with safetensors.safe_open(file, framework="numpy") as opened:
        metadata = opened.metadata()
        tensors = change({name: opened.get_tensor(name) for name in opened.keys()})  # noqa: SIM118
    hints = {
        int(name.removeprefix("hint.")): tensor
        for name, tensor in tensors.items()
        if name.startswith("hint.")
    }
    safetensors.numpy.save_file(tensors, file, {**metadata, "contents": _digest(hints)})


def flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "cut short": lambda file: file.write_bytes(file.read_bytes()[:-100]),
    "no safetensors": lambda file: file.write_bytes(b"hello, I am something else" * 10),
    "a bit of the last hint": lambda file: flip(file, -1),
    "a bit in the middle": lambda file: flip(file, file.stat().st_size // 2),
    "another Program's": lambda file: rewrite(file, program="0" * 64),
    "other weights' bytes": lambda file: rewrite(file, weights="0" * 64),
    "other layouts": lambda file: rewrite(file, layout="0" * 64),
    "another kind of file": lambda file: rewrite(file, format="moiety-weights"),
    "another version": lambda file: rewrite(file, version="0"),
    "a tensor of another name": lambda file: replace_tensors(
        file, lambda tensors: {**tensors, "else": np.zeros(1, np.uint32)}
    ),
    "a tensor of another type": lambda file: replace_tensors(
        file, lambda tensors: {name: tensor.astype(np.int32) for name, tensor in tensors.items()}
    ),
    "a layer too few": lambda file: replace_tensors(
        file, lambda tensors: dict(sorted(tensors.items())[1:])
    ),
    "a layer too many": lambda file: replace_tensors(
        file, lambda tensors: {**tensors, "hint.999": np.zeros(1, np.uint32)}
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_or_foreign_hints_are_made_again(
    model: Model, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    model.prepare()
    DAMAGE[kind](model.file)
    with caplog.at_level(logging.WARNING, "moiety.server"):
        assert model.prepare() == model.layers
    assert "is not used, the hints are computed again" in caplog.text
    assert model.prepare() == PROBE


def test_hints_of_other_weights_are_not_used(
    model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    model.prepare()
    tensors = {name: np.array(tensor) for name, tensor in model.weights.tensors.items()}
    tensors["linear.1.weight"].reshape(-1)[0] ^= 1
    save(model.folder, *commit(model.program, tensors))
    with caplog.at_level(logging.WARNING, "moiety.server"):
        assert model.prepare() == model.layers
    assert "another program" in caplog.text


def test_hints_of_another_program_are_not_used(
    model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    model.prepare()
    renamed = ir.Program.decode(
        model.program.encode().replace(b'"name":"small"', b'"name":"other"')
    )
    program_file(model.folder).unlink()
    save(model.folder, renamed, model.weights)
    with caplog.at_level(logging.WARNING, "moiety.server"):
        assert model.prepare() == model.layers
    assert "another program" in caplog.text


def test_a_consistent_file_with_other_hints_is_found_out(
    model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    """As a release would leave it that derived hints otherwise, and did not say so."""
    model.prepare()
    with safetensors.safe_open(model.file, framework="numpy") as opened:
        metadata, names = opened.metadata(), list(opened.keys())
        tensors = {
            name: np.ascontiguousarray(np.flip(opened.get_tensor(name), axis=-1)) for name in names
        }
    contents = _digest(
        {int(name.removeprefix("hint.")): tensor for name, tensor in tensors.items()}
    )
    safetensors.numpy.save_file(tensors, model.file, {**metadata, "contents": contents})
    with caplog.at_level(logging.WARNING, "moiety.server"):
        assert model.prepare() == model.layers + PROBE
    assert "is not the one that follows from the weights" in caplog.text


def test_a_folder_that_cannot_be_written_costs_only_time(
    model: Model, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    with caplog.at_level(logging.WARNING, "moiety.server"):
        assert model.prepare() == model.layers
    assert "No space left" in caplog.text
    assert [path.name for path in model.file.parent.iterdir() if "hints" in path.name] == []
