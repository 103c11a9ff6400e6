"""What is kept of each plan of a sweep: a struct, and two tables in CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from moiety.protocols.errors import BadInput
from moiety.runtime.program import Rounding, write_atomically

GENERATOR = "silent"
"""What makes the correlations whose bytes are told."""


class LabelRow(msgspec.Struct, frozen=True, kw_only=True):
    """One label of one plan, on the `images` whose truth is known. change: AUROC minus the float
    model's. low, high: 95 %, bootstrap by patient. None where there is one class alone.
    """

    images: int
    positives: int
    auroc: float | None = None
    auroc_low: float | None = None
    auroc_high: float | None = None
    auroc_float: float | None = None
    change: float | None = None
    change_low: float | None = None
    change_high: float | None = None


class PlanRow(msgspec.Struct, frozen=True, kw_only=True):
    """One plan. chosen: the planner's own, whose widths are means over tensors, without margins,
    and over layers. largest_change: of the AUROC of any label, in size, the one of `largest_label`;
    None without labels. error_max, error_mean, error_rms: of the results against the float model,
    None where one of the two is no number.
    low, high: 95 %, bootstrap by patient. Bytes and flights: declared, of one image, correlations
    by the `generator`. refused: why there is no such plan; nothing else is known then.
    """

    key: str
    rounding: Rounding
    chosen: bool
    activation_bits: float = 0.0
    weight_bits: float = 0.0
    margin_bits: int = 0
    images: int = 0
    largest_change: float | None = None
    largest_change_low: float | None = None
    largest_change_high: float | None = None
    largest_label: str = ""
    error_max: float | None = None
    error_mean: float | None = None
    error_rms: float | None = None
    error_rms_low: float | None = None
    error_rms_high: float | None = None
    overflows: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    flights: int = 0
    generator: str = GENERATOR
    seconds_per_image: float = 0.0
    program: str = ""
    refused: str = ""
    labels: dict[str, LabelRow] = {}

    @property
    def bytes_total(self) -> int:
        return self.bytes_up + self.bytes_down


def made(rows: Iterable[PlanRow]) -> list[PlanRow]:
    """Those that there is a plan of, in the order of tables."""
    return sorted(
        (row for row in rows if not row.refused),
        key=lambda row: (row.rounding, not row.chosen, row.activation_bits, row.weight_bits),
    )


# --- CSV ------------------------------------------------------------------------------------------


def write_plans(rows: Sequence[PlanRow], path: Path) -> None:
    """A line per plan."""
    fields = [name for name in PlanRow.__struct_fields__ if name != "labels"]
    _write(path, fields, (msgspec.to_builtins(row) for row in made(rows)))


def write_labels(rows: Sequence[PlanRow], path: Path) -> None:
    """A line per plan and label."""
    plan = ("rounding", "chosen", "activation_bits", "weight_bits")
    _write(path, [*plan, "label", *LabelRow.__struct_fields__], _by_label(made(rows)))


def _by_label(rows: Iterable[PlanRow]) -> Iterator[dict[str, Any]]:
    for row in rows:
        for label, entry in row.labels.items():
            yield {**msgspec.to_builtins(row), "label": label, **msgspec.to_builtins(entry)}


def _write(path: Path, fields: Sequence[str], lines: Iterable[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, fields, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_atomically(path, text.getvalue().encode())


def read_plans(path: Path) -> list[PlanRow]:
    """What `write_plans` wrote, without labels. Raises `BadInput`."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = [{k: v for k, v in line.items() if v} for line in csv.DictReader(file)]
        return [msgspec.convert(line, PlanRow, strict=False) for line in lines]
    except (OSError, ValueError, csv.Error) as error:
        raise BadInput(f"{path} is no table of plans that a sweep wrote ({error})") from None
