"""A radiograph and a folder of all sorts through two processes, into JSON, CSV and DICOM SR at
once: one run, and what it leaves on disk and on a narrow terminal.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from rich.cells import cell_len

from tests.support.command import Compiled, Done, serving
from tests.support.dicom import COLLECTION, PATIENT, WHOLE, radiograph, saved
from tests.support.reports import LACKING, said_by_dciodvfy

pytest.importorskip("highdicom")

REAL = COLLECTION / (
    "chest_cr_nih_jpegbaseline_mono2.dcm"
    if COLLECTION == WHOLE
    else "thorax_dx_highdicom_mono1_inverse.dcm"
)
"""A radiograph of the data folder, or else the one in the tree."""

IDENTIFIER = "PID-4711-Q"
STUDY = {
    "StudyInstanceUID": "1.2.3.4.1",
    "SeriesInstanceUID": "1.2.3.4.2",
    "StudyID": "S1",
    "StudyDate": "20260101",
    "StudyTime": "120000",
    "AccessionNumber": "ACC-4711-Q",
    "ReferringPhysicianName": "Refersecret^Very",
    "InstitutionName": "Housesecret",
    "PatientID": IDENTIFIER,
    "PatientBirthDate": "19471231",
    "PatientSex": "F",
}
HEADER = (PATIENT, "Secretname", IDENTIFIER, "19471231", "ACC-4711-Q", "Refersecret", "Housesecret")
"""What the headers say of people."""

ACCEPTED = {
    "chest.dcm": "",
    "deep.png": "low-peak",
    "picture.png": "",
    "unstated.dcm": "body-part-absent",
}
"""Of the folder: name -> the code of the warning, if there is one."""
REFUSED = {
    "lateral.dcm": "a lateral view",
    "stranger.dcm": "body part (no word that DICOM defines)",
    "transparent.png": "has transparent pixels",
}
SKIPPED = {"later.dcm": "the same file as", "notes.txt": "not a type", "sr.dcm": "a structured"}


@dataclass(frozen=True)
class Run:
    """What one `moiety infer` left, and said at 80 columns; `log`: what the server did."""

    done: Done
    log: str
    folder: Path
    place: Path

    @property
    def results(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.place / "r.json").read_text())
        return found

    @property
    def rows(self) -> list[dict[str, str]]:
        with (self.place / "r.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    @property
    def reports(self) -> list[Path]:
        return sorted((self.place / "reports").iterdir())


def drawn(folder: Path, name: str, number: int, **changes: Any) -> Path:
    elements = {**STUDY, "SOPInstanceUID": f"1.2.3.4.5.{number}", **changes}
    return saved(radiograph(None, **elements), folder / name)


def all_sorts(folder: Path, picture: Path) -> None:
    """Files of every verdict."""
    folder.mkdir()
    shutil.copy(picture, folder / "picture.png")
    shutil.copy(COLLECTION / "sr_no_pixeldata.dcm", folder / "sr.dcm")
    (folder / "notes.txt").write_text("of the ward")
    (folder / ".hidden.png").write_text("no picture")
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(levels * 16).save(folder / "deep.png")
    Image.new("RGBA", (16, 16), (90, 90, 90, 40)).save(folder / "transparent.png")
    shutil.copy(drawn(folder, "chest.dcm", 1), folder / "later.dcm")
    drawn(folder, "unstated.dcm", 2, BodyPartExamined=None)
    drawn(folder, "lateral.dcm", 3, ViewPosition="LL")
    drawn(folder, "stranger.dcm", 4, BodyPartExamined="SECRETNAME")


@pytest.fixture(scope="module")
def run(compiled: Compiled, tmp_path_factory: pytest.TempPathFactory) -> Run:
    place = tmp_path_factory.mktemp("radiographs")
    folder = place / "from the archive, all that there was of one day in autumn"
    all_sorts(folder, compiled.pictures / "0.png")
    outputs = ("-o", place / "r.json", "-o", place / "r.csv", "-o", f"{place}/reports/")
    with serving(compiled.folder) as server:
        done = server.infer(compiled.public, REAL, folder, *outputs, columns=80).check()
        log = server.end().check().stderr
    return Run(done, log, folder, place)


def names(files: list[dict[str, Any]]) -> list[str]:
    return [Path(each["file"]).name for each in files]


def test_every_file_has_its_verdict(run: Run) -> None:
    results = run.results
    assert results["complete"] is True
    assert names(results["images"]) == [REAL.name, *ACCEPTED]
    for image, code in zip(results["images"][1:], ACCEPTED.values(), strict=True):
        assert image["verdict"] == ("accepted with warnings" if code else "accepted")
        assert [each["code"] for each in image["warnings"]] == ([code] if code else [])
        assert (image["identity"]["sop_instance_uid"] is None) == image["file"].endswith(".png")
    assert results["images"][0]["identity"]["sop_instance_uid"] == dcmread(REAL).SOPInstanceUID
    for found, expected in ((results["refused"], REFUSED), (results["skipped"], SKIPPED)):
        assert sorted(names(found)) == sorted(expected)
        for each in found:
            assert each["reason"].startswith(expected[Path(each["file"]).name])


def test_all_formats_say_the_same(run: Run) -> None:
    results = run.results
    rows = {row["file"]: row for row in run.rows}
    assert len(rows) == len(run.rows) == 1 + len(ACCEPTED | REFUSED | SKIPPED)
    reports = {source_of(dcmread(path)): dcmread(path) for path in run.reports}
    for image in results["images"]:
        row, (output,) = rows[image["file"]], image["outputs"]
        assert [float(row[label]) for label in output["labels"]] == output["values"]
        assert row["verdict"] == image["verdict"]
        assert row["pixel_sha256"] == image["identity"]["pixel_sha256"]
        if uid := image["identity"]["sop_instance_uid"]:
            np.testing.assert_allclose(scores_of(reports.pop(uid)), output["values"], rtol=1e-6)
    assert not reports
    assert {row["verdict"] for row in rows.values()} == {
        "accepted",
        "accepted with warnings",
        "refused",
        "skipped",
    }


def source_of(report: Dataset) -> str:
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    uid: str = study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    return uid


def scores_of(item: Dataset) -> list[float]:
    """All numbers of a content tree, in order."""
    found = []
    for each in item.get("ContentSequence", []):
        if each.ValueType == "NUM":
            found.append(float(each.MeasuredValueSequence[0].NumericValue))
        found += scores_of(each)
    return found


def test_the_terminal_says_everything_once(run: Run) -> None:
    lines = run.done.stderr.splitlines()
    assert [line for line, count in Counter(lines).items() if count > 1] == []
    said = run.done.stderr + run.done.stdout
    for name, code in ACCEPTED.items():
        if code:
            assert said.count(f"warning: {run.folder / name}: {code}: ") == said.count(code) == 1
        else:
            assert f"warning: {run.folder / name}: " not in said
    for name, reason in REFUSED.items():
        assert said.count(f"refused: {run.folder / name}: {reason}") == said.count(name) == 1
    for name, why in SKIPPED.items():
        assert said.count(f"{run.folder / name} ({why}") == said.count(name) == 1
    files = [REAL, *(run.folder / name for name in ACCEPTED)]
    for number, file in enumerate(files, start=1):
        assert said.count(f"{number} of {len(files)}: {file} in ") == 1
    assert ".hidden" not in said
    doubted = sum(image["verdict"] != "accepted" for image in run.results["images"])
    assert f"{len(files)} images, {doubted} with warnings, 3 refused, 3 skipped, in " in lines[-1]
    assert "everything is in " in lines[-1]
    told = lines.index(f"2 without a report in {run.place}/reports/:")
    assert told < next(at for at, line in enumerate(lines) if line.startswith("1 of "))


def test_the_table_fits_and_shows_every_value(run: Run) -> None:
    table = run.done.stdout
    assert max(map(cell_len, table.splitlines())) <= 80
    for image in run.results["images"]:
        assert Path(image["file"]).name[-12:] in table
        (output,) = image["outputs"]
        for label, value in zip(output["labels"], output["values"], strict=True):
            assert f"{label}: {value:.4f}" in table


def test_no_patient_is_named(run: Run) -> None:
    """But in the report, which is of the patient."""
    written = [(run.place / name).read_text() for name in ("r.json", "r.csv")]
    everything = "".join([run.done.stdout, run.done.stderr, run.log, *written])
    assert "finished, 5 images" in run.log
    real = dcmread(REAL)
    for value in (*HEADER, str(real.PatientName), str(real.PatientID)):
        assert value not in everything.replace(REAL.name, "")
    about = {source_of(report): report for report in map(dcmread, run.reports)}
    assert about["1.2.3.4.5.1"].PatientName == PATIENT
    assert about["1.2.3.4.5.1"].PatientID == IDENTIFIER


def test_the_log_of_the_server_names_no_file(run: Run) -> None:
    assert not [name for name in (REAL.name, *ACCEPTED) if name in run.log]


def test_dciodvfy_accepts_the_reports(run: Run) -> None:
    for path in run.reports:
        said = said_by_dciodvfy(path)
        assert all(any(known in line for known in LACKING) for line in said), said
        if source_of(dcmread(path)) != dcmread(REAL).SOPInstanceUID:
            assert said == []
