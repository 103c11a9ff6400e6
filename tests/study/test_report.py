"""The report of a study, for every policy and shape of cohort, and for names that mean harm."""

from __future__ import annotations

import csv
import io
import json
import re
import stat
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
import pytest

from moiety.protocols.errors import BadInput
from moiety.runtime.program.policy import Policy
from moiety.runtime.study.report import write_report
from moiety.runtime.study.report.write import Report, contents
from moiety.runtime.study.statistics import analyse
from moiety.runtime.study.table import Study, StudyTable
from tests.support import html
from tests.support.analyses import ONE_CLASS, Made

ROOT = Path(__file__).resolve().parents[2]
FIELD = re.compile(r"`(\w+)`")
SHAPES = {
    "scores": Made(),
    "probabilities": Made(reveal="probabilities"),
    "decision": Made(reveal="decision"),
    "top-1": Made(reveal="top-1"),
    "aggregate": Made(reveal="aggregate", sites=()),
    "counts": Made(reveal="aggregate", figures="counts", sites=(), single=1),
    "no reference": Made(reference=False),
    "decision, no reference": Made(reveal="decision", reference=False),
    "one class": Made(single=1),
    "one class alone": Made(labels=("Oedema",), single=1),
    "decision, one class": Made(reveal="decision", single=2),
    "no sites": Made(sites=()),
    "one label": Made(labels=("Oedema",)),
    "nothing decided": Made(reveal="top-1", single=1),
    "many decisions": Made(
        labels=[f"label {n}" for n in range(40)],
        sites=[f"site {n}" for n in range(12)],
        reveal="decision",
    ),
}
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=//evil.example onerror=alert(1)>',
    "{{ 7 * 7 }}",
    "$\\frac{1}{$",
    "=HYPERLINK(1)",
    "a\nb\x1b[2J\u202egnol",
    "胸水 " + "very long " * 30,
)


def files_of(made: Made) -> dict[str, bytes]:
    return contents(made.study(), made.analysis())


@cache
def shaped(shape: str) -> dict[str, bytes]:
    """The files of one of the shapes, made once."""
    return files_of(SHAPES[shape])


def rows_of(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode())))


@pytest.fixture(scope="module")
def scores() -> dict[str, bytes]:
    return shaped("scores")


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_makes_a_page_that_holds_up(shape: str) -> None:
    files = shaped(shape)
    page = html.check(files["report.html"].decode())
    texts = [page.all("body")[0].whole_text()]
    texts += [data.decode() for name, data in files.items() if name.endswith(".csv")]
    for row in page.all("tr"):
        cells = [cell.whole_text() for cell in row.all("td")]
        unexplained = "–" in cells and not row.all("a")
        assert not unexplained, cells
    assert not any(re.search(r"\b(nan|NaN|inf|None|null)\b", text) for text in texts)
    assert json.loads(files["report.json"], parse_constant=lambda name: pytest.fail(name))
    tables = [name for name in files if name.endswith(".csv")]
    assert tables
    assert all(len(row) and None not in row for name in tables for row in rows_of(files[name]))


def test_a_policy_has_its_own_sections() -> None:
    def sections(shape: str) -> set[str]:
        page = html.read(shaped(shape)["report.html"].decode())
        return {each.attributes["id"] for each in page.all("section")}

    always = {"summary", "cohort", "resources", "methods", "reproduction"}
    assert sections("scores") == always | {"discrimination", "agreement", "scores"}
    assert sections("no reference") == always | {"discrimination", "scores"}
    assert sections("decision") == sections("top-1") == always | {"decisions"}
    assert sections("aggregate") == always | {"discrimination"}
    assert sections("counts") == always | {"decisions"}


def test_the_page_says_what_was_found_and_what_was_revealed(scores: dict[str, bytes]) -> None:
    page = html.read(scores["report.html"].decode())
    (summary,) = [s for s in page.all("section") if s.attributes["id"] == "summary"]
    said = summary.whole_text()
    assert "Equivalence of the AUROC within ±0.01 is shown for 2 of 2 labels." in said
    assert "Of each image the scores were revealed to the hospital." in said
    assert len(summary.all("li")) == 2
    aggregate = shaped("aggregate")["report.html"].decode()
    assert "Of single images nothing was revealed" in aggregate


def test_equivalence_that_is_not_shown_is_said_so() -> None:
    made = SHAPES["scores"]
    first, *others = made.analysis().discrimination
    assert first.comparison is not None
    tost = msgspec.structs.replace(
        first.comparison.equivalence, equivalent=False, statement="It is not shown."
    )
    changed = msgspec.structs.replace(first.comparison, equivalence=tost)
    first = msgspec.structs.replace(first, comparison=changed)
    analysis = msgspec.structs.replace(made.analysis(), discrimination=(first, *others))
    files = contents(made.study(), analysis)
    page = html.read(files["report.html"].decode())
    doubts = [li for li in page.all("li") if li.attributes.get("class") == "doubt"]
    assert [li.whole_text() for li in doubts] == ["Oedema It is not shown."]
    assert "1 of 2 labels, not for Oedema" in page.whole_text()
    assert rows_of(files["tables/differences.csv"])[0]["equivalent"] == "not shown"


def test_one_class_alone_keeps_its_column_and_reason() -> None:
    (row,) = rows_of(shaped("one class alone")["tables/auroc.csv"])
    assert row["secure_auroc"] == ""
    assert row["reason"].startswith("one class only")


