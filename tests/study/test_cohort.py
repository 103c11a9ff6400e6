"""The cohort's list and the reference scores: what is read, and what is refused and where."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from moiety.protocols.errors import BadInput
from moiety.runtime.study.cohort import CohortList, Columns, read_cohort
from moiety.runtime.study.reference import Reference, read_reference
from moiety.runtime.study.table import Kind
from moiety.runtime.study.uids import files_of_uids
from tests.support.dicom import radiograph, saved

LABELS = ("Effusion", "Pleural Thickening")
PLAIN = "file,Effusion,pleural_thickening\na.npy,1,0\nb.npy,,1.0\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, np.zeros(1, np.float32))
    return tmp_path


def cohort(folder: Path, text: str | bytes, columns: Columns | None = None) -> CohortList:
    path = folder / "cohort.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_cohort(
        path, LABELS, columns or Columns(), None, lambda wanted: files_of_uids(wanted, None)
    )


@pytest.mark.parametrize(
    "encoded",
    [
        PLAIN.encode(),
        b"\xef\xbb\xbf" + PLAIN.encode(),
        PLAIN.replace(",", ";").replace("\n", "\r\n").encode(),
        PLAIN.replace(",", "\t").encode("utf-16"),
        ("\n" + PLAIN.replace("a.npy", '"a.npy"') + "\n\n").encode(),
    ],
    ids=["plain", "byte order mark", "semicolons", "UTF-16 with tabs", "quotes and blank lines"],
)
def test_lists_as_programs_export_them(folder: Path, encoded: bytes) -> None:
    """Labels are found however their columns are written; an empty cell is unknown."""
    found = cohort(folder, encoded)
    assert found.labels == LABELS
    assert [line.file.name for line in found.lines] == ["a.npy", "b.npy"]
    assert found.lines[0].truth == (1.0, 0.0)
    assert math.isnan(found.lines[1].truth[0])
    assert (found.sites, found.patients, found.missing) == (False, False, ())


def test_sites_patients_and_named_columns(folder: Path) -> None:
    text = "image,where,patient_id,E\na.npy,north,p1,1\nb.npy,south,,0\n"
    found = cohort(folder, text, Columns({"Effusion": "E"}, site="where"))
    assert found.labels == ("Effusion",)
    assert found.missing == ("Pleural Thickening",)
    assert [(line.site, line.patient) for line in found.lines] == [("north", "p1"), ("south", "")]


@pytest.mark.parametrize(("taken", "value"), [("positive", 1.0), ("negative", 0.0)])
def test_uncertain_is_taken_as_the_user_says(folder: Path, taken: str, value: float) -> None:
    text = "file,Effusion\na.npy,-1\nb.npy,-1.0\n"
    found = cohort(folder, text, Columns(uncertain=taken))  # type: ignore[arg-type]
    assert [line.truth for line in found.lines] == [(value,), (value,)]
    assert found.uncertain == 2
    unknown = cohort(folder, text, Columns(uncertain="unknown"))
    assert all(math.isnan(line.truth[0]) for line in unknown.lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a cohort's list is empty"),
        ("name,Effusion\na.npy,1\n", "line 1: the header of a cohort's list must have a column"),
        ('file"",Effusion\na.npy,1\n', "line 1: the header of a cohort's list must have a column"),
        ("\nfile,Effusion\n", "line 2: a header and no line below it"),
        ("file,Effusion\na.npy,1\nb.npy\n", "line 3: 1 cells under 2 columns"),
        ("file,Effusion\na.npy,yes\n", "line 2: column Effusion: 'yes' is no label"),
        ("file,Effusion\na.npy,1\nb.npy,-1\n", "line 3: column Effusion: -1, uncertain"),
        ("file,Effusion\na.npy,1\n\nc.npy,1\n", "line 4: 'c.npy' is not an image file"),
        ("file,Effusion\n,1\n", "line 2: column file: no image is named"),
        ("file,Effusion\na.npy,1\na.npy,0\n", "line 3: column file: 'a.npy' is in line 2, too"),
        ("file,Effusion,Effusion\na.npy,1,0\n", "line 1: two columns are called 'Effusion'"),
        ("file,EFFUSION,effusion\na.npy,1,0\n", "both may be 'Effusion'"),
        ("file,other\na.npy,1\n", "no column for any of the model's labels (Effusion, Pleural"),
        ('file,Effusion\na.npy,"1\n', "line 2: no CSV"),
        (b"file,Effusion\n\xe4.npy,1\n", "line 2: not UTF-8"),
        ("uid,Effusion\n1.2.3,1\n", "line 2: images are named by UID; say with --images"),
    ],
)
def test_a_bad_list_is_refused_with_its_place(folder: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(BadInput) as refusal:
        cohort(folder, text)
    assert said in str(refusal.value)
    assert str(refusal.value).startswith(str(folder / "cohort.csv"))


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (Columns({"Cough": "x"}), "--label Cough=...: the model has no such label"),
        (Columns({"Effusion": "x"}), "no column 'x', which --label Effusion=x names"),
        (Columns(site="ward"), "no column 'ward', which --site-column names"),
        (Columns(patient="who"), "no column 'who', which --patient-column names"),
    ],
)
def test_a_column_that_is_not_there(folder: Path, columns: Columns, said: str) -> None:
    with pytest.raises(BadInput, match=r"line 1|--label") as refusal:
        cohort(folder, PLAIN, columns)
    assert said in str(refusal.value)


def test_a_column_for_a_label_that_the_model_has_twice(folder: Path) -> None:
    """It would be taken for the first, and the second be said to have no images; a name without a
    column, as that of values that mean nothing, may be there twice.
    """
    path = folder / "cohort.csv"
    path.write_text(PLAIN)
    labels = ("", "Effusion", "")
    assert read_cohort(path, labels, Columns(), None, lambda wanted: []).labels == ("Effusion",)
    with pytest.raises(BadInput, match=r"line 1: the model calls 2 of its values 'Effusion'"):
        read_cohort(path, (*labels, "Effusion"), Columns(), None, lambda wanted: [])


def test_images_by_uid(tmp_path: Path) -> None:
    """Found in folders inside folders; a UID in two files that differ, or in none, is refused, all
    at once; copies of a file are one.
    """
    inside = tmp_path / "pacs" / "deep"
    inside.mkdir(parents=True)
    uids = ["1.2.3.1", "1.2.3.2"]
    for n, uid in enumerate(uids, 1):
        saved(radiograph(SOPInstanceUID=uid), inside / f"{n}.dcm")
    found = files_of_uids([("line 2", uids[1]), ("line 3", uids[0])], tmp_path / "pacs")
    assert [file.name for file in found] == ["2.dcm", "1.dcm"]
    with pytest.raises(BadInput, match=r"1 of 1 images are in no file of .*line 9: 1\.2\.3\.4"):
        files_of_uids([("line 9", "1.2.3.4")], tmp_path / "pacs")
    (tmp_path / "pacs" / "copy.dcm").write_bytes((inside / "1.dcm").read_bytes())
    assert files_of_uids([("line 2", uids[0])], tmp_path / "pacs")[0].name == "copy.dcm"
    for n, uid in enumerate(uids, 1):
        saved(radiograph(SOPInstanceUID=uid, ViewPosition="AP"), inside / f"{n}.dcm")
    saved(radiograph(SOPInstanceUID=uids[1]), inside / "again.dcm")
    with pytest.raises(BadInput, match=r"2 times; .*copy\.dcm and .*1\.dcm; .*2\.dcm and .*again"):
        files_of_uids([("line 2", uids[0]), ("line 3", uids[1])], tmp_path / "pacs")


def test_what_is_given_beside_an_image_lies_with_the_images(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "lists" / "cohort.csv"
    path.parent.mkdir()
    path.write_text("file,lateral,Effusion\na.npy,b.npy,1\n")
    found = read_cohort(path, LABELS, Columns(), folder, lambda wanted: [])
    assert found.rows[folder / "a.npy"][0].word("lateral", 1) == folder / "b.npy"


def scores(folder: Path, text: str, list_text: str = PLAIN, **columns: str) -> Reference:
    path = folder / "scores.csv"
    path.write_text(text)
    return read_reference(path, cohort(folder, list_text), columns)


@pytest.mark.parametrize(
    ("text", "list_text"),
    [
        ("file,Effusion,Pleural Thickening\nb.npy,3,4\na.npy,-1.5,2e1\n", PLAIN),
        ("id;logit pleural-thickening;effusion\nb;4;3\na;20;-1.5\n", PLAIN),
        (
            "id,Effusion,Pleural Thickening\ny,3,4\nx,-1.5,20\nz,0,0\n",
            PLAIN.replace("file,", "id,file,").replace("a.npy", "x,a.npy").replace("b.n", "y,b.n"),
        ),
    ],
    ids=["by file", "by the file's stem", "by id"],
)
def test_reference_scores_are_joined(folder: Path, text: str, list_text: str) -> None:
    found = scores(folder, text, list_text)
    assert found.scores == {2: (-1.5, 20.0), 3: (3.0, 4.0)}
    assert found.unused == text.count("z,")


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("decisions", "0.5", "line 3: column Effusion: '0.5' is no decision, 1 or 0"),
        ("probabilities", "-1.5", "'-1.5' is no probability, from 0 to 1"),
        ("scores", "inf", "'inf' is no score"),
    ],
)
def test_reference_scores_are_on_the_programs_scale(
    folder: Path, kind: Kind, value: str, said: str
) -> None:
    """Known before anything is sent, not when the report is made."""
    path = folder / "scores.csv"
    path.write_text(f"file,Effusion,Pleural Thickening\nb.npy,1,0\na.npy,{value},1\n")
    with pytest.raises(BadInput) as refusal:
        read_reference(path, cohort(folder, PLAIN), {}, kind)
    assert said in str(refusal.value)
    path.write_text("file,Effusion,Pleural Thickening\nb.npy,1,0\na.npy,0,1\n")
    if kind == "decisions":
        assert read_reference(path, cohort(folder, PLAIN), {}, kind).scores[2] == (0, 1)
    else:
        with pytest.raises(BadInput, match=r"scores\.csv: all that it has .* is 0 or 1: labels"):
            read_reference(path, cohort(folder, PLAIN), {}, kind)


@pytest.mark.parametrize(
    ("named", "kind", "refused"),
    [
        ("probability", "logits", True),
        ("logit", "probabilities", True),
        ("logit", "logits", False),
        ("score", "logits", False),
        ("probability", "scores", False),
    ],
)
def test_a_column_says_what_its_scores_are(
    folder: Path, named: str, kind: Kind, refused: bool
) -> None:
    """Probabilities beside logits: areas that fit, differences that say nothing."""
    path = folder / "scores.csv"
    path.write_text(f"file,{named}_Effusion,Pleural Thickening\na.npy,0.5,0\nb.npy,0.25,1\n")
    if refused:
        with pytest.raises(BadInput, match=f"line 1: column {named}_Effusion .* reveals {kind}"):
            read_reference(path, cohort(folder, PLAIN), {}, kind)
    else:
        assert read_reference(path, cohort(folder, PLAIN), {}, kind).scores[2] == (0.5, 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,Effusion\na.npy,1\n", "no column for the label Pleural Thickening"),
        ("file,Effusion,Pleural Thickening\na.npy,1,1\n", "has no scores of 'b.npy'"),
        ("file,Effusion,Pleural Thickening\na.npy,1,x\nb.npy,1,1\n", "line 2: column Pleural"),
        ("file,Effusion,Pleural Thickening\na.npy,nan,1\nb.npy,1,1\n", "'nan' is no score"),
        ("file,Effusion,Pleural Thickening\na.npy,1e200,1\nb.npy,1,1\n", "'1e200' is no score"),
        (
            "file,Effusion,Pleural Thickening\na.npy,1,1\na.npy,1,1\n",
            "line 3: column file: 'a.npy'",
        ),
        ("uid,Effusion,Pleural Thickening\n1.2,1,1\n", "no column says which image"),
    ],
)
def test_bad_reference_scores_are_refused(folder: Path, text: str, said: str) -> None:
    with pytest.raises(BadInput) as refusal:
        scores(folder, text)
    assert said in str(refusal.value)
