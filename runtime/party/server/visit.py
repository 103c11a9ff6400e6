"""One connection, from its first bytes to its end, in a process of its own."""

from __future__ import annotations

import logging
import os
import time
from contextlib import closing
from dataclasses import replace
from functools import partial

from moiety.protocols import kernels
from moiety.protocols.errors import (
    BadInput,
    ContractViolation,
    DeviatingPeer,
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
from moiety.runtime.party.cohorts import is_id
from moiety.runtime.party.endpoints import Incoming
from moiety.runtime.party.framing import PeerAccuses, PeerClosed, PeerError
from moiety.runtime.party.generator_choice import settle_server
from moiety.runtime.party.metering import RunCost, StepWatch, peak_rss
from moiety.runtime.party.server import processes, reports
from moiety.runtime.party.server.admission import Denied, count_failure
from moiety.runtime.party.server.desk import Desk, House
from moiety.runtime.party.server.escort import Escort, check_worker, send_elsewhere
from moiety.runtime.party.server.limits import Alarm, Overdue, aggregate_seconds
from moiety.runtime.party.server.stocks import Stocks
from moiety.runtime.party.server.visitor import GRACE
from moiety.runtime.party.server.words import busy_words, caller_of, item_lost_words, named
from moiety.runtime.party.signals import Stopped
from moiety.runtime.party.stock import ItemLost
from moiety.runtime.party.transport import TcpChannel

log = logging.getLogger("moiety.server")

_Asked = handshake.Stored | handshake.Prepare | handshake.Begin | handshake.Aggregate
_ASKED = (handshake.Stored, handshake.Prepare, handshake.Begin, handshake.Aggregate)


class Turned(Exception):
    """The client goes away unserved, by what the server has told this process."""

    def __init__(self, reason: handshake.Reason, message: str, seconds: float | None = None):
        super().__init__(message)
        self.reason = reason
        self.seconds = seconds


def receive(house: House, incoming: Incoming, line: processes.Line) -> None:
    """The life of the process: opens the connection, and tells the server how it ended."""
    try:
        channel = incoming.open(house.options.handshake_seconds)
    except (NetworkFailure, UntrustedPeer) as error:
        log.warning("%s: dropped before the handshake: %s", incoming.peer, error)
        line.send(reports.Ended(outcome="dropped", why=str(error)))
        return
    Visit(house, incoming, channel, line).run()


class Visit:
    """A connection that is open."""

    def __init__(
        self, house: House, incoming: Incoming, channel: TcpChannel, line: processes.Line
    ) -> None:
        self._house = house
        self._options = house.options
        self._channel = channel
        self._line = line
        self._leash = processes.Leash(line)
        self._alarm = Alarm(channel, house.options)
        self._caller = caller_of(incoming, channel.line)
        self._hellos: tuple[handshake.Hello, handshake.Hello] | None = None
        self._greeted = False
        self._desk: Desk | None = None
        self._images = 0
        self._over = False

    def run(self) -> None:
        """To its end, whatever that is; only a signal to stop passes through."""
        self._alarm.start()
        try:
            served = self._enter() and self._serve()
            self._alarm.stop()
            if served:
                self._report("finished")
                self._channel.close()
        except Stopped:
            self._alarm.stop()
            self._report("stopped", "the server was stopped")
            message = "the server is shutting down; try again later"
            handshake.refuse(self._channel, "stopping", message)
            raise

    # --- before a place ---------------------------------------------------------------------------

    def _enter(self) -> bool:
        """Handshake, admission, and the queue; whether the client's turn has come."""
        peer = self._channel.peer
        try:
            with self._alarm.within(self._options.handshake_seconds, "the handshake"):
                self._handshake()
            self._greeted = True
            if self._is_worker:
                check_worker(self._channel, self._house.sends)
                return True
            self._admit()
            go = self._wait()
            if go.worker:
                self._send_to(go)
                return False
        except PeerMismatch as error:
            self._refuse("mismatch", str(error))
        except Denied as error:
            self._refuse("denied", str(error))
        except Turned as turned:
            self._refuse(turned.reason, str(turned), turned.seconds)
        except (NetworkFailure, UntrustedPeer) as error:
            self._alarm.stop()
            when = "left while waiting" if self._greeted else "dropped before the handshake"
            log.warning("%s: %s: %s", peer, when, error)
            self._channel.abort()
            self._report("dropped", str(error))
        except (BadInput, PeerAccuses) as error:
            self._lost("failed", str(error))
        except Exception as error:
            self._alarm.stop()
            log.exception("%s: the handshake failed", peer)
            self._channel.abort()
            self._report("dropped", type(error).__name__)
        else:
            return True
        return False

    def _handshake(self) -> None:
        ours = handshake.hello(
            Role.SERVER, self._house.executor.program, self._options.ot, self._house.offer
        )
        theirs = handshake.meet(self._channel, ours, self._options.handshake_seconds)
        self._hellos = ours, theirs
        self._caller = replace(self._caller, ticket=theirs.ticket)

    @property
    def _is_worker(self) -> bool:
        return self._hellos is not None and self._hellos[1].role == "worker"

    def _admit(self) -> None:
        digest = self._house.executor.program.digest()
        self._caller = self._house.admission.admit(self._caller, digest)

    def _wait(self) -> reports.Go:
        """Until the server says go; the client hears how many are ahead, again and again, so that
        one that has left is noticed. One that had to wait may not be welcome any more: meanwhile
        checks of its other connections may have failed.
        """
        wants = reports.Wants(fingerprint=self._caller.fingerprint, name=self._caller.name)
        self._line.send(wants)
        place: reports.Order | None = None
        waited = False
        while not isinstance(place, reports.Go):
            place = self._leash.next(self._options.reminder_seconds) or place
            match place:
                case reports.Busy(seconds=seconds):
                    raise Turned("busy", busy_words(seconds), seconds)
                case reports.Place(ahead=ahead, seconds=seconds):
                    handshake.send(self._channel, handshake.Waiting(ahead=ahead, seconds=seconds))
                    waited = True
        if waited:
            self._admit()
        return place

    def _send_to(self, go: reports.Go) -> None:
        """The client goes to its worker; its place stays its own."""
        assert self._hellos is not None
        send_elsewhere(self._channel, go, self._hellos[1].nonce)
        self._alarm.stop()
        self._report("sent", go.worker)
        self._channel.close()

    def _refuse(self, reason: handshake.Reason, message: str, seconds: float | None = None) -> None:
        self._alarm.stop()
        log.warning("%s: refused: %s", self._channel.peer, message)
        self._report("refused", message, reason)
        handshake.refuse(self._channel, reason, message, seconds)

    # --- in a place -------------------------------------------------------------------------------

    def _serve(self) -> bool:
        """Session and runs; whether all went well."""
        try:
            if self._is_worker:
                self._escort()
            else:
                with self._alarm.within(self._options.session_seconds, "the session"):
                    self._runs()
        except Denied as denied:
            self._lost("denied", str(denied), str(denied))
        except Overdue as overdue:
            self._lost("failed", str(overdue), str(overdue))
        except ContractViolation:
            self._internal_failure()
        except PeerError as error:
            self._lost("failed", str(handshake.refused(error)))
        except PeerAccuses as error:
            self._lost("failed", str(error))
        except DeviatingPeer as error:
            self._alarm.stop()
            count_failure(self._house.admission, self._caller, error)
            self._lost("deviating", str(error), str(error))
        except UntrustedPeer as error:
            self._lost("untrusted", str(error), str(error))
        except ItemLost as lost:
            self._lost("failed", str(lost), item_lost_words(lost.index))
        except MoietyError as error:
            self._lost("failed", str(error))
        except Exception:
            self._internal_failure()
        else:
            return True
        return False

    def _runs(self) -> None:
        """Opens the session and runs images until the client says goodbye."""
        peer, key = self._channel.peer, named(self._channel.line)
        log.info("%s: connected%s, served by process %d", peer, key, os.getpid())
        with self._alarm.within(self._options.setup_seconds, "the set-up"):
            session = self._open_session()
        with closing(self._stocks):
            while (asked := self._next()) is not None:
                match asked:
                    case handshake.Stored():
                        self._stocks.answer(asked)
                    case handshake.Prepare():
                        self._prepare(session, asked)
                    case handshake.Begin():
                        self._run(session, asked)
                    case handshake.Aggregate():
                        self._aggregate(session, asked)
        wire = self._wire_bytes / 1e6
        log.info("%s: finished, %d images, %.1f MB over the wire", peer, self._images, wire)

    def _run(self, session: Session, begin: handshake.Begin) -> None:
        if self._desk is not None:
            self._desk.check_open(begin.cohort)
        self._house.admission.take(self._caller, begin.images)
        limit = self._house.run_seconds[begin.images]
        self._tell(reports.Began(images=begin.images, limit=limit))
        with self._alarm.within(limit, "a run"):
            with self._stocks.taken(begin) as item:
                run = self._house.executor.run_keeping
                kept, cost = run(session, images=begin.images, item=item)
            if self._desk is not None and kept is not None:
                self._desk.keep(begin.cohort, begin.index, kept)
            self._served(cost)
        self._account(cost)

    def _prepare(self, session: Session, asked: handshake.Prepare) -> None:
        limit = self._house.run_seconds[asked.images]
        self._tell(reports.Began(images=0, limit=limit))
        cost = RunCost(images=0)
        watch = StepWatch(session.channel.meter, cost)
        with self._alarm.within(limit, "the preparation of an item"):
            made = self._stocks.prepare(session, asked)
            watch.lap("prepare")
            cost.peak_rss = peak_rss()
            if made:
                self._served(cost)
        self._account(cost, f"item {asked.index} prepared" if made else "no item prepared")

    def _aggregate(self, session: Session, asked: handshake.Aggregate) -> None:
        assert self._desk is not None
        with self._alarm.within(self._options.idle_seconds, "the naming of a cohort's runs"):
            cohort = self._desk.open(self._channel, asked)
        limit = aggregate_seconds(self._house.executor.program, asked.images, self._options)
        self._tell(reports.Began(images=0, limit=limit))
        with self._alarm.within(limit, "an aggregate"):
            cost = self._desk.aggregate(session, cohort)
            self._served(cost)
        self._account(cost, "the aggregate of a cohort done")

    def _served(self, cost: RunCost) -> None:
        """Tells the client what it cost."""
        served = handshake.Served(
            seconds=cost.total.seconds,
            cpu_seconds=cost.total.cpu_seconds,
            peak_rss=cost.peak_rss,
        )
        handshake.send(self._channel, served)

    def _escort(self) -> None:
        """A session of this server's at the worker at the other end, to its end. The worker's clock
        ends it: an escort that went before could not count a check that fails in between.
        """
        admission, patience = self._house.admission, self._options.session_seconds + GRACE
        peer = self._channel.peer
        escort = Escort(self._channel, self._line, self._leash, admission, patience)
        ended = escort.run()
        self._images = ended.images
        log.info("%s: the session at this worker: %s, %d images", peer, ended.outcome, ended.images)
        self._end(ended)

    def _open_session(self) -> Session:
        started = time.perf_counter()
        assert self._hellos is not None
        ours, theirs = self._hellos
        binding = handshake.binding(self._channel.line, ours, theirs)
        self._desk = Desk.of(self._house, self._caller, binding)
        executor, caller, take = self._house.executor, self._caller, self._house.admission.take
        cellar, count = self._house.cellar_of(caller), partial(take, caller)
        self._stocks = Stocks(executor, self._channel, binding, cellar, count)
        handshake.send(self._channel, self._ready(theirs.nonce))
        silent_from = settle_server(self._channel, ours.ot, theirs.ot)
        session = open_session(
            Role.SERVER,
            self._channel,
            silent_from=silent_from,
            workers=Workers(self._options.threads),
            network=self._house.executor.program.planned_for,
            binding=binding,
        )
        log.info(
            "%s: session open after %.2f s (kernels: %s; correlations: %s)",
            self._channel.peer,
            time.perf_counter() - started,
            kernels.backend_name(),
            in_words(silent_from),
        )
        return session

    def _ready(self, nonce: str) -> handshake.Ready:
        """With what the client may still ask for."""
        allowed = self._house.admission.allowance(self._caller)
        cohorts = None if self._desk is None else self._desk.left()
        return handshake.Ready(nonce=nonce, images_left=allowed.images, cohorts_left=cohorts)

    def _next(self) -> _Asked | None:
        """What the client announces, None for a goodbye. Raises `NetworkFailure` for another image
        than the one that is due, and for a run that was not offered.
        """
        try:
            with self._alarm.within(self._options.idle_seconds, "the time between two runs"):
                asked = handshake.receive(self._channel, *_ASKED)
        except PeerClosed as closed:
            if closed.orderly:
                return None
            raise
        assert isinstance(asked, _ASKED)
        if isinstance(asked, handshake.Stored | handshake.Prepare):
            self._check_offered(asked.images)
            return asked
        if self._desk is not None and not is_id(asked.cohort):
            raise NetworkFailure("out of step: no cohort is named, and nothing else is revealed")
        if self._desk is None and (asked.cohort or isinstance(asked, handshake.Aggregate)):
            raise NetworkFailure("out of step: a cohort is named, and no shares are kept")
        if isinstance(asked, handshake.Begin):
            self._check_begin(asked)
        return asked

    def _check_begin(self, begin: handshake.Begin) -> None:
        if begin.index != self._images:
            raise NetworkFailure(
                f"out of step: image {begin.index} announced where {self._images} was due"
            )
        self._check_offered(begin.images)

    def _check_offered(self, images: int) -> None:
        if images not in self._house.offer:
            raise NetworkFailure(f"out of step: a run of {images} images, which was not offered")

    def _account(self, cost: RunCost, what: str = "") -> None:
        self._images += cost.images
        total = cost.total
        self._tell(
            reports.Done(
                images=cost.images,
                seconds=total.seconds,
                cpu_seconds=total.cpu_seconds,
                sent=total.sent,
                received=total.received,
                peak_rss=cost.peak_rss,
            )
        )
        images = f"images {self._images - cost.images + 1} to {self._images}"
        if cost.images == 1:
            images = f"image {self._images}"
        log.info(
            "%s: %s in %.2f s (%.2f s CPU), %.1f MB sent, %.1f MB received",
            self._channel.peer,
            what or f"{images} done",
            total.seconds,
            total.cpu_seconds,
            total.sent / 1e6,
            total.received / 1e6,
        )

    # --- the end ----------------------------------------------------------------------------------

    def _lost(
        self,
        reason: handshake.Reason,
        why: str,
        message: str = "the server gave up on this connection",
    ) -> None:
        self._alarm.stop()
        log.warning("%s: ended early after %d images: %s", self._channel.peer, self._images, why)
        self._report("failed", why, reason)
        handshake.refuse(self._channel, reason, message)

    def _internal_failure(self) -> None:
        """Nothing of the exception goes to the client: it could tell about the weights."""
        self._alarm.stop()
        log.exception("%s: internal failure; the server goes on", self._channel.peer)
        self._report("failed", "internal failure")
        handshake.refuse(self._channel, "failed", "internal failure at the server; see its log")

    @property
    def _wire_bytes(self) -> int:
        return self._channel.wire_sent + self._channel.wire_received

    def _report(self, outcome: reports.Outcome, why: str = "", reason: str = "") -> None:
        self._end(
            reports.Ended(
                outcome=outcome,
                why=why,
                reason=reason,
                images=self._images,
                wire_bytes=self._wire_bytes,
            )
        )

    def _end(self, ended: reports.Ended) -> None:
        """Said whatever happens on the way out: where a signal to stop comes in between, rather
        twice than never. The server's own process takes the first.
        """
        if not self._over:
            self._tell(ended)
            self._over = True

    def _tell(self, report: reports.Began | reports.Done | reports.Ended) -> None:
        self._line.send(report)
        self._house.admission.hear(report)
