"""Sweeps: which plans, how they are judged, what a crash leaves, the command, the figure."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console

from moiety.compiler.sweep import plot
from moiety.compiler.sweep.corpus import Corpus, corpus_of
from moiety.compiler.sweep.grid import Grid, Widths
from moiety.compiler.sweep.journal import Journal
from moiety.compiler.sweep.judgement import Judge
from moiety.compiler.sweep.rows import LabelRow, PlanRow, read_plans, write_plans
from moiety.compiler.sweep.table import WIDE, table
from moiety.protocols.errors import BadInput
from moiety.runtime.intake.beside import Row
from moiety.runtime.study.statistics.resampling import Bootstrap
from tests.support.command import COMMAND, ENVIRONMENT, Compiled, moiety

# --- which plans ----------------------------------------------------------------------------------


def test_a_cross_around_the_planners_choice() -> None:
    plans = Grid(("exact", "stochastic")).around(8.01, 9.36)
    assert len(plans) == len(set(plans)) == 22
    exact = {(each.activation_bits, each.weight_bits) for each in plans if each.rounding == "exact"}
    assert {(8, 9), (5, 9), (11, 9), (8, 5), (8, 12)} <= exact
    assert all(activations == 8 or weights == 9 for activations, weights in exact)
    asked = Grid(activation_bits=(6, 30), weight_bits=(9,)).around(8.01, 9.36)
    assert [(each.activation_bits, each.weight_bits) for each in asked] == [(6, 9), (30, 9), (8, 9)]
    assert min(each.weight_bits or 0 for each in Grid().around(4, 3)) == 3
    assert Widths("exact").options().searching
    assert not plans[0].options().searching


# --- how they are judged --------------------------------------------------------------------------


def random_corpus(n: int = 40) -> Corpus:
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 2, (n, 2)).astype(float)
    truth[::5, 1] = np.nan
    groups = np.array([f"{index // 2}" for index in range(n)])
    return Corpus([Path(f"{index}.png") for index in range(n)], groups, truth, ("cat", "dog"))


def test_equal_scores_change_nothing() -> None:
    corpus, rng = random_corpus(), np.random.default_rng(1)
    scores = rng.normal(size=(40, 3))
    judged = Judge(corpus, Bootstrap(50, 0)).judged(scores, scores, [0, 2])
    assert judged["largest_change"] == judged["largest_change_high"] == 0
    assert judged["error_max"] == judged["error_rms_high"] == 0
    assert judged["labels"]["dog"].images == 32


def test_a_change_has_its_interval_and_one_class_has_none() -> None:
    corpus, rng = random_corpus(), np.random.default_rng(1)
    corpus.truth[:, 1] = np.where(np.isnan(corpus.truth[:, 1]), np.nan, 1)
    floats = rng.normal(size=(40, 2)) + 2 * np.nan_to_num(corpus.truth)
    judged = Judge(corpus, Bootstrap(200, 0)).judged(
        floats + rng.normal(size=(40, 2)), floats, [0, 1]
    )
    cat, dog = judged["labels"]["cat"], judged["labels"]["dog"]
    assert cat.change_low < cat.change < 0
    assert judged["largest_change"] == pytest.approx(cat.auroc_float - cat.auroc)
    assert judged["largest_change_low"] <= judged["largest_change"] <= judged["largest_change_high"]
    assert judged["error_rms_low"] < judged["error_rms"] < judged["error_rms_high"]
    assert (dog.positives, dog.auroc, dog.change_low) == (32, None, None)


def test_labels_of_a_list() -> None:
    files = [Path("a.png"), Path("b.png"), Path("c.png")]
    cells = {"file": "a.png", "patient": "p", "dog": "1", "cat": ""}
    rows = {files[0]: [Row("list.csv, line 2", Path(), cells)]}
    rows[files[1]] = [Row("list.csv, line 3", Path(), {**cells, "dog": "-1", "cat": "0"})]
    corpus = corpus_of(files, rows, ["cat", "owl", "dog"])
    assert corpus.labels == ("cat", "dog")
    np.testing.assert_array_equal(corpus.truth, [[np.nan, 1], [0, np.nan], [np.nan, np.nan]])
    assert list(corpus.groups) == ["p", "p", "image 2"]
    rows[files[2]] = [Row("list.csv, line 4", Path(), {**cells, "dog": "maybe"})]
    with pytest.raises(BadInput, match=r"line 4: dog is 'maybe'; a label is 1, 0, or empty"):
        corpus_of(files, rows, ["dog"])


# --- what is kept ---------------------------------------------------------------------------------


def test_a_journal_forgets_only_the_line_that_a_crash_cut(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    journal = Journal.open(file)
    for key in "ab":
        journal.add(PlanRow(key=key, rounding="exact", chosen=False))
    whole = file.read_bytes()
    for cut in (*range(1, len(whole), 31), len(whole) - 1):
        file.write_bytes(whole[:cut])
        again = Journal.open(file)
        assert len(again.rows) == whole[:cut].count(b"\n")
        again.add(PlanRow(key="c", rounding="exact", chosen=True))
        assert Journal.open(file).rows == again.rows
    file.write_bytes(b"{}\n" + whole)
    with pytest.raises(BadInput, match="line 1, is no row of a sweep"):
        Journal.open(file)


def drawn_rows() -> list[PlanRow]:
    def row(activations: float, weights: float, change: float, chosen: bool = False) -> PlanRow:
        return PlanRow(
            key=f"{activations} {weights}",
            rounding="exact",
            chosen=chosen,
            activation_bits=activations,
            weight_bits=weights,
            images=7,
            largest_change=change,
            largest_change_low=0.0,
            largest_change_high=2 * change,
            largest_label="cat",
            error_rms=0.1 / activations,
            error_rms_low=0.05 / activations,
            error_rms_high=0.2 / activations,
            bytes_up=5,
            bytes_down=7,
            overflows=int(activations < 8),
        )

    return [row(8.1, 9.4, 0, chosen=True), row(7, 9, 0.02), row(8, 9, 0.0), row(8, 7, 0.3)]


def test_plans_survive_their_table(tmp_path: Path) -> None:
    rows = drawn_rows()
    write_plans(
        [*rows, PlanRow(key="n", rounding="exact", chosen=False, refused="no")], tmp_path / "p"
    )
    assert {row.key: row for row in read_plans(tmp_path / "p")} == {row.key: row for row in rows}
    (tmp_path / "q").write_text("key,rounding\n1,upwards\n")
    with pytest.raises(BadInput, match="no table of plans"):
        read_plans(tmp_path / "q")


def test_a_figure_shows_a_change_of_zero(tmp_path: Path) -> None:
    for suffix in ("png", "svg"):
        plot.plot(drawn_rows(), tmp_path / f"a.{suffix}", "A title")
    assert Image.open(tmp_path / "a.png").width > 600
    first = (tmp_path / "a.svg").read_bytes()
    plot.plot(drawn_rows(), tmp_path / "a.svg", "A title")
    assert (tmp_path / "a.svg").read_bytes() == first
    axis = Figure().subplots()
    plot.draw_panel(axis, drawn_rows(), plot.CHANGE, plot.COLUMNS[0])
    zeros = [line for line in axis.lines if 0.0 in np.asarray(line.get_ydata(), float)]
    assert zeros
    bottom, top = axis.get_ylim()
    assert bottom == 0 < top
    assert np.isfinite(axis.transData.transform((8, 0))).all()


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory, compiled: Compiled) -> Path:
    file = tmp_path_factory.mktemp("labelled") / "images.csv"
    pictures = sorted(compiled.pictures.iterdir())
    lines = [f"{picture},{i % 2},{i % 3 // 2},p{i // 2}" for i, picture in enumerate(pictures)]
    file.write_text("\n".join(["file,cat,dog,patient", *lines]))
    return file


def arguments(compiled: Compiled, images: Path, folder: Path) -> list[object]:
    given = ["sweep", compiled.model, "--calibration", compiled.pictures, "--images", images]
    widths = ["--activation-bits", "5,12", "--weight-bits", "10", "--bootstrap", "20"]
    return [*given, "-o", folder, "--labels", "cat,dog,owl", *widths]


@pytest.mark.timeout(200)
def test_a_sweep_goes_on_after_kill_9(compiled: Compiled, labelled: Path, tmp_path: Path) -> None:
    folder, command = tmp_path / "sweep", arguments(compiled, labelled, tmp_path / "sweep")
    journal = folder / "journal.jsonl"
    process = subprocess.Popen(
        [*COMMAND, *map(str, command)],
        env=ENVIRONMENT,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while process.poll() is None and (not journal.exists() or b"\n" not in journal.read_bytes()):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = journal.read_bytes().rpartition(b"\n")[0]
    assert before
    figure = tmp_path / "sweep.svg"
    done = moiety(*command, "--plot", figure).check()
    assert journal.read_bytes().startswith(before + b"\n")
    rows = [msgspec.json.decode(line, type=PlanRow) for line in journal.read_bytes().splitlines()]
    assert len({row.key for row in rows}) == len(rows) == 4
    plans = list(csv.DictReader((folder / "plans.csv").open()))
    assert [plan["chosen"] for plan in plans] == ["True", "False", "False", "False"]
    assert float(plans[1]["error_rms"]) > float(plans[-1]["error_rms"])
    labels = list(csv.DictReader((folder / "labels.csv").open()))
    assert [line["label"] for line in labels] == ["cat", "dog"] * 4
    assert "planner's choice" in done.stdout
    assert figure.read_text().startswith("<?xml")


def test_without_labels_there_is_no_auroc(compiled: Compiled, tmp_path: Path) -> None:
    command = arguments(compiled, compiled.pictures, tmp_path / "sweep")
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "labels.csv").write_text("of another sweep")
    done = moiety(*command, "--margin-bits", "2").check()
    assert "AUROC" not in done.stdout
    count = len([*compiled.pictures.iterdir()])
    assert f"warning: {count} of {count} images of --images are calibration images" in done.stderr
    assert not (tmp_path / "sweep" / "labels.csv").exists()
    moiety(*command, "--plot", "figure.doc").refused(5, "a figure is .svg, .png or .pdf")


def test_a_sweep_needs_no_extra() -> None:
    """But for its figure, which says what is missing before anything is done."""
    absent = ("matplotlib", "jinja2", "statsmodels", "ray")
    lines = [
        "import sys",
        f"sys.modules.update(dict.fromkeys({absent}))",
        "from pathlib import Path",
        "from moiety.compiler.commands.sweep import drawing",
        "drawing(None)",
        "drawing(Path('a.svg'))",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False
    )
    assert "BadInput: --plot needs matplotlib" in done.stderr
    assert "pip install 'moiety[study]'" in done.stderr


@pytest.mark.parametrize(("width", "interval"), [(80, False), (WIDE, True)])
def test_a_table_of_plans_has_a_line_for_each(width: int, interval: bool) -> None:
    """In a narrow terminal, too, where the CSV file has the rest."""
    plan = PlanRow(
        key="k",
        rounding="stochastic",
        chosen=True,
        activation_bits=12.83,
        weight_bits=13.55,
        largest_change=0.0235,
        largest_change_low=0.0056,
        largest_change_high=0.1429,
        largest_label="Infiltration",
        error_rms=0.0021,
        error_max=0.0068,
        overflows=1,
        bytes_up=1_000_000_000,
        bytes_down=536_800_000,
        flights=1202,
        labels={"Infiltration": LabelRow(images=40, positives=5)},
    )
    console = Console(width=width)
    with console.capture() as shown:
        console.print(table([plan], width))
    text = shown.get()
    assert ("0.0056 to 0.1429" in text) == interval
    assert "1,536.8" in text
    assert len([line for line in text.splitlines() if "│" in line and "stochastic" in line]) == 1
    assert len(text.splitlines()) <= 8, text
