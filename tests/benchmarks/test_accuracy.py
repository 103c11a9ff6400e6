"""Accuracy against bits: the corpus, the statistics, and a sweep of a small network."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from benchmarks import accuracy, accuracy_vs_bits, sites
from benchmarks.support.corpus import images_of_sites, read_corpus
from benchmarks.support.roc import auroc, delong, paired_change
from moiety.protocols.errors import BadInput
from tests.support.command import Compiled

EVERY_ROW = {"machine", "versions", "kernels_backend", "seed"}


@pytest.fixture
def corpus(tmp_path: Path, compiled: Compiled) -> tuple[Path, Path]:
    """(a labelled folder, a model that names its outputs)."""
    model = onnx.load(compiled.model)
    model.metadata_props.add(key="moiety.labels", value=json.dumps(["cat", "dog", "owl"]))
    onnx.save(model, tmp_path / "model.onnx")
    rng = np.random.default_rng(2)
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "split", "group_id", "site", "cat", "nih_dog", "owl"])
        for index in range(18):
            name, split = f"{index}.png", "train" if index < 6 else "test"
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(tmp_path / name)
            writer.writerow(
                [
                    name,
                    split,
                    f"patient {index // 2}",
                    f"site {index % 5}",
                    index % 2,
                    index % 3 // 2,
                    "" if index % 4 else index % 8 // 4,
                ]
            )
    return tmp_path, tmp_path / "model.onnx"


@pytest.mark.timeout(200)
def test_accuracy_sweep(corpus: tuple[Path, Path], tmp_path: Path) -> None:
    folder, model = corpus
    options = [
        "--model",
        model,
        "--data",
        folder,
        "--images",
        "0",
        "--calibration",
        "6",
        "--bootstrap",
        "20",
    ]
    outputs = [
        "--csv",
        tmp_path / "a.csv",
        "--plot",
        tmp_path / "a.png",
        "--json",
        tmp_path / "a.json",
    ]
    sweep = ["--activation-bits", "8", "14", "--weight-bits", "10", "--processes", "2"]
    rows = accuracy_vs_bits.main([*map(str, [*options, *outputs]), *sweep])
    assert [row["activation_bits"] for row in rows] == [8, 14]
    for row in rows:
        assert row.keys() >= EVERY_ROW | {
            "logit_error_max",
            "overflows",
            "bytes_total",
            "rounds",
            "images",
        }
        assert row["images"] == 12
        assert row["labels"]["owl"]["n"] == 3
        for entry in row["labels"].values():
            assert entry["auroc_float"] == pytest.approx(entry["auroc"] - entry["change"])
            assert 0 <= entry["auroc"] <= 1
    assert rows[0]["bytes_total"] < rows[1]["bytes_total"]
    assert rows[0]["logit_error_mean"] > rows[1]["logit_error_mean"]
    lines = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert [line["label"] for line in lines] == ["cat", "dog", "owl"] * 2
    assert Image.open(tmp_path / "a.png").width > 600


def test_corpus_reads_what_is_there(corpus: tuple[Path, Path]) -> None:
    folder, _ = corpus
    few = read_corpus(folder, "test", ["dog", "owl"], 3)
    assert [path.name for path in few.files] == ["6.png", "12.png", "17.png"]
    assert few.truth.shape == (3, 2)
    with pytest.raises(BadInput, match="no column for horse"):
        read_corpus(folder, "test", ["horse"])
    with pytest.raises(BadInput, match="no image of split 'val'"):
        read_corpus(folder, "val", ["dog"])


def test_auroc_and_its_interval() -> None:
    """Against counted pairs, and DeLong's variance against the spread over
    samples of a known distribution.
    """
    rng = np.random.default_rng(1)
    scores, labels = rng.integers(0, 6, 60).astype(float), rng.random(60) < 0.4
    pairs = np.sign(scores[labels][:, None] - scores[~labels][None, :])
    assert auroc(scores, labels) == pytest.approx((1 + pairs.mean()) / 2)
    assert np.isnan(auroc(scores, np.zeros(60, bool)))
    labels = np.arange(80) < 30
    samples = [delong(rng.normal(size=80) + labels, labels) for _ in range(400)]
    spread = np.std([sample.value for sample in samples])
    halves = np.mean([sample.high - sample.low for sample in samples]) / 2 / 1.96
    assert halves == pytest.approx(spread, rel=0.12)
    true = 0.7602  # Phi(1 / sqrt(2))
    assert 0.9 < np.mean([sample.low < true < sample.high for sample in samples]) < 0.99


def test_paired_change_of_equal_scores_is_zero() -> None:
    rng = np.random.default_rng(1)
    scores, labels = rng.normal(size=40), np.arange(40) % 2 == 0
    groups = np.array([f"{i // 2}" for i in range(40)])
    change = paired_change(scores, scores, labels, groups, 50, rng)
    assert (change.value, change.low, change.high) == (0, 0, 0)
    worse = paired_change(rng.normal(size=40), scores + 9 * labels, labels, groups, 200, rng)
    assert worse.high < 0


@pytest.mark.timeout(200)
def test_accuracy_of_a_compiled_model(
    corpus: tuple[Path, Path], compiled: Compiled, tmp_path: Path
) -> None:
    given = [compiled.folder, "--model", corpus[1], "--data", corpus[0], "--bootstrap", 20]
    (row,) = accuracy.main([*map(str, given), "--json", str(tmp_path / "a.json")])
    assert row.keys() >= EVERY_ROW | {"logit_error_rms", "overflows", "largest_change"}
    assert row["rounding"] == "exact"
    assert row["images"] == 12
    assert row["logit_error_mean"] <= row["logit_error_rms"] <= row["logit_error_max"]
    for label in ("cat", "dog", "owl"):
        assert any(line.startswith(f"| {label} | ") for line in accuracy.table(row))
    assert json.loads((tmp_path / "a.json").read_text()) == json.loads(json.dumps([row]))


def test_images_of_all_sites(corpus: tuple[Path, Path]) -> None:
    """Twelve images of five sites: one of each, then one more of the first two."""
    chosen = images_of_sites(corpus[0], "test", 7)
    assert list(chosen.values()) == [f"site {site}" for site in (0, 1, 2, 3, 4, 0, 1)]
    assert len({path.name for path in chosen}) == 7
    assert len(images_of_sites(corpus[0], "test", 100)) == 12
    with pytest.raises(BadInput, match="no image of split"):
        images_of_sites(corpus[0], "none", 7)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("batch", [1, 2])
def test_real_images_are_equal_to_the_executor(
    compiled: Compiled, tmp_path: Path, batch: int
) -> None:
    lines = [f"{file},test,{file.stem}" for file in sorted(compiled.pictures.iterdir())]
    (tmp_path / "labels.csv").write_text("\n".join(["file,split,site", *lines]))
    given = ["--data", tmp_path, "--compiled", compiled.folder, "--model", compiled.model]
    rows = sites.main([*map(str, given), "--images", "5", "--batch", str(batch), "--no-pin"])
    assert [row["site"] for row in rows] == ["0", "1", "2", "3", "4"]
    for row in rows:
        assert row["max_diff_cleartext"] == 0
        assert row["logits"] == 3
