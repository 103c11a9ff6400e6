"""The hospital's process: images through a server, results to a file
that is whole after every image.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from moiety.protocols import kernels
from moiety.protocols.errors import BadInput, MoietyError
from moiety.protocols.network import Network
from moiety.protocols.parallel import Workers
from moiety.protocols.session import Role, Session
from moiety.protocols.setup import open_session
from moiety.runtime.cost.traffic import image_cost
from moiety.runtime.intake import pictures as images
from moiety.runtime.party import handshake as wire
from moiety.runtime.party.executor import (
    ClientExecutor,
    Output,
    Progress,
    RunCost,
    StepCost,
    no_progress,
)
from moiety.runtime.party.generators import Ot, settle_client
from moiety.runtime.party.signals import Stopped
from moiety.runtime.party.transport import PeerError, TcpChannel
from moiety.runtime.program import Program, write_atomically


class OutputResult(msgspec.Struct, kw_only=True):
    """`logits`: what the network computed; `values`: after `postprocess`; both
    in row-major order of `shape`.
    """

    name: str
    shape: tuple[int, ...]
    labels: tuple[str, ...]
    logits: list[float]
    postprocess: str
    values: list[float]


class ImageResult(msgspec.Struct, kw_only=True):
    """One image: its outputs and what it cost this side; `server` is what
    the server says it cost there.

    Of a run of `batch` images each is charged its part of time and bytes; all of
    them waited for the `flights`.
    """

    file: str
    outputs: list[OutputResult]
    seconds: float
    cpu_seconds: float
    bytes_sent: int
    bytes_received: int
    flights: int
    by_step_kind: dict[str, StepCost]
    server: wire.Served
    batch: int = 1


class Results(msgspec.Struct, kw_only=True):
    """The results file. `complete` is false while images are missing; `error` says
    why, when the run ended early.

    `silent_from`: choices of at least so many bits took silent correlations; `network`:
    what was measured to decide it.
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


@dataclass
class Connection:
    """A server that has accepted this client; `infer` runs one image, `infer_batch` as many as one
    of `sizes`, which are in decreasing order. `setup_seconds` is the base transfers' time.
    """

    executor: ClientExecutor
    channel: TcpChannel
    session: Session
    server: wire.Hello
    setup_seconds: float
    silent_from: int
    network: Network | None
    sizes: tuple[int, ...] = (1,)
    _index: int = field(default=0)

    def infer(
        self, tensor: npt.NDArray[np.float32], progress: Progress = no_progress
    ) -> tuple[list[Output], RunCost, wire.Served]:
        """The outputs for one preprocessed input tensor, this side's cost and the server's."""
        outputs, cost, served = self.infer_batch([tensor], progress)
        return outputs[0], cost, served

    def infer_batch(
        self, tensors: Sequence[npt.NDArray[np.float32]], progress: Progress = no_progress
    ) -> tuple[list[list[Output]], RunCost, wire.Served]:
        """The outputs for each of several tensors in one run; this side's cost
        of the run, and the server's.
        """
        with peer_errors():
            wire.send(self.channel, wire.Begin(index=self._index, images=len(tensors)))
            self._index += len(tensors)
            outputs, cost = self.executor.run_batch(self.session, tensors, progress)
            return outputs, cost, wire.receive(self.channel, wire.Served)


@contextmanager
def peer_errors() -> Iterator[None]:
    """An ERROR frame from the server becomes the exception it stands for."""
    try:
        yield
    except PeerError as error:
        raise wire.refused(error) from error


def shake_hands(
    channel: TcpChannel, program: Program, on_wait: Callable[[int], None], ot: Ot = "auto"
) -> wire.Hello:
    """Compare with the server, then wait for the turn; `on_wait` is told how many are
    ahead. Returns the server's Hello.
    """
    ours = wire.hello(Role.CLIENT, program, ot)
    wire.send(channel, ours)
    with channel.deadline(wire.HANDSHAKE_SECONDS):
        theirs = wire.receive(channel, wire.Hello)
    wire.compare(ours, theirs)
    told = None
    while isinstance(message := wire.receive(channel, wire.Waiting, wire.Ready), wire.Waiting):
        if message.ahead != told:
            told = message.ahead
            on_wait(message.ahead)
    return theirs


