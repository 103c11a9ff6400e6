"""Results as a table: CSV as RFC 4180 has it, UTF-8, a row per image and output, and a row for each
file that has none.

Text that a spreadsheet would take for a formula is preceded by an apostrophe.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from moiety.runtime.intake.text import printable
from moiety.runtime.results.record import (
    REFUSED,
    SKIPPED,
    ImageResult,
    LeftOut,
    OutputResult,
    Results,
)

Cell = str | float
Row = dict[str, Cell]

NOT_RUN = "not run"
COLUMNS = (
    "file",
    "verdict",
    "reason",
    "warnings",
    "time",
    "output",
    "kind",
    "file_sha256",
    "pixel_sha256",
    "sop_instance_uid",
    "inputs_sha256",
    "program",
    "model_name",
    "model_version",
    "preprocessing_sha256",
    "client_fingerprint",
    "server_fingerprint",
)
"""Before the values; these have a column for each name that any output gives them."""
MAX_VALUES = 1024
"""Of one output; spreadsheets end at 16,384 columns."""


def encode_csv(results: Results) -> bytes:
    """The whole file."""
    rows = list(_rows(results))
    values = dict.fromkeys(
        name for image in results.images for output in image.outputs for name in columns_of(output)
    )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    header = (*COLUMNS, *values)
    writer.writerow(map(guarded, header))
    writer.writerows([guarded(row.get(column, "")) for column in header] for row in rows)
    return text.getvalue().encode()


def columns_of(output: OutputResult) -> list[str]:
    """Of its values. A name that a column before the values has, or that comes twice, is told from
    that one by its number.
    """
    made: list[str] = []
    taken = set(COLUMNS)
    for index, name in enumerate(output.names()):
        column = name if name not in taken else f"{name} ({index})"
        taken.add(column)
        made.append(column)
    return made


def guarded(cell: Cell) -> Cell:
    """Text on one line that no spreadsheet computes; numbers as they are."""
    if not isinstance(cell, str):
        return cell
    text = printable(cell)
    return f"'{text}" if text.lstrip()[:1] in ("=", "+", "-", "@", "\uff1d", "\uff0b") else text


def _rows(results: Results) -> Iterator[Row]:
    shared: Row = {
        "program": results.program,
        "model_name": results.model_name,
        "model_version": results.model_version,
        "preprocessing_sha256": results.preprocessing_sha256 or "",
        "client_fingerprint": results.fingerprints.client or "",
        "server_fingerprint": results.fingerprints.server or "",
    }
    for image in results.images:
        for output in image.outputs:
            yield shared | _image_row(image) | _output_row(output)
    yield from (shared | _left_out_row(REFUSED, each) for each in results.refused)
    yield from (shared | _left_out_row(SKIPPED, each) for each in results.skipped)
    for file in results.remaining:
        yield shared | _left_out_row(NOT_RUN, LeftOut(file, results.error or ""))


def _image_row(image: ImageResult) -> Row:
    row: Row = {
        "file": image.file,
        "verdict": image.verdict,
        "warnings": "; ".join(f"{each.code}: {each.text}" for each in image.warnings),
        "time": image.time,
    }
    if image.identity is not None:
        row |= {
            "file_sha256": image.identity.file_sha256,
            "pixel_sha256": image.identity.pixel_sha256,
            "sop_instance_uid": image.identity.sop_instance_uid or "",
            "inputs_sha256": image.identity.inputs_sha256 or "",
        }
    return row


def _output_row(output: OutputResult) -> Row:
    values: Row = {
        column: "" if value is None else value
        for column, value in zip(columns_of(output), output.chosen or output.values, strict=True)
    }
    return {"output": output.name, "kind": output.kind} | values


def _left_out_row(verdict: str, left: LeftOut) -> Row:
    return {"file": left.file, "verdict": verdict, "reason": left.reason}
