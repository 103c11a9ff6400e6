"""Results as a run leaves them, without a run."""

from __future__ import annotations

import msgspec

from moiety.runtime.intake.picture import Identity, Warned
from moiety.runtime.party.handshake import Served
from moiety.runtime.results.record import (
    WITH_WARNINGS,
    Fingerprints,
    ImageResult,
    LeftOut,
    OutputResult,
    ResultKind,
    Results,
    empty_results,
)
from tests.support.runnable import small

WARNING = Warned("low-peak", "the brightest pixel is 4080 of 65535")

PROGRAM = small()[0]
"""Of all results made here: its commitment is drawn anew for each."""


def an_output(
    values: list[float],
    labels: tuple[str, ...] = (),
    name: str = "out",
    kind: ResultKind = "score",
    chosen: tuple[str, ...] = (),
) -> OutputResult:
    return OutputResult(
        name=name,
        shape=(len(values),),
        labels=labels,
        kind=kind,
        formula=name,
        values=[*values],
        chosen=chosen,
    )


def an_image(
    file: str, outputs: list[OutputResult] | None = None, warned: bool = False
) -> ImageResult:
    image = ImageResult(
        file=file,
        identity=Identity(
            file_sha256="f" * 64,
            pixel_sha256="p" * 64,
            sop_instance_uid="1.2.3" if warned else None,
        ),
        time="2026-11-25T12:00:00.000Z",
        outputs=outputs or [an_output([1.5, -2.25, 4.34])],
        seconds=1.0,
        cpu_seconds=0.5,
        bytes_sent=10,
        bytes_received=20,
        flights=3,
        by_step_kind={},
        server=Served(seconds=1.0, cpu_seconds=0.5, peak_rss=1),
    )
    if warned:
        image.verdict, image.warnings = WITH_WARNINGS, (WARNING,)
    return image


def some_results(*images: ImageResult, complete: bool = True) -> Results:
    results = empty_results(PROGRAM, {"moiety": "0.1.0"})
    results.images = list(images)
    results.fingerprints = Fingerprints(client="AAA", server="BBB")
    results.refused = [LeftOut("bad.png", "bad.png: damaged picture")]
    results.skipped = [LeftOut("notes.txt", "not a type read here")]
    results.complete = complete
    if not complete:
        results.error, results.remaining = "the line broke", ["later.png"]
    return results


def read_back(data: bytes) -> Results:
    return msgspec.json.decode(data, type=Results)
