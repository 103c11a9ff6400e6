"""JSON and CSV: every field, names that are no text, and spreadsheets."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moiety.protocols.errors import BadInput
from moiety.runtime.intake.picture import Identity, Warned
from moiety.runtime.intake.text import legible, printable
from moiety.runtime.results.inference import left_out
from moiety.runtime.results.outputs import encode_json, open_outputs, require_few_values
from moiety.runtime.results.record import (
    Fingerprints,
    ImageResult,
    LeftOut,
    OutputResult,
    Results,
    RevealedResult,
    utc_now,
)
from moiety.runtime.results.table import COLUMNS, encode_csv, guarded
from tests.support.results import PROGRAM, an_image, an_output, read_back, some_results
from tests.support.runnable import small

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "results.md"
NOT_TEXT = Path(b"x-\xff-ray.png".decode("utf-8", "surrogateescape"))


def rows_of(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def test_json_reads_back() -> None:
    results = some_results(an_image("a.png", warned=True), an_image("b.png"))
    assert read_back(encode_json(results)) == results
    document = json.loads(encode_json(results))
    assert document["format"] == "moiety-results"
    assert document["version"] == 3
    assert document["images"][0]["identity"]["sop_instance_uid"] == "1.2.3"
    assert document["images"][0]["warnings"][0]["code"] == "low-peak"


def test_times_are_rfc_3339() -> None:
    assert len(utc_now()) == len("2026-11-25T12:00:00.000Z")
    assert utc_now().endswith("Z")


def test_names_that_are_no_text_reach_both_formats() -> None:
    results = some_results(an_image(legible(NOT_TEXT)))
    results.refused = left_out([(NOT_TEXT, f"{NOT_TEXT}: damaged")])
    results.error = legible(f"{NOT_TEXT} is gone")
    assert json.loads(encode_json(results))["images"][0]["file"] == r"x-\xff-ray.png"
    rows = rows_of(encode_csv(results))
    assert [row["file"] for row in rows[:2]] == [r"x-\xff-ray.png"] * 2
    assert rows[1]["reason"] == r"x-\xff-ray.png: damaged"


@given(st.text(st.characters()))
def test_any_text_becomes_legible_and_printable(text: str) -> None:
    """Lone surrogates included, of whatever kind."""
    assert msgspec.json.encode(legible(text))
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown.encode()) >= len(text)
    if text.isprintable():
        assert shown == text


def test_a_row_per_image_and_output_and_one_for_each_file_without() -> None:
    outputs = [an_output([0.25, 0.5], ("cat", "dog"), "pets"), an_output([4.34, 1e-7, -3.0])]
    data = encode_csv(some_results(an_image("a.png", outputs, warned=True), complete=False))
    assert data.count(b"\r\n") == data.count(b"\n") == 6
    rows = rows_of(data)
    assert list(rows[0]) == [*COLUMNS, "cat", "dog", "output 0", "output 1", "output 2"]
    assert [row["output"] for row in rows[:2]] == ["pets", "out"]
    assert (rows[0]["cat"], rows[0]["dog"], rows[0]["output 0"]) == ("0.25", "0.5", "")
    assert [float(rows[1][f"output {i}"]) for i in range(3)] == [4.34, 1e-7, -3.0]
    assert rows[0]["verdict"] == "accepted with warnings"
    assert rows[0]["warnings"].startswith("low-peak: ")
    assert rows[0]["client_fingerprint"] == "AAA"
    assert [(row["file"], row["verdict"]) for row in rows[2:]] == [
        ("bad.png", "refused"),
        ("notes.txt", "skipped"),
        ("later.png", "not run"),
    ]
    assert rows[2]["reason"] == "bad.png: damaged picture"
    assert rows[4]["reason"] == "the line broke"
    assert all(row["program"] == PROGRAM.digest() for row in rows)


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "\r=1"])
def test_no_name_is_a_formula(name: str) -> None:
    outputs = [an_output([-1.0], (name,))]
    results = some_results(an_image(name, outputs))
    data = encode_csv(results)
    (row, *_) = rows_of(data)
    for text in (row["file"], list(row)[-1]):
        assert text.lstrip()[0] in "'\\"
        assert name.strip() in text
    assert list(row.values())[-1] == "-1.0"  # a number stays one


def test_cells_are_quoted_where_they_must() -> None:
    assert guarded('a,"b"\n') == 'a,"b"\\n'
    data = encode_csv(some_results(an_image('a,"b".png')))
    assert b'"a,""b"".png"' in data


def test_labels_that_are_columns_or_come_twice() -> None:
    outputs = [an_output([1.0, 2.0, 3.0], ("file", "cat", "cat"))]
    (row, *_) = rows_of(encode_csv(some_results(an_image("a.png", outputs))))
    assert row["file"] == "a.png"
    assert (row["file (0)"], row["cat"], row["cat (2)"]) == ("1.0", "2.0", "3.0")


def test_a_place_is_shown_by_its_label() -> None:
    output = an_output([2, 0], ("cat", "dog", "=owl"), kind="integer", chosen=("=owl", "cat"))
    results = some_results(an_image("a.png", [output]))
    first = rows_of(encode_csv(results))[0]
    assert [first["output 0"], first["output 1"]] == ["'=owl", "cat"]
    assert json.loads(encode_json(results))["images"][0]["outputs"][0]["values"] == [2, 0]


def test_a_table_holds_no_pictures(tmp_path: Path) -> None:
    program, _ = small()
    most = max(result.size for result in program.results())
    with pytest.raises(BadInput, match="take JSON"):
        require_few_values(program, 0, "a CSV file")
    (output,) = open_outputs([str(tmp_path / "r.csv")])
    assert most < 1024
    assert output.check([Path("a.png")], program) == []


def fields_of(struct: type[Any]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(struct)}


@pytest.mark.parametrize(
    "struct",
    [Results, ImageResult, RevealedResult, OutputResult, LeftOut, Fingerprints, Identity, Warned],
)
def test_the_document_lists_every_field(struct: type[Any]) -> None:
    assert get_type_hints(struct)
    section = DOCUMENT.read_text(encoding="utf-8").split(f"### {struct.__name__}\n")[1]
    table = section.split("\n#")[0]
    named = [
        name.strip("` ")
        for line in table.splitlines()
        if line.startswith("| `")
        for name in line.split("|")[1].split(",")
    ]
    assert len(named) == len(set(named))
    assert set(named) == fields_of(struct)


def test_the_document_lists_every_column() -> None:
    section = DOCUMENT.read_text(encoding="utf-8").split("## CSV\n")[1].split("\n## ")[0]
    assert [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")] == [
        *COLUMNS
    ]
