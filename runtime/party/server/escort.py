"""A session at a worker, as the front has it: the process that a worker's connection gets. It
answers for the client's quota, and passes on to the front's own process what the worker tells.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from moiety.protocols.errors import ContractViolation, NetworkFailure, PeerMismatch, UntrustedPeer
from moiety.runtime.party import handshake
from moiety.runtime.party.endpoints import parse_address
from moiety.runtime.party.server import processes, reports, worker_line
from moiety.runtime.party.server.admission import Admission, Caller, Denied
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

ANSWER_SECONDS = 10.0
NOT_GOOD = (
    "this ticket is not good, or not any more: it is for one connection, soon after the server "
    "gave it; ask the server again"
)


def check_worker(channel: TcpChannel, is_front: bool) -> None:
    """That a peer that calls itself a worker may. Raises `PeerMismatch`, `UntrustedPeer`."""
    if not is_front:
        raise PeerMismatch(
            "this server has no workers; start it with --cluster, or start that one without --front"
        )
    if channel.line.peer != channel.line.own:
        raise UntrustedPeer(
            f"{channel.peer} calls itself a worker and has the key {channel.line.peer}; workers "
            "have the same key as their front"
        )


def send_elsewhere(channel: TcpChannel, go: reports.Go, nonce: str) -> None:
    """Tells the client at the other end, of this `nonce`, of its worker."""
    host, port = parse_address(go.worker)
    elsewhere = handshake.Elsewhere(host=host, port=port, ticket=go.ticket, nonce=nonce)
    handshake.send(channel, elsewhere)


@dataclass
class Escort:
    """Of the worker at the other end of `channel`. `line`, `leash`: to the front's own process, and
    back.
    """

    channel: TcpChannel
    line: processes.Line
    leash: processes.Leash
    admission: Admission
    patience: float

    def run(self) -> reports.Ended:
        """The session's end, as the worker tells it. Raises `NetworkFailure` where the worker is
        gone before, or says what it should not; and what the admission raises but `Denied`.
        """
        self.channel.limits = replace(self.channel.limits, patience=self.patience)
        caller = self._redeemed()
        while True:
            expected = (Take, Reveal, Failed, Told)
            message = handshake.receive(self.channel, *expected, decoder=worker_line.DECODER)
            if not isinstance(message, Told):
                assert isinstance(message, Take | Reveal | Failed)
                self._answer(caller, message)
            elif isinstance(message.report, reports.Ended):
                return message.report
            else:
                self.line.send(message.report)

    def _redeemed(self) -> Caller:
        """The client whose ticket the worker has shown."""
        redeem = handshake.receive(self.channel, Redeem, decoder=worker_line.DECODER)
        self.line.send(reports.Redeems(ticket=redeem.ticket, fingerprint=redeem.fingerprint))
        order = self.leash.next(ANSWER_SECONDS)
        if isinstance(order, reports.Void):
            handshake.send(self.channel, Redeemed(denied=NOT_GOOD))
            raise NetworkFailure(f"{self.channel.peer}: a ticket that is not good")
        if not isinstance(order, reports.Escorts):
            raise ContractViolation(f"the server answered a ticket with {order}")
        caller = Caller(order.address, order.port, order.fingerprint, order.name)
        left = self.admission.allowance(caller)
        answer = Redeemed(name=order.name, images_left=left.images, cohorts=left.cohorts)
        handshake.send(self.channel, answer)
        return caller

    def _answer(self, caller: Caller, asked: Take | Reveal | Failed) -> None:
        try:
            if isinstance(asked, Take):
                self.admission.take(caller, asked.images)
            elif isinstance(asked, Failed):
                self.admission.deviated(caller, asked.why)
            else:
                self.admission.aggregate(caller, asked.cohort, asked.images)
        except Denied as denied:
            handshake.send(self.channel, Taken(denied=str(denied)))
        else:
            handshake.send(self.channel, Taken())
