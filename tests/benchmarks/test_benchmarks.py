"""The benchmarks at small size: their rows are complete, and a wrong result stops
them before anything is timed.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from benchmarks import accuracy_vs_bits, cost_tables, inference, protocols, results
from benchmarks.corpus import read_corpus
from benchmarks.harness import ROOT, Row, VerificationFailed
from benchmarks.micro import Case, cases
from benchmarks.parties import two_processes
from benchmarks.statistics import auroc, delong, paired_change
from moiety.protocols.cost import Cost, SoftSpoken
from moiety.protocols.errors import BadInput
from tests.support.command import Compiled

SMALL = ["--elements", "300", "--pool", "2,7,8", "--shrink", "32", "--runs", "1", "--no-pin"]
EVERY_ROW = {"machine", "versions", "kernels_backend", "seed"}


def small_case(word: str) -> Case:
    return next(case for case in cases(300, (2, 7, 8), 32, seed=5) if word in case.name)


@pytest.mark.parametrize(
    "name",
    [
        "inference",
        "networks",
        "kernels",
        "protocols",
        "accuracy_vs_bits",
        "cost_tables",
        "batches",
        "threads",
    ],
)
def test_help_explains(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"python -m benchmarks.{name}" in done.stdout
    assert "usage:" in done.stdout


@pytest.mark.parametrize("ot", ["softspoken", "mixed", "silent"])
def test_every_protocol_is_verified_and_timed(tmp_path: Path, ot: str) -> None:
    rows = protocols.main([*SMALL, "--ot", ot, "--json", str(tmp_path / "rows.json")])
    assert json.loads((tmp_path / "rows.json").read_text()) == json.loads(json.dumps(rows))
    assert {row["case"] for row in rows} == {
        case.name for case in cases(300, (2, 7, 8), 32, seed=1)
    }
    for row in rows:
        assert row.keys() >= EVERY_ROW | {
            "seconds",
            "server_cpu_s",
            "client_cpu_s",
            "work_per_second",
            "peak_rss_server",
        }
        assert row["verified"]
        assert len(row["seconds_each"]) == row["runs"] == 1
        assert row["bytes_total"] == row["bytes_client_to_server"] + row["bytes_server_to_client"]


@pytest.mark.parametrize(
    "word", ["relu 16 to 28", "truncate exact", "max-pool", "conv 3x3 14x14 128->32 flooded"]
)
def test_a_wrong_result_is_not_timed(word: str) -> None:
    case = small_case(word)
    with two_processes(pinned=False) as pair:
        pair.make(case.maker, *case.arguments)
        call = pair.run(results=True)
        protocols.verify(case, call, SoftSpoken())
        call.client.result.reshape(-1)[7] ^= np.uint64(2)
        with pytest.raises(VerificationFailed, match=r"1 of .* values are wrong"):
            protocols.verify(case, call, SoftSpoken())


def test_a_wrong_correlation_is_noticed() -> None:
    case = small_case("correlations of 4")
    with two_processes(pinned=False) as pair:
        pair.make(case.maker, *case.arguments)
        call = pair.run(results=True)
    protocols.verify(case, call, SoftSpoken())
    call.server.result[1][11, 3] ^= 16
    with pytest.raises(VerificationFailed, match="1 of 300 correlations"):
        protocols.verify(case, call, SoftSpoken())


def test_undeclared_traffic_is_noticed() -> None:
    case = small_case("relu 13 to 24")
    with two_processes(pinned=False) as pair:
        pair.make(case.maker, *case.arguments)
        call = pair.run(results=True)
    protocols.verify(case, call, SoftSpoken())
    for more in (("C", 1), ("S", 1)):
        wrong = replace(case, declared=case.declared + Cost.of(more))
        with pytest.raises(VerificationFailed, match="declared"):
            protocols.verify(wrong, call, SoftSpoken())


def test_a_party_that_fails_is_reported() -> None:
    with two_processes(pinned=False) as pair:
        pair.make("benchmarks.micro:make_relu", 1, (4,), 16, 28)
        with pytest.raises(RuntimeError, match="AttributeError"):
            pair.make("benchmarks.micro:make_nothing")


@pytest.mark.timeout(200)
def test_inference_row(compiled: Compiled, tmp_path: Path) -> None:
    picture = next(compiled.pictures.iterdir())
    arguments = [
        "--model",
        compiled.model,
        "--image",
        picture,
        "--compiled",
        compiled.folder,
        "--rounding",
        "exact",
    ]
    rows = inference.main(
        [*map(str, arguments), "--runs", "2", "--no-pin", "--json", str(tmp_path / "rows.json")]
    )
    assert json.loads((tmp_path / "rows.json").read_text()) == json.loads(json.dumps(rows))
    wanted = {
        "rounding",
        "plan",
        "setup_s",
        "prepare_s",
        "total_s",
        "server_cpu_s",
        "client_cpu_s",
        "rounds",
        "overflows",
    }
    wanted |= {
        "bytes_client_to_server",
        "bytes_server_to_client",
        "bytes_by_step_kind",
        "seconds_by_step_kind",
    }
    wanted |= {"peak_rss_server", "peak_rss_client", "max_diff_cleartext", "max_diff_float"}
    assert len(rows) == 2
    for row in rows:
        assert row.keys() >= EVERY_ROW | wanted
        assert row["max_diff_cleartext"] == 0
        assert row["max_diff_float"] < 0.5
        assert sum(row["bytes_by_step_kind"].values()) == row["bytes_total"]


def test_inference_refuses_a_wrong_result(
    compiled: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The executor's answer shifted by one in the last place: nothing is
    timed, and no row is written.
    """
    honest = inference.simulate

    def shifted(*arguments: object) -> inference.Expected:
        expected = honest(*arguments)  # type: ignore[arg-type]
        return replace(expected, mean=[mean + 2.0**-14 for mean in expected.mean])

    monkeypatch.setattr(inference, "simulate", shifted)
    picture = next(compiled.pictures.iterdir())
    arguments = [
        "--model",
        compiled.model,
        "--image",
        picture,
        "--compiled",
        compiled.folder,
        "--rounding",
        "exact",
    ]
    with pytest.raises(VerificationFailed, match="logits differ from the cleartext executor"):
        inference.main([*map(str, arguments), "--runs", "1", "--no-pin"])


