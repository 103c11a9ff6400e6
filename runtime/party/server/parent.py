"""The server's own process: it listens, gives places, and looks after the processes of its
connections. It has one thread, and reads no byte of any client's.
"""

from __future__ import annotations

import gc
import logging
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from moiety.protocols import errors
from moiety.protocols.errors import ContractViolation
from moiety.runtime.party.endpoints import Incoming, Listener, OutOfDescriptors
from moiety.runtime.party.executor import ServerExecutor
from moiety.runtime.party.server import processes, reports
from moiety.runtime.party.server.admission import Admission, Caller, Everybody, Nobody, Recorder
from moiety.runtime.party.server.background import Background
from moiety.runtime.party.server.cohorts import Cohorts
from moiety.runtime.party.server.desk import House
from moiety.runtime.party.server.lobby import Lobby
from moiety.runtime.party.server.loop import Loop
from moiety.runtime.party.server.options import ServerOptions, Summary
from moiety.runtime.party.server.places import Places
from moiety.runtime.party.server.visit import receive
from moiety.runtime.party.server.visitor import GRACE, Visitor
from moiety.runtime.party.stock import Cellar
from moiety.runtime.program import Program
from moiety.runtime.program.weights import Weights

log = logging.getLogger("moiety.server")

TICK = 0.25
HURRY = 2.0
"""Seconds after which a handshake gives way where others need its process."""


