"""What all plans of a sweep have in common: the model, its ranges, and how files become its input.

The planner's choice is made as `moiety compile` makes it, from the images; all other plans from the
ranges that came of it, which are kept, because they take longest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import numpy as np

from moiety.compiler.compile import (
    Calibration,
    Compiled,
    CompileOptions,
    calibration_ranges,
    compile_graph,
    normal_form,
)
from moiety.compiler.compile_files import (
    READING,
    Pictures,
    calibration_images,
    reader_of,
    with_depth,
    with_description,
)
from moiety.compiler.ir.graph import Graph
from moiety.compiler.passes.legalise import legalise
from moiety.compiler.planning.ranges import Progress, Ranges
from moiety.compiler.sweep.corpus import digest_of
from moiety.compiler.sweep.grid import Widths
from moiety.protocols.errors import BadInput
from moiety.runtime.intake.loader import Reader


@dataclass(frozen=True, eq=False)
class Subject:
    """digest: of the model, the calibration and all options but widths. ranges_file: where ranges
    are kept. calibrated: hashes of the pixels of the calibration images; none where the ranges were
    saved before.
    """

    model: Path
    graph: Graph
    options: CompileOptions
    reader: Reader
    calibration: Calibration
    digest: str
    ranges_file: Path
    calibrated: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        model: Path,
        pictures: Pictures,
        options: CompileOptions,
        folder: Path,
        progress: Progress,
    ) -> Subject:
        """Imports the model and judges the calibration images; ranges are kept in `folder`. Raises
        `BadModel`, `BadInput`.
        """
        graph = normal_form(model, options, progress)
        options = with_depth(with_description(model, graph, pictures, options), pictures.bit_depth)
        reader = reader_of(graph, options, pictures.bit_depth)
        calibration: Calibration
        seen: frozenset[str] = frozenset()
        if (saved := pictures.saved_ranges()) is not None:
            calibration, files = saved, [saved]
        else:
            given = pictures.given()
            found = given.collected()
            rows_too = replace(reader, rows=found.rows)
            intake = given.judged(found, rows_too, partial(progress, READING))
            calibration, files = calibration_images(intake, rows_too), list(intake.files)
            seen = frozenset(image.identity.pixel_sha256 for image in intake.accepted)
        described = {
            each.name: getattr(options, each.name)
            for each in fields(options)
            if each.name not in ("note", "dump_after")
        }
        digest = hashlib.sha256(f"{digest_of([model, *files])} {described}".encode()).hexdigest()
        kept = folder / f"ranges-{digest[:16]}.safetensors"
        return cls(model, graph, options, reader, calibration, digest, kept, seen)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the output's values."""
        return self.options.labels

    def compile(self, widths: Widths, place: Path, progress: Progress | None = None) -> Compiled:
        """Into the folder `place`, where processes find it. Raises `BadPlan`."""
        options = replace(self.options, plan=widths.options())
        if not widths.chosen:
            return compile_graph(self.graph, self._ranges(progress), options, place)
        compiled = compile_graph(self.graph, self.calibration, options, place, progress=progress)
        if not self.ranges_file.exists():
            compiled.ranges.save(self.ranges_file)
        return compiled

    def _ranges(self, progress: Progress | None) -> Ranges:
        if not self.ranges_file.exists():
            graph = legalise(self.graph)
            made = calibration_ranges(graph, self.calibration, progress, responses=True)
            made.save(self.ranges_file)
        return Ranges.load(self.ranges_file)


def mean_widths(compiled: Compiled) -> Mapping[str, float]:
    """Fields of a row: of the planner's choice means over its tensors, without the margins, and
    over its layers; of other plans what was asked for.
    """
    report = compiled.report
    asked = report.options
    if asked["relative_error"] is None:
        names = ("activation_bits", "weight_bits", "margin_bits")
        return {name: asked[name] for name in names}
    margin = asked["margin_bits"]
    activations = [row.compared_bits - margin for row in report.tensors]
    weights = [row.weight_bits for row in report.layers]
    if not activations or not weights:
        raise BadInput("the model has no layer whose widths could be chosen")
    return {
        "activation_bits": round(float(np.mean(activations)), 2),
        "weight_bits": round(float(np.mean(weights)), 2),
        "margin_bits": margin,
    }
