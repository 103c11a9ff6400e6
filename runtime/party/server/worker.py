"""A worker: a server that takes no client but those whom its front sends, and counts nothing
itself. It is a `Server` with this Admission.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace

import msgspec

from moiety.protocols.errors import NetworkFailure, UntrustedPeer
from moiety.protocols.session import Role
from moiety.runtime.party import handshake
from moiety.runtime.party.credentials import OWN, Credentials
from moiety.runtime.party.endpoints import connect
from moiety.runtime.party.server import reports, worker_line
from moiety.runtime.party.server.admission import Allowance, Caller, Denied
from moiety.runtime.party.server.worker_line import (
    Failed,
    Redeem,
    Redeemed,
    Reveal,
    Take,
    Taken,
    Told,
)
from moiety.runtime.party.transport import TcpChannel
from moiety.runtime.program import Program


@dataclass
class AtFront:
    """Asks the front at `host` and `port` about each client, on a connection that lasts as long as
    the client's session: it lives in the process of the client's connection.
    """

    program: Program
    host: str
    port: int
    credentials: Credentials | None = None
    insecure: bool = False
    _channel: TcpChannel | None = None
    _allowance: Allowance = field(default_factory=Allowance)

    def refresh(self) -> None:
        pass

    def admit(self, caller: Caller, program: str) -> Caller:
        """Raises `NetworkFailure` where the front cannot be asked. A ticket is shown once."""
        if self._channel is not None:
            return caller
        if not caller.ticket:
            raise Denied(
                "this is a worker of another server, which alone sends clients here; connect to "
                "the address that the vendor has given you"
            )
        channel = self._connected()
        handshake.send(channel, Redeem(ticket=caller.ticket, fingerprint=caller.fingerprint))
        answer = handshake.receive(channel, Redeemed, decoder=worker_line.DECODER)
        if answer.denied:
            channel.close()
            raise Denied(answer.denied)
        self._channel = channel
        self._allowance = Allowance(answer.images_left, answer.cohorts)
        return replace(caller, name=answer.name)

    def take(self, caller: Caller, images: int) -> None:
        """Raises `NetworkFailure` where the front cannot be asked: the run must not begin then."""
        self._ask(Take(images=images))

    def allowance(self, caller: Caller) -> Allowance:
        """As the front has said when the session began."""
        return self._allowance

    def aggregate(self, caller: Caller, cohort: str, images: int) -> None:
        """As `take`."""
        self._ask(Reveal(cohort=cohort, images=images))

    def deviated(self, caller: Caller, why: str) -> None:
        """As `take`."""
        self._ask(Failed(why=why))

    def _ask(self, question: Take | Reveal | Failed) -> None:
        assert self._channel is not None
        handshake.send(self._channel, question)
        answer = handshake.receive(self._channel, Taken, decoder=worker_line.DECODER)
        if answer.denied:
            raise Denied(answer.denied)

    def hear(self, report: reports.Began | reports.Done | reports.Ended) -> None:
        """Raises `NetworkFailure` where the front does not hear of a run."""
        if self._channel is None:
            return
        if not isinstance(report, reports.Ended):
            handshake.send(self._channel, Told(report=report))
            return
        with contextlib.suppress(NetworkFailure, UntrustedPeer):
            handshake.send(self._channel, Told(report=report))
            self._channel.close()

    def _connected(self) -> TcpChannel:
        """With a front that has this side's own key and serves the same Program."""
        believed = self.credentials.only(self.credentials.own, OWN) if self.credentials else None
        channel = connect(self.host, self.port, 10.0, None, believed, self.insecure)
        ours = msgspec.structs.replace(handshake.hello(Role.SERVER, self.program), role="worker")
        handshake.meet(channel, ours, handshake.HANDSHAKE_SECONDS)
        return channel
