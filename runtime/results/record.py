"""What is known after a run: the record that every format of results is made from
(docs/results.md lists its fields).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
import numpy as np

from moiety.protocols.arrays import I64
from moiety.protocols.network import Network
from moiety.runtime.intake.picture import Identity, Warned
from moiety.runtime.intake.text import legible
from moiety.runtime.intake.verdicts import verdict_of
from moiety.runtime.party.cohorts import Kept
from moiety.runtime.party.handshake import Served
from moiety.runtime.party.metering import RunCost, StepCost
from moiety.runtime.party.sides import Revealed
from moiety.runtime.program import Preprocessing, Program
from moiety.runtime.program.doubts import OUTPUT_RANGE, doubts
from moiety.runtime.program.expression.base import Array
from moiety.runtime.program.expression.expression import ResultForm
from moiety.runtime.program.policy import Policy

ResultKind = Literal["score", "probability", "integer", "boolean"]
ACCEPTED = "accepted"
WITH_WARNINGS = "accepted with warnings"
REFUSED = "refused"
SKIPPED = "skipped"


class RevealedResult(msgspec.Struct, kw_only=True):
    """What the network computed, row-major. `expected`: where the vendor expects it, smallest and
    largest; None: nothing is said. `outside`: how many values are not there.
    """

    name: str
    shape: tuple[int, ...]
    values: list[float]
    expected: tuple[float, float] | None = None
    outside: int = 0


class OutputResult(msgspec.Struct, kw_only=True):
    """What the client computed from what the network did, by `formula`: `values`, row-major. `kind`
    says what they are; in JSON, one that is NaN or infinite is null. `chosen`: where the values are
    places along an axis that has `labels`, those of the values.
    """

    name: str
    shape: tuple[int, ...]
    labels: tuple[str, ...]
    kind: ResultKind
    formula: str
    values: list[int | float | None]
    chosen: tuple[str, ...] = ()

    def names(self) -> tuple[str, ...]:
        """Of each value: its label, or `output 2` where the model has none."""
        if self.labels and not self.chosen:
            return self.labels
        return tuple(f"output {index}" for index in range(len(self.values)))


class ImageResult(msgspec.Struct, kw_only=True):
    """One image: what was asked of it, its outputs and what it cost this side; `server` is what the
    server says it cost there. `warnings`: of the file, and of what was revealed. `time`: UTC, when
    its outputs were read.

    Of a run of `batch` images each is charged its part of time and bytes; all of them waited for
    the `flights`. `peak_rss`: largest resident size of this side's process so far, bytes.

    `prepared_item`: the number of what was prepared for its run (moiety prepare); None: all was
    computed on demand. `kept`: this side's share of the outputs where an `aggregate` policy reveals
    none; nothing but the journal of a study holds it.
    """

    file: str
    identity: Identity | None = None
    verdict: str = ACCEPTED
    warnings: tuple[Warned, ...] = ()
    time: str
    revealed: list[RevealedResult] = msgspec.field(default_factory=list)
    outputs: list[OutputResult]
    seconds: float
    cpu_seconds: float
    bytes_sent: int
    bytes_received: int
    flights: int
    by_step_kind: dict[str, StepCost]
    server: Served
    batch: int = 1
    peak_rss: int = 0
    prepared_item: int | None = None
    kept: Kept | None = None

    def doubts(self) -> tuple[Warned, ...]:
        """The warnings of what was revealed."""
        return tuple(each for each in self.warnings if each.code == OUTPUT_RANGE)


class LeftOut(msgspec.Struct, frozen=True):
    """A file that has no result, and why."""

    file: str
    reason: str


class Fingerprints(msgspec.Struct, frozen=True, kw_only=True):
    """Of both sides' certificates; None where the line had none."""

    client: str | None = None
    server: str | None = None


class Results(msgspec.Struct, kw_only=True):
    """All that one command has found. `complete` is false while images are missing; `error` says
    why, when the run ended early, and `remaining` which.

    `silent_from`: choices of at least so many bits took silent correlations; `network`: what was
    measured to decide it.
    """

    format: str = "moiety-results"
    version: int = 3
    started: str
    program: str
    model_name: str
    model_version: str
    rounding: str
    policy: Policy
    preprocessing: Preprocessing | None
    preprocessing_sha256: str | None
    server: str = ""
    fingerprints: Fingerprints = Fingerprints()
    versions: dict[str, str]
    kernels: dict[str, str] = msgspec.field(default_factory=dict)
    silent_from: int | None = None
    network: Network | None = None
    complete: bool = False
    error: str | None = None
    setup_seconds: float = 0.0
    seconds: float = 0.0
    bytes_sent: int = 0
    bytes_received: int = 0
    wire_bytes_sent: int = 0
    wire_bytes_received: int = 0
    peak_rss: int = 0
    images: list[ImageResult] = msgspec.field(default_factory=list)
    refused: list[LeftOut] = msgspec.field(default_factory=list)
    skipped: list[LeftOut] = msgspec.field(default_factory=list)
    remaining: list[str] = msgspec.field(default_factory=list)