@dataclass
class Server:
    """One listening server. `run` serves until `max_clients` were served or a signal stops it, and
    raises nothing for a client's sake. `loop` may watch other sockets of this process, too.
    `cohorts`: where shares are kept for a Program whose policy is `aggregate`; making one without
    them raises `BadInput`. `sends`: its clients go to workers (front.py).

    As a context manager it does so in a process of its own, which is stopped at the end of the
    block: for a program that holds both parties.
    """

    executor: ServerExecutor
    listener: Listener
    options: ServerOptions = field(default_factory=ServerOptions)
    admission: Admission = field(default_factory=Everybody)
    recorder: Recorder = field(default_factory=Nobody)
    summary: Summary = field(default_factory=Summary)
    loop: Loop = field(default_factory=Loop)
    cohorts: Cohorts | None = None
    sends: bool = False
    cellar: Cellar | None = None
    _visitors: list[Visitor] = field(default_factory=list)
    _held_up: list[Incoming] = field(default_factory=list)
    _session_seconds: float = 0.0
    _preparer: processes.Child | None = None
    _places: Places[Visitor] = field(init=False)
    _lobby: Lobby = field(init=False)
    _house: House = field(init=False)
    _background: Background | None = None

    @classmethod
    def of(
        cls,
        program: Program,
        weights: Weights,
        listener: Listener,
        options: ServerOptions | None = None,
        batches: tuple[int, ...] = (1,),
    ) -> Server:
        """For clients who run as many images together as one of `batches`. Raises as
        ServerExecutor.
        """
        return cls(ServerExecutor(program, weights, batches), listener, options or ServerOptions())

    def __post_init__(self) -> None:
        options, executor = self.options, self.executor
        self._places = Places(options.sessions, options.waiting)
        self._lobby = Lobby(options.silent, options.silent_per_address, options.handshake_seconds)
        self._house = House.of(
            executor, options, self.admission, self.cohorts, self.sends, self.cellar
        )

    @property
    def port(self) -> int:
        """Where it listens; a real one where 0 was asked for."""
        return self.listener.port

    def __enter__(self) -> Server:
        """Forks the process that prepares the model and serves. Clients may connect at once."""
        self._background = Background.start(partial(self.run, self.executor.prepare))
        self.listener.close()
        return self

    def __exit__(self, *error: object) -> None:
        """Stops it, and waits for that. Raises what ended it before, if something did: `BadPlan` of
        a model that cannot be prepared, `ContractViolation`.
        """
        assert self._background is not None
        self._background.end()

    def run(self, prepare: Callable[[], None] | None = None) -> None:
        """`prepare` prepares the executor, in a process of its own; clients wait for it. Without it
        that has been done.
        """
        self.executor.share_hints()
        self.listener.sock.setblocking(False)
        self.loop.watch(self.listener.sock, self._accept)
        if prepare is None:
            self._ready()
        else:
            self._start_preparing(prepare)
        # What is there now lives as long as the process: a collection in a child would only copy
        # the pages that it is on.
        gc.freeze()
        try:
            while not self._done():
                self.loop.turn(TICK)
                self.admission.refresh()
                self._hold_up_no_more()
                self._look_at_clocks()
        finally:
            self._stop()

    def _done(self) -> bool:
        limit = self.options.max_clients
        return limit is not None and self.summary.clients >= limit and not self._places.served

    # --- preparing --------------------------------------------------------------------------------

    def _start_preparing(self, prepare: Callable[[], None]) -> None:
        self.recorder.record(None, reports.Phase(phase="preparing"))
        self._places.open = False
        started = time.monotonic()

        def work(line: processes.Line) -> None:
            processes.Leash(line)
            try:
                prepare()
            except errors.MoietyError as error:
                line.send(reports.Failed.of(error))

        self._preparer = processes.start(work, self.loop)
        self.loop.watch(self._preparer.line.sock, partial(self._hear_preparer, started))

    def _hear_preparer(self, started: float) -> None:
        assert self._preparer is not None
        words = self._preparer.line.receive()
        for word in words or ():
            if isinstance(word, reports.Failed):
                raise word.exception()
        if words is not None:
            return
        self.loop.forget(self._preparer.line.sock)
        child, self._preparer = self._preparer, None
        if why := child.reap():
            raise ContractViolation(f"the model could not be prepared: {why}")
        log.info("prepared in %.2f s", time.monotonic() - started)
        self._ready()

    def _ready(self) -> None:
        log.info("ready to serve")
        self._places.open = True
        self.recorder.record(None, reports.Phase(phase="ready"))
        self._give_places()

    # --- before a place ---------------------------------------------------------------------------

    def _accept(self) -> None:
        try:
            incoming = self.listener.take()
        except OutOfDescriptors as error:
            log.warning("cannot accept another connection: %s", error)
            if len(self._lobby):
                self._drop(self._lobby.oldest(), "to make room")
            else:
                time.sleep(TICK)
            return
        if incoming is None:
            return
        for leaving in self._lobby.enter(incoming):
            self._turn_out(leaving, "has said nothing, and others need its place")
        self.loop.watch(incoming.sock, partial(self._speaks, incoming))

    def _drop(self, incoming: Incoming, why: str) -> None:
        self._lobby.leave(incoming)
        self._turn_out(incoming, why)

    def _turn_out(self, incoming: Incoming, why: str) -> None:
        """Of one that has left the lobby."""
        log.warning("%s: dropped before the handshake: %s", incoming.peer, why)
        self.loop.forget(incoming.sock)
        incoming.close()
        self._refused(incoming, "dropped", why)

    def _refused(self, incoming: Incoming, outcome: reports.Outcome, why: str) -> None:
        self.summary.refused += 1
        caller = Caller(incoming.address, incoming.port)
        self.recorder.record(caller, reports.Ended(outcome=outcome, why=why))

    def _speaks(self, incoming: Incoming) -> None:
        """The first bytes have come: it gets a process, as soon as there is one to get."""
        if incoming.silent():
            self._drop(incoming, "closed without a word")
        elif self._may_shake_hands(incoming.address):
            self._start(incoming)
        else:
            self.loop.rest(incoming.sock)
            self._held_up.append(incoming)

    def _hold_up_no_more(self) -> None:
        """Try again for those who came when all processes were in a handshake."""
        held_up, self._held_up = self._held_up, []
        for incoming in held_up:
            if incoming in self._lobby:
                self.loop.watch(incoming.sock, partial(self._speaks, incoming))

    def _start(self, incoming: Incoming) -> None:
        self._lobby.leave(incoming)
        self.loop.forget(incoming.sock)
        try:
            child = processes.start(
                partial(receive, self._house, incoming), self.loop, keep=incoming.sock
            )
        except OSError as error:
            log.warning("%s: dropped: no process for it: %s", incoming.peer, error)
            self._refused(incoming, "dropped", "no process for it")
            incoming.close()
            return
        incoming.close()
        visitor = Visitor(incoming, child, None, Caller(incoming.address, incoming.port))
        visitor.allow(self.options.handshake_seconds)
        self._visitors.append(visitor)
        self.loop.watch(child.line.sock, partial(self._hear, visitor))

    def _may_shake_hands(self, address: str) -> bool:
        """Whether one more process may be in the handshake. Where all are, the oldest is ended if
        it has had time enough.
        """
        shaking = [visitor for visitor in self._visitors if visitor.shaking_hands]
        alike = [each for each in shaking if each.incoming.address == address]
        if len(alike) >= self.options.handshakes_per_address:
            self._make_way(alike[0])
            return False
        if len(shaking) >= self.options.handshakes:
            self._make_way(shaking[0])
            return False
        return True

    def _make_way(self, oldest: Visitor) -> None:
        if not oldest.told and time.monotonic() - oldest.begun > HURRY:
            oldest.told = True
            oldest.child.signal(signal.SIGKILL)

    # --- what the processes say -------------------------------------------------------------------

    def _hear(self, visitor: Visitor) -> None:
        words = visitor.child.line.receive()
        if words is None:
            self._gone(visitor)
            return
        for word in words:
            if visitor.ended:
                return
            if isinstance(word, reports.Report):
                self.recorder.record(visitor.caller, word)
            match word:
                case reports.Wants():
                    self._wants(visitor, word)
                case reports.Began(limit=limit):
                    visitor.allow(limit)
                case reports.Done():
                    visitor.allow(self.options.idle_seconds)
                    self._account(word)
                case reports.Ended():
                    self._ended(visitor, word)
                case _:
                    self._hear_more(visitor, word)

    def _hear_more(self, visitor: Visitor, word: reports.Spoken | reports.Order) -> None:
        """What processes of other servers say, too."""

    def _wants(self, visitor: Visitor, wants: reports.Wants) -> None:
        visitor.caller = replace(visitor.caller, fingerprint=wants.fingerprint, name=wants.name)
        visitor.shaking_hands = False
        visitor.until = None
        gives_way = self._places.enter(visitor, visitor.caller.owner)
        if gives_way is not None:
            seconds = self._until_place(self.options.waiting + 1)
            gives_way.child.line.send(reports.Busy(seconds=seconds))
            gives_way.allow(0)
        self._give_places()
        if not visitor.served and gives_way is not visitor:
            ahead = self._places.ahead(visitor)
            log.info("%s: waiting, %d ahead", visitor.incoming.peer, ahead)

    def _give_places(self) -> None:
        """To those whose turn it is; the others hear how many are ahead."""
        limit = self.options.max_clients
        while (limit is None or self.summary.clients < limit) and (visitor := self._places.grant()):
            self.summary.clients += 1
            visitor.served = True
            visitor.begun = time.monotonic()
            visitor.allow(self.options.setup_seconds + self.options.idle_seconds)
            self.recorder.record(visitor.caller, reports.Go())
            visitor.child.line.send(self._go(visitor))
        for visitor in self._places.order():
            ahead = self._places.ahead(visitor)
            seconds = self._until_place(ahead)
            if not visitor.child.line.send(reports.Place(ahead=ahead, seconds=seconds)):
                visitor.hurry()

    def _go(self, visitor: Visitor) -> reports.Go:
        """Where it is served: here."""
        return reports.Go()

    def _until_place(self, ahead: int) -> float:
        """Seconds until so many sessions have ended, as they have been lately; 0: nobody knows."""
        return self._session_seconds * ahead / max(1, self._places.sessions)

    def _account(self, done: reports.Done) -> None:
        summary = self.summary
        summary.images += done.images
        summary.seconds += done.seconds
        summary.cpu_seconds += done.cpu_seconds
        summary.bytes_sent += done.sent
        summary.bytes_received += done.received
        summary.peak_rss = max(summary.peak_rss, done.peak_rss)

    def _ended(self, visitor: Visitor, ended: reports.Ended) -> None:
        """Its place is free; the process has only to say goodbye."""
        if visitor.ended:
            return
        visitor.ended = True
        visitor.shaking_hands = False
        visitor.allow(0)
        if visitor.served:
            self._learn(time.monotonic() - visitor.begun)
            self.summary.failed_clients += ended.outcome != "finished"
        else:
            self.summary.refused += 1
        self._leave(visitor)

    def _learn(self, seconds: float) -> None:
        """A session took so long; the latest ones count most."""
        before = self._session_seconds or seconds
        self._session_seconds = 0.75 * before + 0.25 * seconds

    def _gone(self, visitor: Visitor) -> None:
        """The process is over, with or without having said so."""
        self._visitors.remove(visitor)
        self.loop.forget(visitor.child.line.sock)
        why = visitor.child.reap() or "its process ended without a word"
        if visitor.ended:
            return
        log.error("%s: lost: %s", visitor.incoming.peer, why)
        self.recorder.record(visitor.caller, reports.Lost(why=why, served=visitor.served))
        if visitor.served:
            self.summary.failed_clients += 1
        else:
            self.summary.refused += 1
        self._leave(visitor)

    def _leave(self, visitor: Visitor) -> None:
        self._places.leave(visitor)
        self._give_places()

    # --- clocks, and the end ----------------------------------------------------------------------

    def _look_at_clocks(self) -> None:
        for incoming in self._lobby.overdue():
            self._turn_out(incoming, "it has said nothing")
        now = time.monotonic()
        for visitor in self._visitors:
            over = visitor.served and now - visitor.begun > self.options.session_seconds + GRACE
            if (not visitor.told and over) or (visitor.until is not None and now > visitor.until):
                log.warning("%s: its process is overdue", visitor.incoming.peer)
                visitor.hurry()

    def _stop(self) -> None:
        """Nobody comes in any more; those who are in hear it, and go."""
        self.recorder.record(None, reports.Phase(phase="stopping"))
        self._places.open = False
        self.loop.forget(self.listener.sock)
        self.listener.close()
        while len(self._lobby):
            self._drop(self._lobby.oldest(), "the server is shutting down")
        if self._preparer is not None:
            self.loop.forget(self._preparer.line.sock)
            self._preparer.signal(signal.SIGKILL)
            self._preparer.reap()
        for visitor in self._visitors:
            if visitor.ended:
                visitor.allow(0)
            else:
                visitor.hurry()
        while self._visitors:
            self.loop.turn(TICK)
            self._look_at_clocks()
        self.loop.close()
