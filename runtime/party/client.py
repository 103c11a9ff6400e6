"""The hospital's side of a connection.

with Client(program, batch=16).connect("vendor.example", 7700) as connection:
    outputs, cost, served = connection.infer(tensor)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from moiety.protocols.aggregate.marks import marks_of
from moiety.protocols.arrays import BOOL, U64
from moiety.protocols.errors import DeviatingPeer, NetworkFailure, PeerMismatch, UntrustedPeer
from moiety.protocols.network import Network
from moiety.protocols.parallel import Workers
from moiety.protocols.session import Role, Session
from moiety.protocols.setup import open_session
from moiety.runtime.cost.traffic import image_cost
from moiety.runtime.operation.fingerprint import Fingerprint
from moiety.runtime.party import handshake
from moiety.runtime.party.client_stock import ClientStock
from moiety.runtime.party.cohorts import (
    AggregateResult,
    Kept,
    aggregate,
    check_cohort,
    label_names,
    results_of,
    run_ids,
)
from moiety.runtime.party.credentials import Credentials
from moiety.runtime.party.endpoints import connect
from moiety.runtime.party.executor import ClientExecutor
from moiety.runtime.party.framing import Limits, Line, PeerError
from moiety.runtime.party.generator_choice import Ot, settle_client
from moiety.runtime.party.metering import RunCost
from moiety.runtime.party.prepared import ItemSource
from moiety.runtime.party.sides import Revealed
from moiety.runtime.party.stock import Cellar, NewStore
from moiety.runtime.party.transport import TcpChannel
from moiety.runtime.program import Case, Program
from moiety.runtime.program.progress import Progress, no_progress

Met = tuple[handshake.Hello, handshake.Hello, handshake.Ready]


@dataclass(frozen=True)
class Client:
    """A Program, and how its holder runs it: `ot`, the generator of correlations that it asks for;
    `batch`, images that may share one run where the server offers it; `threads` of the kernels.

    `on_wait` is told how many others the server serves first (0: it is getting ready); `on_empty`,
    that what was prepared for runs of so many images is used up, and the next one is computed on
    demand; `progress` follows the steps of each run.
    """

    program: Program
    ot: Ot = "auto"
    batch: int = 1
    threads: int = 1
    on_wait: Callable[[int], None] = lambda ahead: None
    on_empty: Callable[[int], None] = lambda images: None
    progress: Progress = no_progress

    def connect(
        self,
        host: str,
        port: int,
        limits: Limits | None = None,
        credentials: Credentials | None = None,
        insecure: bool = False,
    ) -> Connection:
        """A connection to a server that has accepted this client, with TLS where there are
        `credentials`. Raises as ClientExecutor, endpoints.connect and `join`.
        """
        executor = ClientExecutor(self.program)  # before anybody hears of this client
        channel = connect(host, port, 10.0, limits, credentials, insecure)
        met = self._met(channel)
        if isinstance(met, handshake.Elsewhere):
            channel.close()
            channel = _connect_worker(met, channel.line, limits, credentials, insecure)
            met = self._met(channel, met.ticket)
        return self._opened(channel, executor, met)

    def join(self, channel: TcpChannel) -> Connection:
        """Handshake, queue, choice of the generator and base transfers with the server at the other
        end of `channel`, which is closed if they fail. Raises `PeerMismatch`, `NetworkFailure`, and
        `BadPlan` as ClientExecutor.
        """
        try:
            executor = ClientExecutor(self.program)
        except BaseException as error:
            _leave(channel, None, error)
            raise
        return self._opened(channel, executor, self._met(channel))

    def _met(self, channel: TcpChannel, ticket: str = "") -> Met | handshake.Elsewhere:
        """As `shake_hands`; closes `channel` where it fails."""
        try:
            with peer_errors():
                return self.shake_hands(channel, ticket)
        except BaseException as error:
            _leave(channel, None, error)
            raise

    def _opened(
        self, channel: TcpChannel, executor: ClientExecutor, met: Met | handshake.Elsewhere
    ) -> Connection:
        workers = Workers(self.threads)
        try:
            if isinstance(met, handshake.Elsewhere):
                raise NetworkFailure(
                    f"{channel.peer} sends this client on to {met.host}:{met.port}, where it "
                    "cannot follow: it was sent there by another server, or given a connection"
                )
            ours, server, ready = met
            with peer_errors():
                sizes = handshake.batch_sizes(server.batches, self.batch, executor.layout)
                started = time.perf_counter()
                silent_from, network = settle_client(
                    channel, self.ot, server.ot, image_cost(self.program)
                )
                binding = handshake.binding(channel.line, ours, server)
                session = open_session(
                    Role.CLIENT,
                    channel,
                    silent_from=silent_from,
                    workers=workers,
                    network=self.program.planned_for,
                    binding=binding,
                )
            took = time.perf_counter() - started
        except BaseException as error:
            _leave(channel, workers, error)
            raise
        return Connection(
            self,
            executor,
            channel,
            session,
            server,
            took,
            silent_from,
            network,
            sizes,
            ready.images_left,
            ready.cohorts_left,
            binding,
        )

    def shake_hands(self, channel: TcpChannel, ticket: str = "") -> Met | handshake.Elsewhere:
        """Compare with the server, then wait for the turn. Returns both Hellos, this side's first,
        and with what the turn began; or where the server sends this client. `ticket`: what it was
        given for a worker.
        """
        ours = handshake.hello(Role.CLIENT, self.program, self.ot, ticket=ticket)
        theirs = handshake.meet(channel, ours, handshake.HANDSHAKE_SECONDS)
        told = None
        expected = (handshake.Waiting, handshake.Ready, handshake.Elsewhere)
        while isinstance(message := handshake.receive(channel, *expected), handshake.Waiting):
            if message.ahead != told:
                told = message.ahead
                self.on_wait(message.ahead)
        assert isinstance(message, handshake.Ready | handshake.Elsewhere)
        handshake.check_fresh(message, ours)
        return message if isinstance(message, handshake.Elsewhere) else (ours, theirs, message)


@dataclass
class Connection:
    """A server that has accepted this client; `infer` runs one image, `infer_batch` as many as one
    of `sizes`, which are in decreasing order. As a context manager it says goodbye at the end, or
    that the client stopped where an exception passes.

    `setup_seconds` is the base transfers' time. `silent_from`: choices of at least so many bits
    take silent correlations; `network`: what was measured to decide it. `images_left` and
    `cohorts_left`: what the server said at the beginning that this client may still ask for; None:
    there is no limit.
    """

    client: Client
    executor: ClientExecutor
    channel: TcpChannel
    session: Session
    server: handshake.Hello
    setup_seconds: float
    silent_from: int
    network: Network | None
    sizes: tuple[int, ...] = (1,)
    images_left: int | None = None
    cohorts_left: int | None = None
    _binding: bytes = field(default=b"", repr=False)
    _index: int = 0
    _stocks: dict[int, ClientStock] = field(default_factory=dict)
    _taken: set[int] = field(default_factory=set)  # sizes of runs that took something prepared

    def infer(self, case: Case) -> tuple[list[Revealed], RunCost, handshake.Served]:
        """The results for one case, this side's cost of the run (seconds, bytes, flights), and the
        server's (seconds, bytes of memory).

        `case`: the image as `load` gives it, float `(C,H,W)` as the network takes it, or tensors by
        the inputs' names. A result's `values` are float64, of its shape in the Program. Raises as
        `infer_batch`.
        """
        outputs, cost, served = self.infer_batch([case])
        return outputs[0], cost, served

    def infer_batch(
        self, cases: Sequence[Case]
    ) -> tuple[list[list[Revealed]], RunCost, handshake.Served]:
        """The outputs for each of several cases in one run, as many as one of `sizes`; this side's
        cost of the run, and the server's. Raises `BadInput` for a case that does not fit the
        Program, and under a policy that reveals nothing of an image; `PeerMismatch`;
        `NetworkFailure` where the line or the server is gone, and `ItemLost`, which is one, where
        what was prepared for the run cannot be used.
        """
        self.executor.check_revealing()
        with peer_errors(), self._begun(len(cases)) as item:
            watch = self.client.progress
            outputs, cost = self.executor.run_batch(self.session, cases, watch, item)
            cost.item = None if item is None else item.index
            return outputs, cost, handshake.receive(self.channel, handshake.Served)

    def keep_batch(
        self, cases: Sequence[Case], cohort: str
    ) -> tuple[list[Kept], RunCost, handshake.Served]:
        """Runs several cases whose outputs stay shared: this side's share of each, to be kept for
        the `aggregate` of the `cohort`, 32 random hexadecimal digits; this side's cost, and the
        server's. Raises `BadInput` unless the Program's policy is `aggregate`.
        """
        self.executor.check_keeping(cohort)
        with peer_errors():
            runs = run_ids(self._binding, self._index, len(cases))
            with self._begun(len(cases), cohort) as item:
                watch = self.client.progress
                shares, cost = self.executor.keep_batch(self.session, cases, watch, item)
                cost.item = None if item is None else item.index
            served = handshake.receive(self.channel, handshake.Served)
        kept = [
            Kept(run=run.hex(), share=tuple(share))
            for run, share in zip(runs, shares.tolist(), strict=True)
        ]
        return kept, cost, served

    def aggregate(
        self,
        cohort: str,
        runs: Sequence[str],
        shares: U64,
        positives: BOOL,
        negatives: BOOL,
        progress: Progress = no_progress,
    ) -> tuple[AggregateResult, ...]:
        """What the policy reveals of a cohort: of each label of the Program, in order, AUROC and
        standard error, or counts of true and false positives; nothing where too few images are
        known to be positive or negative.

        `runs` are the ids of the images as `keep_batch` gave them, `shares` uint64 `(n, L)` their
        shares, `positives` and `negatives` `(n, L)` this side's labels; neither: unknown. Once for
        a cohort: before anything is revealed the server destroys its shares, so that these are
        worth nothing afterwards, also where the answer is lost. The server sees the ids in their
        own order, for this side's might tell its labels. Raises `BadInput` for what cannot be a
        cohort, `PeerRefused` where the server denies it, and `PeerMismatch` for an answer that
        cannot be one: then the connection has ended as after any other, for the server must not
        learn that.
        """
        self.executor.check_keeping(cohort)
        check_cohort(self.client.program, runs, shares, positives, negatives)
        order = np.argsort(runs)
        named = bytes.fromhex("".join(runs[at] for at in order))
        marks = marks_of(positives, negatives)[order].T.copy()
        program = self.client.program
        with peer_errors():
            asked = handshake.Aggregate(cohort=cohort, images=len(runs))
            handshake.send(self.channel, asked)
            self.channel.send(np.frombuffer(named, np.uint8))
            told, _ = aggregate(self.session, program, shares[order], marks, progress=progress)
            handshake.receive(self.channel, handshake.Served)
        assert told is not None
        try:
            return tuple(results_of(label_names(program), told, marks))
        except PeerMismatch:
            self.close()
            raise

    def meet_stock(
        self,
        cellar: Cellar,
        images: int = 1,
        new: NewStore = NewStore.NEVER,
        skip_to: int = 0,
    ) -> int:
        """Compares what this side has prepared with the server, for runs of so many images, with
        what the server has: how many items both have. From now on `infer_batch` and `keep_batch`
        take one each while there is one. This connection holds the store until it is closed.

        `new`: whether new stores are founded. `skip_to`: items before this one are given up on both
        sides. Raises `NothingPrepared` where there is nothing, and all is computed on demand;
        `BadInput` where another process has the store, `PeerMismatch` and `BadArtifact` where one
        of the two is an older copy.
        """
        if images in self._stocks:
            self._stocks.pop(images).close()
        with peer_errors():
            self._stocks[images] = ClientStock.meet(
                self.channel,
                self.session,
                self.executor,
                cellar,
                self._binding,
                images,
                new,
                skip_to,
            )
        return self._stocks[images].left

    def prepared(self, images: int = 1) -> int:
        """How many items there are for runs of so many images."""
        return self._stocks[images].left if images in self._stocks else 0

    def given_up(self, images: int = 1) -> int:
        """How many of this side's were before `skip_to` when `meet_stock` compared them."""
        return self._stocks[images].stock.given_up if images in self._stocks else 0

    def prepare(self, images: int = 1) -> int:
        """One item more, after `meet_stock`, on the disk of both parties when it returns; bytes of
        this side's half. Raises `NothingPrepared` where the server has no room for it, `BadInput`
        where this side has none; `DeviatingPeer`; `NetworkFailure`. What was prepared before is as
        it was.
        """
        with peer_errors():
            return self._stocks[images].prepare()

    @contextmanager
    def _begun(self, images: int, cohort: str = "") -> Iterator[ItemSource | None]:
        """Announces the next run; gives the item that was prepared for it, if there is one."""
        index, self._index = self._index, self._index + images
        if not self.prepared(images):
            self._say_empty(images)
            begin = handshake.Begin(index=index, images=images, cohort=cohort)
            handshake.send(self.channel, begin)
            yield None
            return
        self._taken.add(images)
        with self._stocks[images].taken(index, cohort) as item:
            yield item

    def _say_empty(self, images: int) -> None:
        """Once."""
        if images in self._taken:
            self._taken.remove(images)
            self.client.on_empty(images)

    @property
    def own_fingerprint(self) -> Fingerprint | None:
        """Of this side's certificate; None over plain TCP."""
        return self.channel.line.own

    @property
    def peer_fingerprint(self) -> Fingerprint | None:
        """Of the server's certificate, which this side believes; None over plain TCP."""
        return self.channel.line.peer

    def close(self, error: BaseException | None = None) -> None:
        """An orderly end, or with `error` one that tells the server that this client gave up."""
        for stock in self._stocks.values():
            stock.close()
        _leave(self.channel, self.session.workers, error)

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, *rest: object
    ) -> None:
        self.close(error)


def _connect_worker(
    told: handshake.Elsewhere,
    line: Line,
    limits: Limits | None,
    credentials: Credentials | None,
    insecure: bool,
) -> TcpChannel:
    """To the worker that a server at the other end of `line` has told: whoever has that server's
    key, and nobody else.
    """
    if not 0 < told.port < 1 << 16:
        raise NetworkFailure(f"the server names a worker at port {told.port}, which there is not")
    if credentials is not None and line.peer is not None:
        credentials = credentials.only(line.peer, line.name)
    return connect(handshake.printable(told.host), told.port, 10.0, limits, credentials, insecure)


def _leave(channel: TcpChannel, workers: Workers | None, error: BaseException | None) -> None:
    if isinstance(error, UntrustedPeer | DeviatingPeer):
        handshake.refuse(channel, handshake.refusal_of(error), str(error))
    elif error is not None:
        handshake.refuse(channel, "failed", "the client stopped")
    else:
        channel.close()
    if workers is not None:
        workers.close()


@contextmanager
def peer_errors() -> Iterator[None]:
    """An ERROR frame from the server becomes the exception it stands for."""
    try:
        yield
    except PeerError as error:
        raise handshake.refused(error) from error
