"""What is known after a run: the record that every format of results is made from
(docs/results.md lists its fields).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from moiety.protocols.network import Network
from moiety.runtime.intake.picture import Identity, Warned
from moiety.runtime.intake.text import legible
from moiety.runtime.party.handshake import Served
from moiety.runtime.party.metering import RunCost, StepCost
from moiety.runtime.party.sides import Revealed
from moiety.runtime.program import Preprocessing, Program

ACCEPTED = "accepted"
WITH_WARNINGS = "accepted with warnings"
REFUSED = "refused"
SKIPPED = "skipped"


class OutputResult(msgspec.Struct, kw_only=True):
    """`logits`: what the network computed; `values`: after `postprocess`; both in row-major order
    of `shape`. `op_threshs`: the operating points that are 0.5 among the values, if there are any.
    """

    name: str
    shape: tuple[int, ...]
    labels: tuple[str, ...]
    logits: list[float]
    postprocess: str
    values: list[float]
    op_threshs: tuple[float | None, ...] = ()

    def names(self) -> tuple[str, ...]:
        """Of each value: its label, or `output 2` where the model has none."""
        return self.labels or tuple(f"output {index}" for index in range(len(self.values)))


class ImageResult(msgspec.Struct, kw_only=True):
    """One image: what was asked of it, its outputs and what it cost this side; `server` is what the
    server says it cost there. `time`: UTC, when its outputs were read.

    Of a run of `batch` images each is charged its part of time and bytes; all of them waited for
    the `flights`.
    """

    file: str
    identity: Identity | None = None
    verdict: str = ACCEPTED
    warnings: tuple[Warned, ...] = ()
    time: str
    outputs: list[OutputResult]
    seconds: float
    cpu_seconds: float
    bytes_sent: int
    bytes_received: int
    flights: int
    by_step_kind: dict[str, StepCost]
    server: Served
    batch: int = 1


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
    version: int = 2
    started: str
    program: str
    model_name: str
    model_version: str
    rounding: str
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


def output_results(outputs: Sequence[Revealed]) -> list[OutputResult]:
    """Of one image."""
    return [
        OutputResult(
            name=legible(output.name),
            shape=output.logits.shape,
            labels=tuple(map(legible, output.labels)),
            logits=output.logits.ravel().tolist(),
            postprocess=output.postprocess,
            values=output.values.ravel().tolist(),
            op_threshs=output.op_threshs,
        )
        for output in outputs
    ]


def image_result(
    file: str,
    outputs: Sequence[Revealed],
    cost: RunCost,
    served: Served,
    position: int = 0,
) -> ImageResult:
    """The result for the image at `position` of a run that cost `cost`."""
    batch = cost.images

    def part(nbytes: int) -> int:
        """The images' parts of a number of bytes sum to it."""
        return nbytes * (position + 1) // batch - nbytes * position // batch

    by_kind = {
        kind: StepCost(
            c.seconds / batch, c.cpu_seconds / batch, part(c.sent), part(c.received), c.flights
        )
        for kind, c in cost.by_kind.items()
    }
    return ImageResult(
        file=file,
        time=utc_now(),
        outputs=output_results(outputs),
        seconds=cost.total.seconds / batch,
        cpu_seconds=cost.total.cpu_seconds / batch,
        bytes_sent=part(cost.total.sent),
        bytes_received=part(cost.total.received),
        flights=cost.total.flights,
        by_step_kind=by_kind,
        server=msgspec.structs.replace(
            served, seconds=served.seconds / batch, cpu_seconds=served.cpu_seconds / batch
        ),
        batch=batch,
    )
