"""What a peer sends to a party that runs: base transfers, confirmation, refills, layers."""

from __future__ import annotations

import hashlib
import random
import struct
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np

from moiety.protocols.channel import Channel
from moiety.protocols.compare.relu import relu
from moiety.protocols.errors import NetworkFailure
from moiety.protocols.ot.generators import NEVER_SILENT
from moiety.protocols.prg import Prg
from moiety.protocols.session import Role, Session
from moiety.protocols.setup import open_session
from moiety.runtime.party.executor import ClientExecutor, ServerExecutor
from moiety.runtime.program import Program
from moiety.runtime.program.weights import Weights
from tests.fuzz.target import Target
from tests.support.runnable import small
from tests.support.two_party import channel_pair, run_both

EDIT = struct.Struct("<BIIB")
"""Kind, place, size and value of a change of what the peer says."""


class Replay(Channel):
    """The peer says what it said before, changed."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data, self._at = memoryview(data), 0

    def _write(self, data: memoryview) -> None:
        """Nobody listens."""

    def _read(self, nbytes: int) -> bytes:
        part = bytes(self._data[self._at : self._at + nbytes])
        if len(part) < nbytes:
            raise NetworkFailure("the peer closed the connection")
        self._at += nbytes
        return part


Party = Callable[[Channel], object]
Parties = tuple[Party, Party]


def edited(said: bytes, edits: bytes) -> bytes:
    """What was said, with the changes of an input."""
    made = bytearray(said)
    for at in range(0, len(edits) - EDIT.size + 1, EDIT.size):
        kind, place, size, value = EDIT.unpack_from(edits, at)
        place %= len(made) + 1
        size %= 4096
        match kind % 5:
            case 0:
                made[place : place + size] = bytes([value]) * len(made[place : place + size])
            case 1:
                del made[place : place + size]
            case 2:
                made[place:place] = bytes([value]) * size
            case 3 if place < len(made):
                made[place] ^= value
            case 4:
                other = (place + 64 * value) % (len(made) + 1)
                made[place : place + size] = made[other : other + size]
    return bytes(made)


def _own(role: Role) -> Prg:
    """A party's randomness, the same every time, so that what was recorded goes on fitting."""
    return Prg(hashlib.sha256(f"fuzz {role}".encode()).digest()[:16])


class Recorded(Channel):
    """A channel that keeps what it has received."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel, self.received = channel, bytearray()

    def _write(self, data: memoryview) -> None:
        self._channel._write(data)

    def _read(self, nbytes: int) -> bytes | bytearray | memoryview:
        data = self._channel._read(nbytes)
        self.received += data
        return data


def record(parties: Parties) -> tuple[bytes, bytes]:
    """What server and client are told in an honest run."""
    ends = channel_pair()
    channels = Recorded(ends[0]), Recorded(ends[1])
    run_both(lambda: parties[0](channels[0]), lambda: parties[1](channels[1]), ends)
    return bytes(channels[0].received), bytes(channels[1].received)


def changed(parties: Callable[[], Parties]) -> Callable[[bytes], object]:
    """Runs one of the two, the first byte says which, against an edited record of the other."""
    recorded = cache(lambda: record(parties()))

    def run(data: bytes) -> None:
        if data:
            which = data[0] % 2
            parties()[which](Replay(edited(recorded()[which], data[1:])))

    return run


def edit_seeds() -> Iterator[bytes]:
    """An honest peer, and single changes in many places: the set-up is the first 12 KiB."""
    for role in (b"\0", b"\1"):
        yield role
        for place in (0, 40, 8000, 12300, 12400, 20000, 1 << 17):
            yield role + EDIT.pack(3, place, 0, 1)
        yield role + EDIT.pack(1, 12384, 1, 0)
        yield role + EDIT.pack(0, 0, 64, 0)


def of_edits(data: bytes, rng: random.Random) -> bytes:
    edits = [data[at : at + EDIT.size] for at in range(1, len(data), EDIT.size)][:8]
    fresh = EDIT.pack(
        rng.randrange(5),
        rng.randrange(1 << rng.randrange(1, 22)),
        rng.randrange(1 << rng.randrange(1, 12)),
        rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256))),
    )
    if not edits or rng.randrange(2):
        edits.append(fresh)
    else:
        edits[rng.randrange(len(edits))] = fresh
    return bytes([rng.randrange(2)]) + b"".join(edits)


# --- the parties ----------------------------------------------------------------------------------


@cache
def _model() -> tuple[Program, Weights]:
    return small()


@cache
def _prepared() -> ServerExecutor:
    executor = ServerExecutor(*_model())
    executor.prepare()
    return executor


def _session(role: Role, channel: Channel, silent_from: int) -> Session:
    return open_session(role, channel, _own(role), silent_from)


def whole_run() -> Parties:
    """Set-up and an image, a step of almost every kind among its steps."""

    def server(channel: Channel) -> None:
        _prepared().run(_session(Role.SERVER, channel, NEVER_SILENT))

    def client(channel: Channel) -> None:
        image = np.linspace(-1, 1, 128, dtype=np.float32).reshape(2, 8, 8)
        executor = ClientExecutor(_model()[0])
        executor.run(_session(Role.CLIENT, channel, NEVER_SILENT), image)

    return server, client


def refill() -> Parties:
    """Set-up, and a comparison with correlations from silent refills in both directions."""

    def party(role: Role) -> Party:
        shares = np.arange(64, dtype=np.uint64)
        return lambda channel: relu(_session(role, channel, 1), shares, 16, 16)

    return party(Role.SERVER), party(Role.CLIENT)


SESSION = Target("session", changed(whole_run), edit_seeds, of_edits, longest=80)
REFILL = Target("refill", changed(refill), edit_seeds, of_edits, longest=80)
