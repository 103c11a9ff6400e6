"""The vendor's process: one Program, one Weights, any number of clients, one at a time.

The main thread serves; a thread accepts connections, and one short-lived thread per connection does
the handshake under a deadline, so that port scanners, slow connections and other people's protocols
cost one log line and never delay a client in service. Clients that pass the handshake wait in a
queue and are told how many are ahead; when the queue is full they are refused.

A failure in one client's session ends that session alone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from moiety.protocols import kernels
from moiety.protocols.errors import (
    ContractViolation,
    MoietyError,
    NetworkFailure,
    PeerMismatch,
    UntrustedPeer,
)
from moiety.protocols.ot.generators import in_words
from moiety.protocols.parallel import Workers
from moiety.protocols.session import Role, Session
from moiety.protocols.setup import open_session
from moiety.runtime.party import handshake
from moiety.runtime.party.endpoints import Incoming, Listener
from moiety.runtime.party.executor import ServerExecutor
from moiety.runtime.party.framing import Line, PeerClosed, PeerError
from moiety.runtime.party.generator_choice import Ot, settle_server
from moiety.runtime.party.metering import RunCost, peak_rss
from moiety.runtime.party.signals import Stopped
from moiety.runtime.party.transport import TcpChannel
from moiety.runtime.program import Program
from moiety.runtime.program.progress import Progress, no_progress
from moiety.runtime.program.weights import Weights

log = logging.getLogger("moiety.server")


@dataclass(frozen=True)
class ServerOptions:
    """`max_clients`: stop after so many served (None: never). `waiting`: places in the queue; those
    who wait hear every `reminder_seconds` that the server still knows them. `handshakes`: at the
    same time. `ot`: generator of correlations (generator_choice.py). `threads`: of the kernels, for
    the client in service.
    """

    max_clients: int | None = None
    waiting: int = 8
    handshakes: int = 32
    handshake_seconds: float = handshake.HANDSHAKE_SECONDS
    idle_seconds: float = 120.0
    reminder_seconds: float = 20.0
    ot: Ot = "auto"
    threads: int = 1


@dataclass
class Summary:
    """What a server did in its life."""

    clients: int = 0
    failed_clients: int = 0
    refused: int = 0
    images: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    bytes_sent: int = 0
    bytes_received: int = 0

    def line(self) -> str:
        return (
            f"{self.images} images for {self.clients} clients ({self.failed_clients} ended early, "
            f"{self.refused} connections refused); "
            f"{self.seconds:.1f} s in service, {self.cpu_seconds:.1f} s CPU, "
            f"{self.bytes_sent / 1e6:.1f} MB sent, {self.bytes_received / 1e6:.1f} MB received, "
            f"peak memory {peak_rss() / 1e9:.2f} GB"
        )


@dataclass
class Server:
    """One listening server. Inside `with server:` clients are accepted and wait; `run`, once the
    executor is prepared, serves them, and raises nothing for a client's sake. `Stopped` (see
    signals) passes through both, after a word to the client in service.
    """

    executor: ServerExecutor
    listener: Listener
    options: ServerOptions = ServerOptions()
    summary: Summary = field(default_factory=Summary)
    _queue: deque[TcpChannel] = field(default_factory=deque)
    _met: dict[TcpChannel, tuple[handshake.Hello, handshake.Hello]] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _ready: bool = False
    _serving: bool = False
    _stopping: bool = False
    _acceptor: threading.Thread = field(init=False)
    _workers: Workers = field(init=False)
    _offer: dict[int, str] = field(init=False)

    @classmethod
    def of(
        cls,
        program: Program,
        weights: Weights,
        listener: Listener,
        options: ServerOptions = ServerOptions(),
        batches: tuple[int, ...] = (1,),
    ) -> Server:
        """For clients who run as many images together as one of `batches`. Raises as
        ServerExecutor.
        """
        return cls(ServerExecutor(program, weights, batches), listener, options)

    def __post_init__(self) -> None:
        self._workers = Workers(self.options.threads)
        self._offer = {images: self.executor.layout(images) for images in self.executor.batches}

    def __enter__(self) -> Server:
        self._acceptor = threading.Thread(
            target=self._accept_loop, name="moiety-acceptor", daemon=True
        )
        self._acceptor.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()
        self._acceptor.join(timeout=5.0)
        self._workers.close()

    def prepare(self, progress: Progress = no_progress, keep_beside: Path | None = None) -> None:
        """Prepare the executor (see there), with this server's threads."""
        started = time.perf_counter()
        self.executor.prepare(progress, keep_beside, self._workers)
        log.info("prepared in %.2f s", time.perf_counter() - started)

    def run(self) -> None:
        """Serve until `max_clients` were served or `stop` was called."""
        self._ready = True
        log.info("ready to serve")
        while not self._done():
            channel = self._next()
            if channel is not None:
                self._serve(channel)

    def stop(self) -> None:
        """Accept nobody any more and send those who wait away; from any thread."""
        with self._changed:
            self._stopping = True
            waiting = list(self._queue)
            self._queue.clear()
            self._changed.notify_all()
        self.listener.close()
        for channel in waiting:
            handshake.refuse(channel, "stopping", "the server is shutting down; try again later")

    def _done(self) -> bool:
        limit = self.options.max_clients
        return self._stopping or (limit is not None and self.summary.clients >= limit)

    def _next(self) -> TcpChannel | None:
        with self._changed:
            if not self._queue:
                self._changed.wait(timeout=0.5)
            if self._stopping or not self._queue:
                return None
            self._serving = True
            channel = self._queue.popleft()
            self._tell_places()
            return channel

    def _tell_places(self) -> None:
        """Tell all who wait how many are ahead, and forget those who have gone. With the
        lock held.
        """
        for channel in list(self._queue):
            try:
                handshake.send(
                    channel, handshake.Waiting(ahead=self._queue.index(channel) + self._serving)
                )
            except NetworkFailure:
                log.info("%s: left while waiting", channel.peer)
                self._queue.remove(channel)
                self._met.pop(channel, None)
                channel.abort()

    # --- before service: any thread but the main one ----------------------------------------------

    def _accept_loop(self) -> None:
        places = threading.BoundedSemaphore(self.options.handshakes)
        reminded = time.monotonic()
        while not self._stopping:
            if time.monotonic() - reminded > self.options.reminder_seconds:
                reminded = time.monotonic()
                with self._changed:
                    self._tell_places()
            try:
                incoming = self.listener.take()
            except NetworkFailure:
                return
            if incoming is None:
                continue
            if not places.acquire(blocking=False):
                log.warning("%s: dropped, too many connections at once", incoming.peer)
                incoming.close()
                continue
            threading.Thread(
                target=self._admit,
                args=(incoming, places),
                name=f"moiety-handshake {incoming.peer}",
                daemon=True,
            ).start()

    def _admit(self, incoming: Incoming, places: threading.BoundedSemaphore) -> None:
        try:
            channel = self._open(incoming)
            if channel is not None:
                self._shake_hands(channel)
        finally:
            places.release()

    def _open(self, incoming: Incoming) -> TcpChannel | None:
        """None where the peer does not speak TLS as it should, or is not believed."""
        try:
            return incoming.open(self.options.handshake_seconds)
        except MoietyError as error:
            log.warning("%s: dropped: %s", incoming.peer, error)
            self.summary.refused += 1
            return None

    def _shake_hands(self, channel: TcpChannel) -> None:
        try:
            self._handshake(channel)
        except PeerMismatch as error:
            self._refuse(channel, "mismatch", str(error))
        except (NetworkFailure, UntrustedPeer) as error:
            log.warning("%s: dropped before the handshake was complete: %s", channel.peer, error)
            self.summary.refused += 1
            channel.abort()
        except Exception:
            log.exception("%s: the handshake failed", channel.peer)
            channel.abort()
        else:
            self._enqueue(channel)

    def _handshake(self, channel: TcpChannel) -> None:
        ours = handshake.hello(Role.SERVER, self.executor.program, self.options.ot, self._offer)
        theirs = handshake.meet(channel, ours, self.options.handshake_seconds)
        self._met[channel] = ours, theirs

    def _enqueue(self, channel: TcpChannel) -> None:
        with self._changed:
            ahead = len(self._queue) + self._serving
            full = ahead > self.options.waiting
            stopping = self._stopping
            if not full and not stopping:
                if ahead or not self._ready:
                    log.info("%s: waiting, %d ahead", channel.peer, ahead)
                    handshake.send(channel, handshake.Waiting(ahead=ahead))
                self._queue.append(channel)
                self._changed.notify_all()
        if stopping:
            self._refuse(channel, "stopping", "the server is shutting down; try again later")
        elif full:
            self._refuse(
                channel,
                "busy",
                f"the server is busy, and {self.options.waiting} more may wait for it; "
                "try again later",
            )

    def _refuse(self, channel: TcpChannel, reason: handshake.Reason, message: str) -> None:
        log.warning("%s: refused: %s", channel.peer, message)
        self.summary.refused += 1
        handshake.refuse(channel, reason, message)

    # --- service: the main thread -----------------------------------------------------------------

    def _serve(self, channel: TcpChannel) -> None:
        self.summary.clients += 1
        images = 0
        try:
            log.info("%s: connected%s", channel.peer, _named(channel.line))
            for cost in self._runs(channel):
                images += cost.images
                self._account(channel, images, cost)
            log.info(
                "%s: finished, %d images, %.1f MB over the wire",
                channel.peer,
                images,
                (channel.wire_sent + channel.wire_received) / 1e6,
            )
            channel.close()
        except Stopped:
            handshake.refuse(channel, "stopping", "the server is shutting down")
            raise
        except ContractViolation:
            self._internal_failure(channel)
        except PeerError as error:
            self._lost(channel, images, str(handshake.refused(error)))
        except MoietyError as error:
            self._lost(channel, images, str(error), handshake.refusal_of(error))
        except Exception:
            self._internal_failure(channel)
        finally:
            self._serving = False

    def _runs(self, channel: TcpChannel) -> Iterator[RunCost]:
        """Opens the session and runs images until the client says goodbye; yields each
        run's cost.
        """
        _, theirs = self._met[channel]
        handshake.send(channel, handshake.Ready(nonce=theirs.nonce))
        session = self._open_session(channel)
        index = 0
        while (begin := self._next_run(channel, index)) is not None:
            cost = self.executor.run(session, images=begin.images)
            handshake.send(
                channel,
                handshake.Served(
                    seconds=cost.total.seconds,
                    cpu_seconds=cost.total.cpu_seconds,
                    peak_rss=cost.peak_rss,
                ),
            )
            index += begin.images
            yield cost

    def _open_session(self, channel: TcpChannel) -> Session:
        started = time.perf_counter()
        ours, theirs = self._met.pop(channel)
        silent_from = settle_server(channel, ours.ot, theirs.ot)
        session = open_session(
            Role.SERVER,
            channel,
            silent_from=silent_from,
            workers=self._workers,
            network=self.executor.program.planned_for,
            binding=handshake.binding(channel.line, ours, theirs),
        )
        log.info(
            "%s: session open after %.2f s (kernels: %s; correlations: %s)",
            channel.peer,
            time.perf_counter() - started,
            kernels.backend_name(),
            in_words(silent_from),
        )
        return session

    def _next_run(self, channel: TcpChannel, index: int) -> handshake.Begin | None:
        """What the client announces, None for a goodbye. `index` is the number of the image that is
        due; raises `NetworkFailure` for another, and for a run that was not offered.
        """
        try:
            with channel.deadline(self.options.idle_seconds):
                begin = handshake.receive(channel, handshake.Begin)
        except PeerClosed as closed:
            if closed.orderly:
                return None
            raise
        if begin.index != index:
            raise NetworkFailure(
                f"out of step: image {begin.index} announced where {index} was due"
            )
        if begin.images not in self.executor.batches:
            raise NetworkFailure(
                f"out of step: a run of {begin.images} images, which was not offered"
            )
        return begin

    def _account(self, channel: TcpChannel, images: int, cost: RunCost) -> None:
        total = cost.total
        self.summary.images += cost.images
        self.summary.seconds += total.seconds
        self.summary.cpu_seconds += total.cpu_seconds
        self.summary.bytes_sent += total.sent
        self.summary.bytes_received += total.received
        done = (
            f"image {images}"
            if cost.images == 1
            else f"images {images - cost.images + 1} to {images}"
        )
        log.info(
            "%s: %s done in %.2f s (%.2f s CPU), %.1f MB sent, %.1f MB received",
            channel.peer,
            done,
            total.seconds,
            total.cpu_seconds,
            total.sent / 1e6,
            total.received / 1e6,
        )

    def _lost(
        self, channel: TcpChannel, images: int, why: str, reason: handshake.Reason = "failed"
    ) -> None:
        self.summary.failed_clients += 1
        log.warning("%s: ended early after %d images: %s", channel.peer, images, why)
        told = why if reason == "untrusted" else "the server gave up on this connection"
        handshake.refuse(channel, reason, told)

    def _internal_failure(self, channel: TcpChannel) -> None:
        """Nothing of the exception goes to the client: it could tell about the weights."""
        self.summary.failed_clients += 1
        log.exception("%s: internal failure; the server goes on", channel.peer)
        handshake.refuse(channel, "failed", "internal failure at the server; its log says more")


def _named(line: Line) -> str:
    """Who the client is, as far as its line proves it."""
    if line.peer is None:
        return " over plain TCP"
    return f" over TLS, key {line.peer}" + (f" of '{line.name}'" if line.name else "")
