"""A model of an x-ray, and of age and sex, on the command line: compile, inspect, simulate, and two
real processes over TCP.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from moiety.protocols.errors import BadInput
from moiety.runtime.intake.collect import collect
from moiety.runtime.intake.loader import Reader, load
from moiety.runtime.program import artifacts
from moiety.runtime.program.cleartext import CleartextExecutor
from tests.support.command import Compiled, moiety, serving
from tests.support.several_inputs import clinical

COUNT = 4


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """Compiled from a CSV list, which is also what is inferred."""
    folder = tmp_path_factory.mktemp("several")
    onnx.save_model(clinical((1, "H", "W")), folder / "model.onnx")
    rng = np.random.default_rng(0)
    rows = ["file,clinical[0],clinical[1]"]
    for number in range(COUNT):
        pixels = rng.integers(0, 255, (8, 8), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{40 + 10 * number},{number % 2}")
    (folder / "cohort.csv").write_text("\n".join(rows))
    moiety(
        *("compile", folder / "model.onnx", "--calibration", folder / "cohort.csv"),
        *("-o", folder / "compiled", "--input-shape", "x=1,8,8", "--mean", "0.5", "--std", "0.25"),
        *("--activation-bits", "12", "--weight-bits", "10"),
    ).check()
    return Compiled(folder / "model.onnx", folder / "compiled", folder / "cohort.csv")


def test_two_processes_give_the_cleartext_result_bit_for_bit(
    cohort: Compiled, tmp_path: Path
) -> None:
    outputs = ("-o", tmp_path / "r.json", "-o", tmp_path / "r.csv")
    with serving(cohort.folder, "--once", "--batch", "2") as server:
        server.infer(cohort.public, cohort.pictures, "--batch", "2", *outputs).check()
        server.wait().check()
    images = json.loads((tmp_path / "r.json").read_text())["images"]
    program, weights = artifacts.load_vendor(cohort.folder)
    executor = CleartextExecutor(program, weights)
    reader = Reader.of(program, None, collect([cohort.pictures]).rows)
    assert len(images) == COUNT
    for image in images:
        (expected,) = executor.run(load(Path(image["file"]), reader).case).values()
        assert image["outputs"][0]["values"] == expected.ravel().tolist()
    with (tmp_path / "r.csv").open() as file:
        hashes = [row["inputs_sha256"] for row in csv.DictReader(file)]
    assert hashes == [image["identity"]["inputs_sha256"] for image in images]
    assert len(set(hashes)) == COUNT


def test_inspect_and_simulate(cohort: Compiled) -> None:
    shown = moiety("inspect", cohort.public).check().stdout
    assert "x 1x8x8, scale" in shown
    assert "; clinical 2, scale" in shown
    done = moiety("simulate", cohort.folder, cohort.pictures, "--model", cohort.model).check()
    assert "overflows: 0 values" in done.stdout


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((), "no value for the input 'clinical'"),
        (("--input", "clinical=630,1"), "outside the model's input range"),
    ],
)
def test_refused_before_a_server_is_looked_for(
    cohort: Compiled, given: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    picture = cohort.pictures.parent / "0.png"
    nowhere = ("--connect", "127.0.0.1:9", "-o", tmp_path / "r.json")
    done = moiety("infer", cohort.public, picture, *given, *nowhere)
    done.refused(BadInput.exit_code, "0.png: ", message)
