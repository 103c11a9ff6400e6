"""The explicit context of a run: role, channel, randomness, correlations, keys. Nothing here keeps
module state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from moiety.protocols.channel import Channel
from moiety.protocols.cost import Party
from moiety.protocols.linear.rlwe import ClientKey, QueryKeys, ServerKey
from moiety.protocols.network import LAN, Network
from moiety.protocols.ot.transfers import Receiver, Sender
from moiety.protocols.parallel import Workers
from moiety.protocols.prg import Prg


class Role(IntEnum):
    """Business role; also the party's index in a sharing."""

    SERVER = 0
    CLIENT = 1

    @property
    def letter(self) -> Party:
        """The party in a declared cost."""
        return "S" if self is Role.SERVER else "C"

    @property
    def peer(self) -> Role:
        """The other one."""
        return Role.CLIENT if self is Role.SERVER else Role.SERVER


@dataclass(frozen=True)
class Session:
    """One party's side of one connection. Made by `setup.open_session`.

    `sender` and `receiver` are the two directions of oblivious transfer this party takes part in:
    the server's `sender` is paired with the client's `receiver` (direction server -> client) and
    the other way round. `network` is the class of networks that comparisons are cut into digits
    for: public, the same at both parties. `workers` are this party's threads; the peer need not
    have as many. `together`: in a lane, the elements of all lanes, which share round trips (None:
    there is but one). Of the keys of the current query, a client holds the `secret_keys`, a server
    its copies of the `public_keys`.
    """

    role: Role
    channel: Channel
    prg: Prg
    sender: Sender
    receiver: Receiver
    network: Network = LAN
    workers: Workers = field(default_factory=Workers)
    together: int | None = None
    secret_keys: QueryKeys[ClientKey] = field(default_factory=QueryKeys)
    public_keys: QueryKeys[ServerKey] = field(default_factory=QueryKeys)

    @property
    def is_server(self) -> bool:
        """Whether this party holds the weights."""
        return self.role is Role.SERVER

    def sharing_flights(self, n: int) -> int:
        """How many elements share the flights of n: what digits are planned for."""
        return self.together or n
