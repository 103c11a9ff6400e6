"""DICOM SR: what is in a report, what of the source, and what dciodvfy says of it."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from moiety.models.xrays import data_folder
from moiety.protocols.errors import BadInput
from moiety.runtime.intake.picture import Warned
from moiety.runtime.program.doubts import OUTPUT_RANGE
from moiety.runtime.results import outputs as outputs_module
from moiety.runtime.results import structured_report as sr
from moiety.runtime.results.outputs import Outputs, open_outputs
from moiety.runtime.results.record import ImageResult, ResultKind
from tests.support.dicom_sources import SECRET, a_source
from tests.support.reports import LACKING, said_by_dciodvfy
from tests.support.results import PROGRAM, an_image, an_output, some_results

LABELS = ("no_finding", "covid19", "naïve \\ label " * 9)


def an_answer(file: Path, kind: ResultKind = "probability") -> ImageResult:
    return an_image(str(file), [an_output([0.25, 0.5, 1e-9], LABELS, "findings", kind)])


def report_of(folder: Path, *files: Path, kind: ResultKind = "probability") -> list[Path]:
    """The reports of one command, in order."""
    reports = sr.open_reports(f"{folder}/")
    before = set(folder.iterdir())
    reports.save(some_results(*(an_answer(f, kind) for f in files)), files, last=True)
    made = [path for path in folder.iterdir() if path not in before]
    return sorted(made, key=lambda path: int(dcmread(path).InstanceNumber))


def items(report: Dataset) -> Iterator[tuple[str, Any]]:
    """Names and values of the content tree."""
    for item in report.get("ContentSequence", []):
        name = item.ConceptNameCodeSequence[0].CodeMeaning
        yield name, item
        yield from items(item)


def texts(report: Dataset, name: str) -> list[str]:
    return [item.TextValue for found, item in items(report) if found == name]


def test_what_a_report_says(tmp_path: Path) -> None:
    source = a_source(tmp_path)
    (path,) = report_of(tmp_path / "sr", source)
    report, original = dcmread(path), dcmread(source)
    assert path.name == f"{report.SOPInstanceUID}.dcm"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert report.SOPClassUID.name == "Comprehensive 3D SR Storage"
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert (report.CompletionFlag, report.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    assert report.StudyInstanceUID == original.StudyInstanceUID
    assert report.SeriesInstanceUID != original.SeriesInstanceUID
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == original.SOPInstanceUID
    assert texts(report, "Tracking Identifier") == [label.strip() for label in LABELS]
    assert texts(report, "Device Observer Serial Number") == [f"sha256:{PROGRAM.digest()}"]
    assert texts(report, "Algorithm Name") == ["small"] * 3
    certainties = [
        item.MeasuredValueSequence[0]
        for name, item in items(report)
        if name == "Certainty of Finding"
    ]
    assert [float(c.NumericValue) for c in certainties] == pytest.approx([25, 50, 1e-7])
    assert certainties[0].MeasurementUnitsCodeSequence[0].CodeValue == "%"


def test_what_is_no_probability_is_a_score(tmp_path: Path) -> None:
    (path,) = report_of(tmp_path / "sr", a_source(tmp_path), kind="score")
    scores = [item for name, item in items(dcmread(path)) if name == "Score"]
    assert float(scores[1].MeasuredValueSequence[0].NumericValue) == 0.5


def doubtful_report(folder: Path) -> Path:
    source = a_source(folder)
    image = an_answer(source)
    image.warnings = (Warned(OUTPUT_RANGE, "1 of 3 values lie outside"),)
    sr.open_reports(f"{folder}/sr/").save(some_results(image), [source], last=True)
    (path,) = (folder / "sr").iterdir()
    return path


def test_every_measurement_of_a_doubtful_result_is_qualified(tmp_path: Path) -> None:
    path = doubtful_report(tmp_path)
    found = [item for name, item in items(dcmread(path)) if name == "Certainty of Finding"]
    qualifiers = [item.NumericValueQualifierCodeSequence[0].CodeMeaning for item in found]
    assert qualifiers == ["Value out of range"] * 3


def test_of_the_source_it_has_patient_and_study_alone(tmp_path: Path) -> None:
    source = a_source(tmp_path, StudyDescription="THORAX")
    (path,) = report_of(tmp_path / "sr", source)
    report = dcmread(path)
    for keyword in (*sr.PATIENT, *sr.STUDY):
        assert report.get(keyword) == dcmread(source).get(keyword), keyword
    assert "not to be copied" not in str(report)
    assert "Nobody" not in str(report)


def test_two_runs_make_other_uids_and_the_same_content(tmp_path: Path) -> None:
    source = a_source(tmp_path)
    (one,) = report_of(tmp_path / "sr", source)
    (two,) = report_of(tmp_path / "sr", source)
    first, second = dcmread(one), dcmread(two)
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.SeriesInstanceUID != second.SeriesInstanceUID

    def without_new(report: Dataset) -> str:
        lines = str(report.ContentSequence).splitlines()
        return "\n".join(line for line in lines if "2.25." not in line)

    assert without_new(first) == without_new(second)
    assert texts(first, "Tracking Identifier")


def test_one_series_per_study_of_a_run(tmp_path: Path) -> None:
    first = a_source(tmp_path, "a.dcm")
    study = dcmread(first).StudyInstanceUID
    files = [
        first,
        a_source(tmp_path, "b.dcm", StudyInstanceUID=study),
        a_source(tmp_path, "c.dcm"),
    ]
    made = [dcmread(path) for path in report_of(tmp_path / "sr", *files)]
    assert [int(report.InstanceNumber) for report in made] == [1, 2, 3]
    assert made[0].SeriesInstanceUID == made[1].SeriesInstanceUID != made[2].SeriesInstanceUID


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ({"PatientBirthDate": "00000000"}, {"PatientBirthDate": ""}),
        ({"StudyTime": "noon"}, {"StudyTime": ""}),
        ({"PatientSex": "U"}, {"PatientSex": ""}),
        ({"PatientName": None, "PatientID": None, "PatientSex": None}, {"PatientName": ""}),
        ({"StudyDate": None, "StudyID": None, "AccessionNumber": None}, {"StudyDate": ""}),
        ({"PatientName": "やまだ^たろう"}, {"PatientName": "やまだ^たろう"}),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_headers_that_are_not_complete(
    tmp_path: Path, values: dict[str, Any], kept: dict[str, str]
) -> None:
    (path,) = report_of(tmp_path / "sr", a_source(tmp_path, **values))
    for keyword, value in kept.items():
        assert str(dcmread(path).get(keyword)) == value


def test_no_patient_is_named_outside_of_the_report(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """highdicom logs names that it finds odd, pydicom warns with the value."""
    odd = SECRET.replace("^", " ")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = a_source(tmp_path, PatientName=odd, StudyInstanceUID="not a uid " + odd)
        fine = a_source(tmp_path, "fine.dcm", PatientName=odd, StudyDate=odd)
    caplog.clear()  # what making them said
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        reports = sr.open_reports(f"{tmp_path}/sr/")
        left = reports.check([source, fine], PROGRAM)
        reports.save(some_results(an_answer(source), an_answer(fine)), [source, fine], last=True)
    assert [Path(each.file).name for each in left] == ["x.dcm"]
    said = "".join([caplog.text, *capfd.readouterr(), *map(str, caught), *map(str, left)])
    assert "Geheim" not in said
    (report,) = (tmp_path / "sr").iterdir()
    assert dcmread(report).PatientName == odd


class TestFilesWithoutReport:
    def test_are_known_before_anything_is_sent(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(b"a picture")
        files = [
            tmp_path / "a.png",
            a_source(tmp_path, "no-study.dcm", StudyInstanceUID=None),
            a_source(tmp_path, "fine.dcm"),
            tmp_path / "gone.dcm",
        ]
        left = sr.open_reports(f"{tmp_path}/sr/").check(files, PROGRAM)
        assert [Path(each.file).name for each in left] == ["a.png", "no-study.dcm", "gone.dcm"]
        assert left[0].reason == "it is not a DICOM file"
        assert left[1].reason == "its header has no valid StudyInstanceUID"
        assert "No such file" in left[2].reason

    def test_are_refused_where_they_would_have_no_result(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(b"a picture")
        files = [a_source(tmp_path), tmp_path / "a.png"]
        alone = Outputs(open_outputs([f"{tmp_path}/sr/"]))
        with pytest.raises(BadInput, match=r"1 of 2 images would have no result, .*a\.png"):
            alone.check(files, PROGRAM)
        both = Outputs(open_outputs([f"{tmp_path}/sr/", str(tmp_path / "r.json")]))
        left = both.check(files, PROGRAM)
        assert [each.file for each in left[f"{tmp_path}/sr/"]] == [str(tmp_path / "a.png")]

    def test_a_source_that_is_gone_after_the_work(self, tmp_path: Path) -> None:
        source, other = a_source(tmp_path), a_source(tmp_path, "other.dcm")
        reports = sr.open_reports(f"{tmp_path}/sr/")
        assert not reports.check([source, other], PROGRAM)
        source.unlink()
        reports.save(some_results(an_answer(source), an_answer(other)), [source, other], last=True)
        assert len(list((tmp_path / "sr").iterdir())) == 1
        assert [each.file for each in reports.without] == [str(source)]


class TestTheFolder:
    def test_must_be_writable(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for name in ("no/such/", "file/"):
            with pytest.raises(BadInput, match="cannot write reports to"):
                sr.open_reports(f"{tmp_path}/{name}")

    def test_reports_go_elsewhere_when_it_fails(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        told: list[str] = []
        files = [a_source(tmp_path, "a.dcm"), a_source(tmp_path, "b.dcm")]
        opened = Outputs(open_outputs([f"{tmp_path}/sr/"]), told.append)
        opened.save(some_results(an_answer(files[0])), files)
        shutil.move(tmp_path / "sr", tmp_path / "away")
        opened.finish(some_results(*map(an_answer, files)), files)
        assert "No such file" in told[0]
        (spare,) = (tmp_path / "here").iterdir()
        assert opened.moved[0].now == f"{spare}/"
        assert [int(dcmread(path).InstanceNumber) for path in spare.iterdir()] == [2]


def dicom_files() -> Path:
    data = data_folder()
    if data is None or not (data / "dicom").is_dir():
        pytest.skip("the DICOM files of MOIETY_DATA are not here")
    return data / "dicom"


def test_without_highdicom_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "moiety.runtime.results.structured_report")
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(BadInput, match=r"needs highdicom.*pip install 'moiety\[sr\]'"):
        outputs_module.open_outputs([f"{tmp_path}/sr/"])


def test_who_wants_no_report_loads_no_dicom() -> None:
    code = (
        "import sys, moiety.runtime.cli.commands.infer\n"
        "assert not {'highdicom', 'pydicom'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class TestDciodvfy:
    @pytest.mark.parametrize("kind", ["probability", "score"])
    def test_says_nothing(self, tmp_path: Path, kind: ResultKind) -> None:
        (path,) = report_of(tmp_path / "sr", a_source(tmp_path), kind=kind)
        assert said_by_dciodvfy(path) == []

    def test_says_nothing_of_a_doubtful_result(self, tmp_path: Path) -> None:
        assert said_by_dciodvfy(doubtful_report(tmp_path)) == []

    def test_would_say_something(self, tmp_path: Path) -> None:
        (path,) = report_of(tmp_path / "sr", a_source(tmp_path))
        report = dcmread(path)
        del report.VerificationFlag
        report.save_as(path)
        assert any("VerificationFlag" in line for line in said_by_dciodvfy(path))

    @pytest.mark.parametrize(
        "name",
        [
            "chest_cr_rg1_j2klossy_mono1_15bit.dcm",
            "thorax_dx_highdicom_mono1_inverse.dcm",
            "derived_ref_native15_mono1.dcm",
            "derived_mono2_12bit.dcm",
            "cspine_cr_tiny_rescale_mono1_12bit.dcm",
        ],
    )
    def test_says_nothing_of_real_sources(self, tmp_path: Path, name: str) -> None:
        (path,) = report_of(tmp_path / "sr", dicom_files() / name)
        assert said_by_dciodvfy(path) == []

    def test_says_nothing_but_what_a_source_lacks(self, tmp_path: Path) -> None:
        for source in sorted(dicom_files().glob("chest_*.dcm")):
            (path,) = report_of(tmp_path / "sr", source)
            assert all(any(k in line for k in LACKING) for line in said_by_dciodvfy(path)), source
