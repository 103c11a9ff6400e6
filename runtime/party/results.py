"""The hospital's images, from a list of files through a connection to a results file that is whole
after every run.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from moiety.protocols import kernels
from moiety.protocols.errors import BadInput, MoietyError
from moiety.protocols.network import Network
from moiety.runtime.intake import pictures
from moiety.runtime.operation.events import Begun, Finished, Image, Peer
from moiety.runtime.operation.recorder import NOWHERE, Recorder
from moiety.runtime.party import handshake
from moiety.runtime.party.client import Connection
from moiety.runtime.party.metering import RunCost, StepCost
from moiety.runtime.party.sides import Revealed
from moiety.runtime.party.signals import Stopped
from moiety.runtime.party.transport import TcpChannel
from moiety.runtime.program import Program, write_atomically


class OutputResult(msgspec.Struct, kw_only=True):
    """`logits`: what the network computed; `values`: after `postprocess`; both in row-major order
    of `shape`.
    """

    name: str
    shape: tuple[int, ...]
    labels: tuple[str, ...]
    logits: list[float]
    postprocess: str
    values: list[float]


class ImageResult(msgspec.Struct, kw_only=True):
    """One image: its outputs and what it cost this side; `server` is what the server says it
    cost there.

    Of a run of `batch` images each is charged its part of time and bytes; all of them waited for
    the `flights`.
    """

    file: str
    outputs: list[OutputResult]
    seconds: float
    cpu_seconds: float
    bytes_sent: int
    bytes_received: int
    flights: int
    by_step_kind: dict[str, StepCost]
    server: handshake.Served
    batch: int = 1


class Results(msgspec.Struct, kw_only=True):
    """The results file. `complete` is false while images are missing; `error` says why, when the
    run ended early.

    `silent_from`: choices of at least so many bits took silent correlations; `network`: what was
    measured to decide it.
    """

    format: str = "moiety-results"
    version: int = 1
    program: str
    program_name: str
    rounding: str
    server: str
    versions: dict[str, str]
    kernels: dict[str, str]
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


def check_images(files: Sequence[Path], program: Program) -> None:
    """Reads every image once, so that a bad one is known before anything is sent.
    Raises `BadInput`.
    """
    for file in files:
        pictures.load(file, program.input.shape, program.preprocessing)


def infer_files(
    connection: Connection,
    files: Sequence[Path],
    output: Path,
    on_image: Callable[[ImageResult], None] = lambda result: None,
) -> Results:
    """All `files` through a connection, as many in one run as its `sizes` allow; `output` is
    rewritten, whole, after each run, and `on_image` called for each image of it.

    On a failure the results so far are in the file, with `complete` false and the reason in
    `error`, and the exception goes on; when there are none, a file of earlier results is left as
    it was.
    """
    return run_files(connection, started(connection), files, output, on_image)


def run_files(
    connection: Connection,
    results: Results,
    files: Sequence[Path],
    output: Path,
    on_image: Callable[[ImageResult], None] = lambda result: None,
    recorder: Recorder = NOWHERE,
) -> Results:
    """As `infer_files`, for those of `files` that `results`, which may be of a connection that
    broke, do not have yet. `recorder` hears of each run before it begins and when it is done.
    """
    program = connection.client.program
    before = msgspec.structs.replace(results)
    results.error = None
    try:
        for group in runs_of(files[len(results.images) :], connection.sizes):
            tensors = [
                pictures.load(file, program.input.shape, program.preprocessing) for file in group
            ]
            recorder.record(_begun(connection, group))
            outputs, cost, served = connection.infer_batch(tensors)
            done = [image_result(file, outputs[i], cost, served, i) for i, file in enumerate(group)]
            results.images += done
            _account(results, before, connection.channel, cost)
            _save(results, output)
            recorder.record(_finished(connection, cost))
            for result in done:
                on_image(result)
        results.complete = True
    except BaseException as error:
        results.error = (
            str(error) if isinstance(error, MoietyError | Stopped) else type(error).__name__
        )
        raise
    finally:
        if results.images:
            _save(results, output)
    return results


def peer_of(connection: Connection) -> Peer:
    """The server, as an event names it."""
    return Peer(address=connection.channel.peer.removeprefix("server "))


def _begun(connection: Connection, group: Sequence[Path]) -> Begun:
    images = tuple(Image(file_sha256=_sha256(file)) for file in group)
    return Begun(peer=peer_of(connection), count=len(group), images=images)


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _finished(connection: Connection, cost: RunCost) -> Finished:
    return Finished(
        peer=peer_of(connection),
        count=cost.images,
        seconds=round(cost.total.seconds, 3),
        sent=cost.total.sent,
        received=cost.total.received,
    )


def started(connection: Connection) -> Results:
    """The results of a connection before its first run."""
    program = connection.client.program
    return Results(
        program=program.digest(),
        program_name=program.name,
        rounding=program.rounding,
        server=connection.channel.peer.removeprefix("server "),
        versions={
            "moiety": handshake.package_version(),
            "python": platform.python_version(),
            "numpy": np.__version__,
        },
        kernels={
            "client": kernels.backend_name(),
            "server": handshake.printable(connection.server.backend),
        },
        silent_from=connection.silent_from,
        network=connection.network,
        setup_seconds=connection.setup_seconds,
    )


def runs_of(files: Sequence[Path], sizes: Sequence[int]) -> Iterator[Sequence[Path]]:
    """Cut into runs of the largest sizes that fit; `sizes` decreasing, down to 1."""
    at = 0
    while at < len(files):
        size = next(size for size in sizes if size <= len(files) - at)
        yield files[at : at + size]
        at += size


def image_result(
    file: Path,
    outputs: Sequence[Revealed],
    cost: RunCost,
    served: handshake.Served,
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
        file=str(file),
        outputs=[
            OutputResult(
                name=o.name,
                shape=o.logits.shape,
                labels=o.labels,
                logits=o.logits.ravel().tolist(),
                postprocess=o.postprocess,
                values=o.values.ravel().tolist(),
            )
            for o in outputs
        ],
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


def _account(results: Results, before: Results, channel: TcpChannel, cost: RunCost) -> None:
    """Adds a run, and all traffic of its connection to what there was `before` it."""
    traffic = channel.meter.total
    results.seconds += cost.total.seconds
    results.bytes_sent = before.bytes_sent + traffic.sent
    results.bytes_received = before.bytes_received + traffic.received
    results.wire_bytes_sent = before.wire_bytes_sent + channel.wire_sent
    results.wire_bytes_received = before.wire_bytes_received + channel.wire_received
    results.peak_rss = cost.peak_rss


def _save(results: Results, output: Path) -> None:
    try:
        write_atomically(
            output, msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n"
        )
    except OSError as error:
        raise BadInput(
            f"cannot write the results to {output}: {error.strerror or error}"
        ) from error
