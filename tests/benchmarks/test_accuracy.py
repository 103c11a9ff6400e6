"""Accuracy: the corpus, one compiled model, and a sweep of a small network."""

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
def test_accuracy_sweep(
    corpus: tuple[Path, Path],
    compiled: Compiled,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both roundings; then the figure and the document from the tables alone."""
    folder, model = corpus
    given = ["-o", tmp_path / "bits", "--model", model, "--data", folder, "--images", 0]
    given += ["--calibration", compiled.pictures, "--bootstrap", 20]
    widths = ["--activation-bits", "8", "14", "--weight-bits", "10"]
    rows = accuracy_vs_bits.main([*map(str, given), *widths])
    assert {row.rounding for row in rows} == {"exact", "stochastic"}
    exact = {row.activation_bits: row for row in rows if not row.chosen and row.rounding == "exact"}
    assert exact[8].bytes_total < exact[14].bytes_total
    assert (exact[8].error_rms or 0) > (exact[14].error_rms or 0)
    for row in rows:
        assert row.images == 12
        assert row.labels["owl"].images == 3
    document = tmp_path / "accuracy.md"
    document.write_text("# Head\n\n<!-- sweep: begin -->\n")
    for name, place in (
        ("DOCUMENT", document),
        ("DATA", tmp_path),
        ("PICTURE", tmp_path / "p.svg"),
    ):
        monkeypatch.setattr(accuracy_vs_bits, name, place)
    drawn = accuracy_vs_bits.main(["-o", str(tmp_path / "bits"), "--plot-only", "--write"])
    assert len(drawn) == len(rows)
    lines = document.read_text().splitlines()
    assert sum(line.startswith(("| exact |", "| stochastic |")) for line in lines) == len(rows)
    assert (tmp_path / "p.svg").stat().st_size > 10_000
    assert (tmp_path / "labels.csv").exists()


def test_corpus_reads_what_is_there(corpus: tuple[Path, Path]) -> None:
    folder, _ = corpus
    few = read_corpus(folder, "test", ["dog", "owl"], 3)
    assert [path.name for path in few.files] == ["6.png", "12.png", "17.png"]
    assert few.truth.shape == (3, 2)
    with pytest.raises(BadInput, match="no column for horse"):
        read_corpus(folder, "test", ["horse"])
    with pytest.raises(BadInput, match="no image of split 'val'"):
        read_corpus(folder, "val", ["dog"])


@pytest.mark.timeout(200)
def test_accuracy_of_a_compiled_model(
    corpus: tuple[Path, Path], compiled: Compiled, tmp_path: Path
) -> None:
    given = [compiled.folder, "--model", corpus[1], "--data", corpus[0], "--bootstrap", 20]
    (row,) = accuracy.main([*map(str, given), "--json", str(tmp_path / "a.json")])
    assert row.keys() >= EVERY_ROW | {"error_rms", "overflows", "largest_change"}
    assert row["rounding"] == "exact"
    assert row["images"] == 12
    assert row["error_mean"] <= row["error_rms"] <= row["error_max"]
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