def join(
    channel: TcpChannel,
    program: Program,
    on_wait: Callable[[int], None] = lambda ahead: None,
    ot: Ot = "auto",
    batch: int = 1,
    workers: Workers | None = None,
) -> Connection:
    """Handshake, queue, choice of the generator and base transfers; runs will be of
    up to `batch` images, as the server offers. Raises `PeerMismatch`,
    `NetworkFailure`, `BadPlan` as ClientExecutor.
    """
    executor = ClientExecutor(program)
    with peer_errors():
        server = shake_hands(channel, program, on_wait, ot)
        sizes = wire.batch_sizes(server.batches, batch, executor.layout)
        started = time.perf_counter()
        silent_from, network = settle_client(channel, ot, server.ot, image_cost(program))
        session = open_session(
            Role.CLIENT,
            channel,
            silent_from=silent_from,
            workers=workers,
            network=program.planned_for,
        )
        took = time.perf_counter() - started
        return Connection(executor, channel, session, server, took, silent_from, network, sizes)


def check_images(files: Sequence[Path], program: Program) -> None:
    """Reads every image once, so that a bad one is known before
    anything is sent. Raises `BadInput`.
    """
    for file in files:
        images.load(file, program.input.shape, program.preprocessing)


def run_images(
    channel: TcpChannel,
    program: Program,
    files: Sequence[Path],
    output: Path,
    on_wait: Callable[[int], None] = lambda ahead: None,
    on_image: Callable[[ImageResult], None] = lambda result: None,
    progress: Progress = no_progress,
    ot: Ot = "auto",
    batch: int = 1,
    threads: int = 1,
) -> Results:
    """All `files` through the server at the other end of `channel`, up to `batch` of them in one
    run, with `threads` threads; `output` is rewritten, whole, after each run.

    On a failure the results so far are in the file, with `complete` false and the reason in
    `error`, and the exception goes on; when there are none, a file of earlier results is left
    as it was. Closes the channel.
    """
    results = Results(
        program=program.digest(),
        program_name=program.name,
        rounding=program.rounding,
        server=channel.peer.removeprefix("server "),
        versions={
            "moiety": wire.package_version(),
            "python": platform.python_version(),
            "numpy": np.__version__,
        },
        kernels={"client": kernels.backend_name(), "server": "unknown"},
    )
    workers = Workers(threads)
    try:
        connection = join(channel, program, on_wait, ot, min(batch, len(files)), workers)
        results.kernels["server"] = wire.printable(connection.server.backend)
        results.setup_seconds = connection.setup_seconds
        results.silent_from, results.network = connection.silent_from, connection.network
        for group in runs_of(files, connection.sizes):
            tensors = [
                images.load(file, program.input.shape, program.preprocessing) for file in group
            ]
            outputs, cost, served = connection.infer_batch(tensors, progress)
            done = [image_result(file, outputs[i], cost, served, i) for i, file in enumerate(group)]
            results.images += done
            _account(results, channel, cost)
            _save(results, output)
            for result in done:
                on_image(result)
        results.complete = True
    except BaseException as error:
        results.error = (
            str(error) if isinstance(error, MoietyError | Stopped) else type(error).__name__
        )
        wire.refuse(channel, "failed", "the client stopped")
        raise
    finally:
        channel.close()
        workers.close()
        if results.images:
            _save(results, output)
    return results


def runs_of(files: Sequence[Path], sizes: Sequence[int]) -> Iterator[Sequence[Path]]:
    """Cut into runs of the largest sizes that fit; `sizes` decreasing, down to 1."""
    at = 0
    while at < len(files):
        size = next(size for size in sizes if size <= len(files) - at)
        yield files[at : at + size]
        at += size


def image_result(
    file: Path, outputs: Sequence[Output], cost: RunCost, served: wire.Served, position: int = 0
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


def _account(results: Results, channel: TcpChannel, cost: RunCost) -> None:
    results.seconds += cost.total.seconds
    results.bytes_sent, results.bytes_received = (
        channel.meter.total.sent,
        channel.meter.total.received,
    )
    results.wire_bytes_sent, results.wire_bytes_received = channel.wire_sent, channel.wire_received
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
