"""The explicit context of a run: role, channel, randomness, correlations.
Nothing here keeps module state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from moiety.protocols.channel import Channel
from moiety.protocols.network import LAN, Network
from moiety.protocols.parallel import Workers
from moiety.protocols.prg import Prg

if TYPE_CHECKING:
    from moiety.protocols.ot.transfers import TransferReceiver, TransferSender


class Role(IntEnum):
    """Business role; also the party's index in a sharing."""

    SERVER = 0
    CLIENT = 1


@dataclass
class Session:
    """One party's side of one connection.

    `sender` and `receiver` are the two directions of oblivious transfer this party takes part in:
    the server's `sender` is paired with the client's `receiver` (direction server -> client) and
    the other way round. `rlwe` holds the client's per-query keys or the server's copies of the
    public ones. `network` is the class of networks that comparisons are cut into digits for: public,
    the same at both parties. `workers` are this party's threads; the peer need not have as many.
    """

    role: Role
    channel: Channel
    prg: Prg
    sender: TransferSender
    receiver: TransferReceiver
    rlwe: dict[Any, Any] = field(default_factory=dict)
    network: Network = LAN
    workers: Workers = field(default_factory=Workers)

    @property
    def is_server(self) -> bool:
        return self.role is Role.SERVER
