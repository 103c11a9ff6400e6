"""One session with the server, as any process of a study opens it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from moiety.protocols.errors import BadInput
from moiety.runtime.intake.beside import Row
from moiety.runtime.intake.loader import Reader
from moiety.runtime.operation.audit import AuditLog
from moiety.runtime.operation.events import Joined
from moiety.runtime.operation.recorder import Recorder
from moiety.runtime.party.client import Client, Connection
from moiety.runtime.party.client_stock import NothingPrepared
from moiety.runtime.party.credentials import KeyFiles
from moiety.runtime.party.framing import Limits
from moiety.runtime.party.generator_choice import Ot
from moiety.runtime.party.stock import Cellar
from moiety.runtime.program import Program
from moiety.runtime.results.inference import finished, peer_of, run_group, runs_of
from moiety.runtime.results.record import ImageResult
from moiety.runtime.results.retry import left
from moiety.runtime.store.key import StoreKey
from moiety.runtime.store.lock import StoreHeld
from moiety.runtime.study.workers import Task


@dataclass(frozen=True, kw_only=True)
class SessionPlan:
    """All that it takes: with whom and how (as `Client` and `connect`), and how files become images
    (as `Reader`; `rows`: what the cohort's list says beside them, for models of several inputs).
    Plain data: a process tells it another. `audit`: the log that all sessions append to. `cohort`:
    what the two parties call the study, where outputs stay shared (policy `aggregate`). `store`:
    the folder of runs that were prepared ahead, and the one of its key; None: none are taken.
    """

    program: Program
    host: str
    port: int
    timeout: float = 60.0
    keys: KeyFiles | None = None
    insecure: bool = False
    ot: Ot = "auto"
    batch: int = 1
    threads: int = 1
    bit_depth: int | None = None
    rows: tuple[tuple[Path, tuple[Row, ...]], ...] = ()
    audit: Path | None = None
    cohort: str = ""
    store: Path | None = None
    store_keys: Path | None = None

    def connect(self, on_wait: Callable[[int], None] = lambda ahead: None) -> Connection:
        """Raises as `Client.connect`."""
        client = Client(
            self.program, ot=self.ot, batch=self.batch, threads=self.threads, on_wait=on_wait
        )
        credentials = self.keys.read() if self.keys else None
        limits = Limits(silence=self.timeout)
        return client.connect(self.host, self.port, limits, credentials, self.insecure)

    def meet(self, connection: Connection) -> None:
        """From now on it takes what was prepared, where there is something that no other session
        holds. Raises as `Connection.meet_stock` else.
        """
        if self.store is None or self.store_keys is None:
            return
        cellar = Cellar(self.store, StoreKey.at(self.store_keys))
        for images in connection.sizes:
            with suppress(NothingPrepared, StoreHeld):
                connection.meet_stock(cellar, images)

    def reader(self) -> Reader:
        """How files become images."""
        rows = {file: list(rows) for file, rows in self.rows}
        return Reader.of(self.program, self.bit_depth, rows)

    def recorder(self) -> Recorder:
        """Where events go."""
        audit = AuditLog(self.audit) if self.audit else None
        return Recorder("client", self.program.digest(), audit)


@dataclass
class Session:
    """An open one; `images`: how many it has run."""

    connection: Connection
    plan: SessionPlan
    reader: Reader
    recorder: Recorder
    images: int = 0

    @classmethod
    def open(cls, plan: SessionPlan, on_wait: Callable[[int], None]) -> Session:
        """Raises as `Client.connect` and `SessionPlan.meet`."""
        recorder = plan.recorder()
        connection = plan.connect(on_wait)
        try:
            plan.meet(connection)
        except BaseException as error:
            connection.close(error)
            raise
        recorder.record(Joined(peer=peer_of(connection)))
        return cls(connection, plan, plan.reader(), recorder)

    def run(self, task: Task) -> list[ImageResult]:
        """A result for each file, as many in one run as the server offers. Raises as
        `Connection.infer_batch`; `BadInput` for a file that is not as it was, and where the quota
        does not reach for what is to come.
        """
        if not self.images:
            self._check_quota(task.ahead)
        results: list[ImageResult] = []
        for group in runs_of(task.files, self.connection.sizes):
            done, cost = run_group(
                self.connection, group, self.reader, self.recorder, self.plan.cohort
            )
            self.recorder.record(finished(self.connection, cost))
            self.images += len(done)
            results += done
        return results

    def _check_quota(self, ahead: int) -> None:
        """Before the first image is sent."""
        images, cohorts = self.connection.images_left, self.connection.cohorts_left
        if images is not None and images < ahead:
            raise BadInput(
                f"the server lets this client run {images} more images, and {ahead} are to come: "
                "ask the vendor for a larger quota, or take fewer with --limit"
            )
        if self.plan.cohort and cohorts == 0:
            raise BadInput(
                "the server lets this client ask for no more aggregates: ask the vendor for a "
                "larger quota of cohorts; nothing was sent"
            )

    def close(self, error: BaseException | None = None) -> None:
        """An orderly end, or one that tells the server that this side gave up."""
        self.recorder.record(left(self.connection, self.images, error))
        self.connection.close(error)
