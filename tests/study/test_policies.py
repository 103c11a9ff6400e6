"""Studies of compiled models under each policy that tells of images, from the model's file to the
report: what is reported is what the cleartext executor gives.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from sklearn.metrics import roc_auc_score

from moiety.protocols.arrays import F64
from moiety.runtime.program.artifacts import load_vendor, program_file
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.policy import Reveal
from tests.compiler.test_policies import IMAGES, LABELS, THRESHOLDS, model_of, ranges_of
from tests.support.command import moiety, serving
from tests.support.studies import write_csv

Bits = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Done:
    """values: of the cleartext executor, `(images, ...)`; truth: `(images, labels)`."""

    analysis: dict[str, Any]
    values: F64
    truth: F64

    def of(self, part: str) -> dict[str, Any]:
        """What a part of the analysis has of each label, all sites together."""
        rows = [row for row in self.analysis[part] if row["counts"]["site"] is None]
        return {row["counts"]["label"]: row for row in rows}


def study(folder: Path, reveal: Reveal, *last: str) -> Done:
    """Of the network that ends in these ops."""
    onnx.save(model_of(last), folder / "model.onnx")
    ranges_of(last).save(folder / "ranges.safetensors")
    options: list[object] = ["--calibration", folder / "ranges.safetensors", "--reveal", reveal]
    options += ["--activation-bits", 12, "--preprocessing", "none", "--labels", ",".join(LABELS)]
    if reveal == "decision":
        options += ["--thresholds", ",".join(f"{k}={v}" for k, v in THRESHOLDS.items())]
    moiety("compile", folder / "model.onnx", "-o", folder / "out", *options).check()
    truth = np.random.default_rng(3).integers(0, 2, (len(IMAGES), len(LABELS)))
    truth[:2] = [[0], [1]]
    rows = []
    for number, image in enumerate(IMAGES):
        np.save(folder / f"{number}.npy", image)
        rows.append([f"{number}.npy", f"p{number}", *truth[number]])
    listed = write_csv(folder / "cohort.csv", ["file", "patient", *LABELS], rows)
    with serving(folder / "out", "--no-audit") as server:
        public = program_file(folder / "out")
        options = ["-o", folder / "study", "--connect", server.address]
        moiety("evaluate", public, listed, *options).check()
    executor = CleartextExecutor(*load_vendor(folder / "out"))
    values = [next(iter(executor.run(image).values())) for image in IMAGES]
    analysis = json.loads((folder / "study" / "report.json").read_text())["analysis"]
    assert (folder / "study" / "report.html").exists()
    return Done(analysis, np.stack(values).astype(np.float64), truth.astype(np.float64))


def test_probabilities(tmp_path: Path) -> None:
    done = study(tmp_path, "probabilities", "Sigmoid")
    found = done.of("discrimination")
    for label, truth, values in zip(LABELS, done.truth.T, done.values.T, strict=True):
        assert found[label]["secure"]["auroc"] == pytest.approx(roc_auc_score(truth, values))


def test_decisions(tmp_path: Path) -> None:
    done = study(tmp_path, "decision", "Sigmoid")
    check_decisions(done, done.values != 0)
    assert not done.analysis["discrimination"]


def test_the_largest_label(tmp_path: Path) -> None:
    done = study(tmp_path, "top-1")
    (chosen,) = done.values.T.astype(np.int64)
    check_decisions(done, np.arange(len(LABELS)) == chosen[:, None])
    assert not done.analysis["discrimination"]


def check_decisions(done: Done, taken: Bits) -> None:
    """taken: what the executor decides, bool `(images, labels)`."""
    found = done.of("decisions")
    for label, truth, decided in zip(LABELS, done.truth.T != 0, taken.T, strict=True):
        secure = found[label]["secure"]
        for name, of in (("sensitivity", decided[truth]), ("specificity", ~decided[~truth])):
            assert (secure[name]["hits"], secure[name]["total"]) == (of.sum(), of.size)
