"""A server that computes nothing itself: it lets in, counts and writes down, and sends each client
whose turn it is to a worker of its own. Workers come and go: whoever places them tells (`place`).

A place is a worker that is up. It is held from the moment that a client is sent there to the end of
its session, of which the worker tells, or to the end of the worker.
"""

from __future__ import annotations

import logging
import secrets
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from moiety.protocols import errors
from moiety.protocols.errors import ContractViolation, NetworkFailure
from moiety.runtime.party.server import processes, reports
from moiety.runtime.party.server.parent import Server
from moiety.runtime.party.server.visitor import Visitor

log = logging.getLogger("moiety.server")

TICKET_SECONDS = 60.0
"""Within which a client must have come to its worker, and the worker asked for it."""


@dataclass(frozen=True)
class Claim:
    """A place that was given to `visitor`, whose session has not begun yet."""

    visitor: Visitor
    until: float


@dataclass
class Front(Server):
    """`place` starts workers, in a process of its own, keeps them up, and tells of each on the line
    by `Up` and `Down`; it ends them when it is stopped, or its line ends.
    """

    place: Callable[[processes.Line], None] = lambda line: None
    sends: bool = True
    _placing: processes.Child | None = None
    _up: set[str] = field(default_factory=set)
    _idle: deque[str] = field(default_factory=deque)
    _at: dict[Visitor, str] = field(default_factory=dict)
    _claims: dict[str, Claim] = field(default_factory=dict)

    # --- workers ----------------------------------------------------------------------------------

    def _ready(self) -> None:
        """Nobody has a place before the first worker is up."""
        self._count_places()
        self._placing = processes.start(self._place, self.loop)
        self.loop.watch(self._placing.line.sock, self._hear_placing)

    def _place(self, line: processes.Line) -> None:
        processes.Leash(line)
        try:
            self.place(line)
        except errors.MoietyError as error:
            line.send(reports.Failed(error=type(error).__name__, message=str(error)))

    def _hear_placing(self) -> None:
        assert self._placing is not None
        words = self._placing.line.receive()
        for word in words or ():
            match word:
                case reports.Up(worker=worker):
                    self._worker_up(worker)
                case reports.Down(worker=worker, why=why):
                    self._worker_down(worker, why)
                case reports.Failed(error=error, message=message):
                    raise getattr(errors, error, ContractViolation)(message)
        if words is None:
            raise NetworkFailure("what places the workers has ended; start the server again")

    def _worker_up(self, worker: str) -> None:
        log.info("worker %s is up", worker)
        if not self._up:
            super()._ready()
        self._up.add(worker)
        self._idle.append(worker)
        self._count_places()
        self._give_places()

    def _worker_down(self, worker: str, why: str) -> None:
        log.warning("worker %s is down: %s", worker, why)
        self._up.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        self._count_places()
        for ticket, claim in list(self._claims.items()):
            if self._at.get(claim.visitor) == worker:
                self._drop_claim(ticket, f"its worker is down: {why}")

    def _count_places(self) -> None:
        self._places.sessions = self._places.served + len(self._idle)

    # --- places -----------------------------------------------------------------------------------

    def _go(self, visitor: Visitor) -> reports.Go:
        worker, ticket = self._idle.popleft(), secrets.token_hex(16)
        self._at[visitor] = worker
        self._claims[ticket] = Claim(visitor, time.monotonic() + TICKET_SECONDS)
        log.info("%s: sent to the worker %s", visitor.incoming.peer, worker)
        return reports.Go(worker=worker, ticket=ticket)

    def _hear_more(self, visitor: Visitor, word: reports.Spoken | reports.Order) -> None:
        if not isinstance(word, reports.Redeems):
            return
        claim = self._claims.get(word.ticket)
        if claim is None or claim.visitor.caller.fingerprint != word.fingerprint:
            log.warning("%s: shows a ticket that is not good", visitor.incoming.peer)
            visitor.child.line.send(reports.Void())
            return
        del self._claims[word.ticket]
        self._begin(visitor, claim.visitor)

    def _begin(self, visitor: Visitor, sent: Visitor) -> None:
        """The session of the client that was `sent` is from now on what `visitor`, its worker,
        tells.
        """
        self._places.pass_on(sent, visitor)
        self._at[visitor] = self._at.pop(sent)
        visitor.caller = caller = sent.caller
        visitor.served, visitor.shaking_hands = True, False
        visitor.begun = time.monotonic()
        visitor.allow(self.options.setup_seconds + self.options.idle_seconds)
        visitor.child.line.send(
            reports.Escorts(
                address=caller.address,
                port=caller.port,
                fingerprint=caller.fingerprint,
                name=caller.name,
            )
        )

    def _ended(self, visitor: Visitor, ended: reports.Ended) -> None:
        if ended.outcome == "sent":
            visitor.ended = True
            visitor.allow(0)
            return
        self._forget_claim(visitor)
        super()._ended(visitor, ended)

    def _leave(self, visitor: Visitor) -> None:
        self._forget_claim(visitor)
        self._places.leave(visitor)
        worker = self._at.pop(visitor, None)
        if worker in self._up:
            self._idle.append(worker)
        self._count_places()
        self._give_places()

    def _forget_claim(self, visitor: Visitor) -> None:
        for ticket in [key for key, claim in self._claims.items() if claim.visitor is visitor]:
            del self._claims[ticket]

    def _drop_claim(self, ticket: str, why: str, outcome: reports.Outcome = "failed") -> None:
        """Nobody comes with this ticket any more."""
        visitor = self._claims.pop(ticket).visitor
        log.warning("%s: no session: %s", visitor.incoming.peer, why)
        self.summary.failed_clients += 1
        self.recorder.record(visitor.caller, reports.Ended(outcome=outcome, why=why))
        self._leave(visitor)

    # --- clocks, and the end ----------------------------------------------------------------------

    def _look_at_clocks(self) -> None:
        super()._look_at_clocks()
        now = time.monotonic()
        for ticket in [key for key, claim in self._claims.items() if now > claim.until]:
            self._drop_claim(ticket, "the client did not come to its worker")

    def _stop(self) -> None:
        self._places.open = False
        for ticket in list(self._claims):
            self._drop_claim(ticket, "the server was stopped", "stopped")
        if self._placing is not None:
            self.loop.forget(self._placing.line.sock)
            self._placing.signal(signal.SIGTERM)
        super()._stop()
        if self._placing is not None:
            self._placing.reap()