def test_one_class_is_a_dash_with_its_reason() -> None:
    files = shaped("one class")
    page = html.read(files["report.html"].decode())
    (row,) = [
        row
        for table in page.all("table")
        if table.all("caption")[0].attributes["id"] == "table-auroc"
        for row in table.all("tr")
        if row.whole_text().strip().startswith("Oedema")
    ]
    assert [cell.whole_text() for cell in row.all("td")[2:]] == ["–1", "–", "–", "–"]
    (link,) = row.all("a")
    (note,) = [
        each for each in page.all("li") if each.attributes.get("id") == link.attributes["href"][1:]
    ]
    assert note.whole_text() == ONE_CLASS
    record = rows_of(files["tables/auroc.csv"])[0]
    assert (record["secure_auroc"], record["reason"]) == ("", ONE_CLASS)
    found = json.loads(files["report.json"])["analysis"]["discrimination"][0]
    assert found["secure"] is None
    assert found["reason"] == ONE_CLASS


def test_hostile_names_stay_names() -> None:
    made = Made(labels=HOSTILE, sites=HOSTILE[:3], name=HOSTILE[0])
    files = files_of(made)
    page = html.check(files["report.html"].decode())
    assert page.all("h1")[0].text == HOSTILE[0]
    assert not page.all("img")
    assert "49" not in "".join(each.text for each in page.all("caption", "h1", "h2"))
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e]", files["report.html"].decode())
    for name, data in files.items():
        if name.endswith(".csv"):
            cells = [cell for row in csv.reader(io.StringIO(data.decode())) for cell in row]
            assert not [cell for cell in cells if cell.startswith("=") or "\n" in cell]


def test_bytes_of_a_file_name_that_are_no_text_are_shown_escaped() -> None:
    files = files_of(Made(name="caf\udce9", reveal="aggregate"))
    assert json.loads(files["report.json"])["name"] == "caf\\xe9"
    assert "caf\\xe9" in files["report.html"].decode()


def test_the_same_study_gives_the_same_bytes(scores: dict[str, bytes]) -> None:
    assert files_of(SHAPES["scores"]) == scores


def test_other_resources_change_the_resources_alone(scores: dict[str, bytes]) -> None:
    """As docs/report.md says: what is left is the same to the byte."""
    slower = files_of(replace(SHAPES["scores"], seconds=9.7))
    assert slower["report.html"] != scores["report.html"]
    assert without_resources(slower) == without_resources(scores)


def without_resources(files: dict[str, bytes]) -> dict[str, object]:
    kept: dict[str, object] = dict(files)
    for name in ("resources", "kinds-of-step"):
        del kept[f"tables/{name}.csv"]
    page, cuts = re.subn(
        rb'<section id="resources".*?</section>', b"", files["report.html"], flags=re.S
    )
    assert cuts == 1
    document = json.loads(files["report.json"])
    del document["analysis"]["resources"]
    return kept | {"report.html": page, "report.json": document}


def test_files_are_whole_and_their_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    scores, aggregate = Made(), Made(reveal="aggregate")
    write_report(scores.study(), scores.analysis(), folder)
    assert (folder / "tables" / "agreement.csv").exists()
    write_report(aggregate.study(), aggregate.analysis(), folder)
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert written == set(files_of(aggregate))
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in written} == {0o600}


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "study").write_text("a file")
    made = Made(reveal="aggregate")
    with pytest.raises(BadInput, match=r"report cannot be written to .*study"):
        write_report(made.study(), made.analysis(), tmp_path / "study")


def test_a_report_of_eight_labels_and_seven_sites_is_small() -> None:
    made = Made(labels=[f"finding {n}" for n in range(8)], sites=[f"site {n}" for n in range(7)])
    files = files_of(made)
    assert len(files["report.html"]) < 1_000_000
    assert len(html.check(files["report.html"].decode()).all("svg")) > 30


@pytest.mark.parametrize("reference", [False, True])
def test_real_statistics_make_a_report_that_names_no_patient(reference: bool) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (60, 2)).astype(float)
    truth[:30, 1] = np.nan
    truth[30:, 1] = 0
    scores = truth.clip(0) + rng.normal(0, 1, truth.shape)
    scores[np.isnan(scores)] = 0.3
    sites = np.where(np.arange(60) < 30, "north", "south")
    patients = np.array([f"person-{n // 2}" for n in range(60)])
    clear = scores + rng.normal(0, 0.01, scores.shape) if reference else None
    table = StudyTable(("Oedema", "Effusion"), truth, scores, clear, sites, patients)
    resources = Made().study().resources
    study = Study("Two sites", Policy(), {}, resources, table, bootstrap=50)
    files = contents(study, analyse(study))
    html.check(files["report.html"].decode())
    for data in files.values():
        assert b"person-" not in data
    assert len(rows_of(files["tables/auroc-by-site.csv"])) == 6


def structs_within(struct: type[msgspec.Struct]) -> dict[str, set[str]]:
    """Of a struct and of all in it the fields, by name."""
    found = {struct.__name__: {field.name for field in msgspec.structs.fields(struct)}}
    for field in msgspec.structs.fields(struct):
        for inner in within(field.type):
            found |= structs_within(inner)
    return found


def within(kind: Any) -> list[type[msgspec.Struct]]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return [kind]
    return [struct for part in get_args(kind) for struct in within(part)]


def test_every_field_is_documented() -> None:
    """Of the policy its own page tells."""
    text = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
    parts = re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", text, re.M | re.S)
    told = {
        name: {
            field for row in re.findall(r"^\|([^|]*)\|", part, re.M) for field in FIELD.findall(row)
        }
        for name, part in parts
    }
    wanted = structs_within(Report)
    del wanted["Policy"]
    assert told == wanted
