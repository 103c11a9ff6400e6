"""A run without a peer, which writes down what the run will ask of its transfers, and what a party
knows of it beforehand. It goes on as far as somebody asks for what it finds.
"""

from __future__ import annotations

from collections.abc import Callable

from greenlet import getcurrent, greenlet

from moiety.protocols.errors import ContractViolation
from moiety.protocols.network import Network
from moiety.protocols.ot.demand import Demand
from moiety.protocols.ot.early import Known
from moiety.protocols.ot.recording import RecordingReceiver, RecordingSender, SilentChannel
from moiety.protocols.prg import Prg
from moiety.protocols.session import Role, Session


def record(role: Role, network: Network, body: Callable[[Session], object]) -> Demand:
    """What `body` asks of the transfers of a Session of this role, planned for this network. It
    runs without a peer: what it receives is zeros. Both parties' records are equal.
    """
    return Recording(role, network, lambda session, _: body(session), keeps=False).demand()


def record_known(
    role: Role, network: Network, body: Callable[[Session], object]
) -> tuple[Demand, Known]:
    """The same of a run whose client's shares are known (compare/masked), and what this party knows
    of its choices and products: whatever it would receive, they are the same.
    """
    recording = Recording(role, network, lambda session, _: body(session))
    return recording.demand(), recording.known


class Recording:
    """A run without a peer that goes on as far as somebody asks for what it knows. `body` calls
    what it is given wherever it may stop.
    """

    def __init__(
        self,
        role: Role,
        network: Network,
        body: Callable[[Session, Callable[[], None]], object],
        keeps: bool = True,
    ) -> None:
        channel = SilentChannel()
        self._role = role
        self._sender = RecordingSender(channel, keeps)
        self._receiver = RecordingReceiver(channel, keeps)
        self.known = Known(self._receiver.record.known, self._sender.record.known, self._go_on)
        session = Session(role, channel, Prg.from_os(), self._sender, self._receiver, network)
        self._over = False

        def run() -> None:
            body(session, self._stop)
            self._over = True

        self._run = greenlet(run)

    def _stop(self) -> None:
        self._run.parent.switch()

    def _go_on(self) -> bool:
        """To the next place where it may stop: whether there was more. Raises what the run does,
        and `ContractViolation` where it has ended so before.
        """
        if self._over:
            return False
        if self._run.dead:
            raise ContractViolation("a recorded run has not come to its end")
        self._run.parent = getcurrent()
        self._run.switch()
        return True

    def close(self) -> None:
        """Ends it where it stands: what a coroutine that waits holds is never collected."""
        if not self._run.dead:
            self._run.parent = getcurrent()
            self._run.throw()

    def opened(self) -> tuple[int, int]:
        """The openings so far: of the transfers to the client, and to the server."""
        sent, received = len(self._sender.record.openings), len(self._receiver.record.openings)
        return (sent, received) if self._role is Role.SERVER else (received, sent)

    def demand(self) -> Demand:
        """What the whole run asks."""
        while self._go_on():
            pass
        sent, received = self._sender.record.way(), self._receiver.record.way()
        is_server = self._role is Role.SERVER
        return Demand(sent, received) if is_server else Demand(received, sent)
