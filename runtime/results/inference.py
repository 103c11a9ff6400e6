"""The hospital's images, from a list of files through a connection to results that are whole after
every run.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from moiety.protocols import kernels
from moiety.protocols.errors import MoietyError
from moiety.runtime.intake.admission import Intake
from moiety.runtime.intake.loader import Reader, load
from moiety.runtime.intake.text import legible
from moiety.runtime.intake.verdicts import Accepted, verdict_of
from moiety.runtime.operation.events import Begun, Finished, Image, Peer
from moiety.runtime.operation.recorder import NOWHERE, Recorder
from moiety.runtime.party import handshake
from moiety.runtime.party.client import Connection
from moiety.runtime.party.metering import RunCost
from moiety.runtime.party.signals import Stopped
from moiety.runtime.party.transport import TcpChannel
from moiety.runtime.results.outputs import Outputs
from moiety.runtime.results.record import (
    Fingerprints,
    ImageResult,
    LeftOut,
    Results,
    empty_results,
    image_result,
    kept_result,
)


@dataclass(frozen=True)
class Cohort:
    """The files of one command: those to run, and those that are not, with why."""

    files: Sequence[Path]
    refused: Sequence[tuple[Path, str]] = ()
    skipped: Sequence[tuple[Path, str]] = ()

    @classmethod
    def of(cls, intake: Intake) -> Cohort:
        """What the intake accepted, with what it did not."""
        return cls(
            intake.files,
            [(each.path, each.reason) for each in intake.refused],
            [(each.path, each.why) for each in intake.skipped],
        )


def infer_files(
    connection: Connection,
    cohort: Cohort,
    outputs: Outputs,
    on_image: Callable[[ImageResult], None] = lambda result: None,
    reader: Reader | None = None,
) -> Results:
    """All files of a cohort through a connection, as many in one run as its `sizes` allow;
    `outputs` are saved after each run, and `on_image` called for each image of it. reader: how the
    files are read; None: as the Program alone says.

    On a failure the results so far are saved, with `complete` false and the reason in `error`, and
    the exception goes on; when there are none, files of earlier results are left as they were.
    """
    results = started(connection, cohort)
    reader = reader or Reader.of(connection.client.program)
    return run_files(connection, results, cohort.files, outputs, reader, on_image)


def run_files(
    connection: Connection,
    results: Results,
    files: Sequence[Path],
    outputs: Outputs,
    reader: Reader,
    on_image: Callable[[ImageResult], None] = lambda result: None,
    recorder: Recorder = NOWHERE,
) -> Results:
    """As `infer_files`, for those of `files` that `results`, which may be of a connection that
    broke, do not have yet. `recorder` hears of each run before it begins and when it is done.
    """
    before = msgspec.structs.replace(results)
    results.error = None
    try:
        for group in runs_of(files[len(results.images) :], connection.sizes):
            done, cost = run_group(connection, group, reader, recorder)
            results.images += done
            del results.remaining[: len(done)]
            _account(results, before, connection.channel, cost)
            outputs.save(results, files)
            recorder.record(finished(connection, cost))
            for result in done:
                on_image(result)
        results.complete = True
    except BaseException as error:
        known = isinstance(error, MoietyError | Stopped)
        results.error = legible(str(error)) if known else type(error).__name__
        raise
    finally:
        if results.images:
            outputs.finish(results, files)
    return results


def run_group(
    connection: Connection,
    files: Sequence[Path],
    reader: Reader,
    recorder: Recorder,
    cohort: str = "",
) -> tuple[list[ImageResult], RunCost]:
    """As many files as one of the connection's `sizes`, in one run that `recorder` hears of before
    it begins. cohort: where a Program reveals no outputs of an image, for whose aggregate they are
    kept.
    """
    program = connection.client.program
    taken = [load(file, reader) for file in files]
    recorder.record(_begun(connection, taken))
    cases, names = [each.case for each in taken], [legible(file) for file in files]
    if cohort:
        kept, cost, served = connection.keep_batch(cases, cohort)
        results = [kept_result(n, kept[i], cost, served, i) for i, n in enumerate(names)]
    else:
        revealed, cost, served = connection.infer_batch(cases)
        results = [
            image_result(n, program, revealed[i], cost, served, i) for i, n in enumerate(names)
        ]
    return [with_file(each, result) for each, result in zip(taken, results, strict=True)], cost


def peer_of(connection: Connection) -> Peer:
    """The server, as an event names it."""
    line = connection.channel.line
    return Peer(
        address=connection.channel.peer.removeprefix("server "),
        fingerprint=line.peer.digest.hex() if line.peer else None,
        name=line.name or None,
    )


def _begun(connection: Connection, group: Sequence[Accepted]) -> Begun:
    images = tuple(
        Image(
            file_sha256=taken.identity.file_sha256,
            pixel_sha256=taken.identity.pixel_sha256,
            verdict=taken.verdict,
        )
        for taken in group
    )
    return Begun(peer=peer_of(connection), count=len(group), images=images)


def finished(connection: Connection, cost: RunCost) -> Finished:
    """The event of a run whose results are kept."""
    return Finished(
        peer=peer_of(connection),
        count=cost.images,
        seconds=round(cost.total.seconds, 3),
        sent=cost.total.sent,
        received=cost.total.received,
    )


def with_file(taken: Accepted, result: ImageResult) -> ImageResult:
    """With what the intake said of its file, before what there is to say of its result."""
    result.warnings = (*taken.warnings, *result.warnings)
    result.verdict = verdict_of(result.warnings)
    result.identity = taken.identity
    return result


def started(connection: Connection, cohort: Cohort) -> Results:
    """The results of a connection before its first run."""
    versions = {
        "moiety": handshake.package_version(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    results = empty_results(connection.client.program, versions)
    results.server = legible(connection.channel.peer.removeprefix("server "))
    own, peer = connection.own_fingerprint, connection.peer_fingerprint
    results.fingerprints = Fingerprints(
        client=str(own) if own else None, server=str(peer) if peer else None
    )
    results.kernels = {
        "client": kernels.backend_name(),
        "server": handshake.printable(connection.server.backend),
    }
    results.silent_from = connection.silent_from
    results.network = connection.network
    results.setup_seconds = connection.setup_seconds
    results.refused = left_out(cohort.refused)
    results.skipped = left_out(cohort.skipped)
    results.remaining = [legible(file) for file in cohort.files]
    return results


def left_out(files: Sequence[tuple[Path, str]]) -> list[LeftOut]:
    """Files and reasons, for the record."""
    return [LeftOut(legible(file), legible(reason)) for file, reason in files]


def runs_of(files: Sequence[Path], sizes: Sequence[int]) -> Iterator[Sequence[Path]]:
    """Cut into runs of the largest sizes that fit; `sizes` decreasing, down to 1."""
    at = 0
    while at < len(files):
        size = next(size for size in sizes if size <= len(files) - at)
        yield files[at : at + size]
        at += size


def _account(results: Results, before: Results, channel: TcpChannel, cost: RunCost) -> None:
    """Adds a run, and all traffic of its connection to what there was `before` it."""
    traffic = channel.meter.total
    results.seconds += cost.total.seconds
    results.bytes_sent = before.bytes_sent + traffic.sent
    results.bytes_received = before.bytes_received + traffic.received
    results.wire_bytes_sent = before.wire_bytes_sent + channel.wire_sent
    results.wire_bytes_received = before.wire_bytes_received + channel.wire_received
    results.peak_rss = cost.peak_rss