def empty_results(program: Program, versions: dict[str, str]) -> Results:
    """Of a Program, before anything is run."""
    preprocessing = program.preprocessing
    return Results(
        started=utc_now(),
        program=program.digest(),
        model_name=legible(program.name),
        model_version=program.model_version,
        rounding=program.rounding,
        policy=program.policy,
        preprocessing=preprocessing,
        preprocessing_sha256=digest_of(preprocessing) if preprocessing else None,
        versions=versions,
    )


def digest_of(preprocessing: Preprocessing) -> str:
    """SHA-256 of its JSON, fields in declaration order, hexadecimal."""
    return hashlib.sha256(msgspec.json.encode(preprocessing)).hexdigest()


def utc_now() -> str:
    """RFC 3339, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def revealed_results(program: Program, revealed: Sequence[Revealed]) -> list[RevealedResult]:
    """Of one image."""
    steps = program.outputs
    return [
        RevealedResult(
            name=legible(each.name),
            shape=each.values.shape,
            values=each.values.ravel().tolist(),
            expected=steps[each.index].expected_range(),
            outside=int(steps[each.index].unexpected(each.integers).sum()),
        )
        for each in revealed
    ]


def output_results(program: Program, integers: Mapping[int, I64]) -> list[OutputResult]:
    """Of one image, from what is revealed."""
    computed = program.compute(integers)
    return [
        _output_result(form, formula, computed[form.name])
        for form, formula in zip(program.results(), program.formulas(), strict=True)
    ]


def _output_result(form: ResultForm, formula: str, values: Array) -> OutputResult:
    labels = tuple(map(legible, form.labels))
    places = values.ravel().tolist() if labels and form.places is not None else []
    return OutputResult(
        name=legible(form.name),
        shape=form.shape,
        labels=labels,
        kind=kind_of(form),
        formula=legible(formula),
        values=_numbers(values),
        chosen=tuple(labels[place] for place in places),
    )


def kind_of(form: ResultForm) -> ResultKind:
    """Of a result."""
    if form.probabilities:
        return "probability"
    return "score" if form.kind == "real" else form.kind


def _numbers(values: Array) -> list[int | float | None]:
    """Row-major; None for NaN and infinity, which JSON does not have; 0 and 1 for truth values."""
    if values.dtype == np.float64:
        return [each if math.isfinite(each) else None for each in values.ravel().tolist()]
    return [int(each) for each in values.ravel().tolist()]


def image_result(
    file: str,
    program: Program,
    revealed: Sequence[Revealed],
    cost: RunCost,
    served: Served,
    position: int = 0,
) -> ImageResult:
    """The result for the image at `position` of a run that cost `cost`."""
    integers = {each.index: each.integers for each in revealed}
    warnings = tuple(Warned(OUTPUT_RANGE, text) for text in doubts(program, integers))
    return ImageResult(
        file=file,
        verdict=verdict_of(warnings),
        warnings=warnings,
        time=utc_now(),
        revealed=revealed_results(program, revealed),
        outputs=output_results(program, integers),
        **_charged(cost, served, position),
    )


def kept_result(
    file: str, kept: Kept, cost: RunCost, served: Served, position: int = 0
) -> ImageResult:
    """Likewise where nothing is revealed of an image."""
    return ImageResult(
        file=file, time=utc_now(), outputs=[], kept=kept, **_charged(cost, served, position)
    )


def _charged(cost: RunCost, served: Served, position: int) -> dict[str, Any]:
    """What the image at `position` is charged of a run, by field."""
    batch = cost.images

    def part(nbytes: int) -> int:
        """The images' parts of a number of bytes sum to it."""
        return nbytes * (position + 1) // batch - nbytes * position // batch

    return {
        "prepared_item": cost.item,
        "seconds": cost.total.seconds / batch,
        "cpu_seconds": cost.total.cpu_seconds / batch,
        "bytes_sent": part(cost.total.sent),
        "bytes_received": part(cost.total.received),
        "flights": cost.total.flights,
        "by_step_kind": {
            kind: StepCost(
                c.seconds / batch, c.cpu_seconds / batch, part(c.sent), part(c.received), c.flights
            )
            for kind, c in cost.by_kind.items()
        },
        "server": msgspec.structs.replace(
            served, seconds=served.seconds / batch, cpu_seconds=served.cpu_seconds / batch
        ),
        "batch": batch,
        "peak_rss": cost.peak_rss,
    }