def test_inference_refuses_undeclared_bytes(
    compiled: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = inference.costing.image_cost
    monkeypatch.setattr(
        inference.costing, "image_cost", lambda program: honest(program) + Cost.of(("C", 1))
    )
    picture = next(compiled.pictures.iterdir())
    arguments = [
        "--model",
        compiled.model,
        "--image",
        picture,
        "--compiled",
        compiled.folder,
        "--rounding",
        "exact",
    ]
    with pytest.raises(VerificationFailed, match="declared are"):
        inference.main([*map(str, arguments), "--runs", "1", "--no-pin"])


@pytest.fixture
def corpus(tmp_path: Path, compiled: Compiled) -> tuple[Path, Path]:
    """(a labelled folder, a model that names its outputs)."""
    model = onnx.load(compiled.model)
    model.metadata_props.add(key="moiety.labels", value=json.dumps(["cat", "dog", "owl"]))
    onnx.save(model, tmp_path / "model.onnx")
    rng = np.random.default_rng(2)
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "split", "group_id", "cat", "nih_dog", "owl"])
        for index in range(18):
            name, split = f"{index}.png", "train" if index < 6 else "test"
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(tmp_path / name)
            writer.writerow(
                [
                    name,
                    split,
                    f"patient {index // 2}",
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


def test_the_cost_table_is_up_to_date() -> None:
    assert cost_tables.main(["--check"]) == 0


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
    single = {
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
    document.write_text(f"before\n{results.BEGIN}\nold figures\n{results.END}\nafter\n")
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
