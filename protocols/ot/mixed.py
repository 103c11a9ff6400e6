"""Three generators side by side, chosen by the width of the choice.

SoftSpoken's cost grows with the width k (31*k bits, about 3*k ns), silent generation's hardly does:
it has one generator over F_2 for choices of one bit, one over F_16 for all others. From which k on
silent generation is worth it depends on the network (`silent_from`); both parties take the same
generator for the same call because k is public.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from moiety.protocols.arrays import U8
from moiety.protocols.channel import Channel
from moiety.protocols.ot.consistency import (
    DIGEST_BYTES,
    PLANE_BYTES,
    ROWS,
    Chain,
    compare,
)
from moiety.protocols.ot.keys import HashKeys
from moiety.protocols.ot.lpn import BITS, NIBBLES
from moiety.protocols.ot.silent import SilentReceiver, SilentSender
from moiety.protocols.ot.tally import WIDTH, Tally, expected_rows, masked_elements, masked_rows
from moiety.protocols.ot.vole import VoleReceiver, VoleSender
from moiety.protocols.parallel import Workers
from moiety.protocols.prg import Prg


@dataclass
class MixedSender(VoleSender):
    """Sender's half; all generators have the same delta."""

    channel: Channel
    softspoken: VoleSender
    bits: SilentSender
    nibbles: SilentSender
    silent_from: int
    delta: U8 = field(init=False)
    _masked: U8 = field(init=False)
    _shown: U8 = field(init=False)

    def __post_init__(self) -> None:
        self.delta = self.softspoken.delta

    def extend(self, n: int, k: int) -> U8:
        return self._for(k).extend(n, k)

    def begin(self, n: int, k: int) -> Callable[[], U8]:
        return self._for(k).begin(n, k)

    def hear(self) -> None:
        self.bits.make_all()
        self.nibbles.make_all()
        if not (self.bits.tally.owes or self.nibbles.tally.owes):
            return
        self._masked = self.softspoken.extend(ROWS, WIDTH)
        self._shown = self.channel.recv(WIDTH * PLANE_BYTES).reshape(WIDTH, PLANE_BYTES)

    def tell(self) -> None:
        tallies = self.bits.tally, self.nibbles.tally
        if not any(tally.owes for tally in tallies):
            return
        hashes = expected_rows(tallies, self._masked, self._shown, self.delta)
        self.channel.send(_digest(tallies, hashes))

    def _for(self, k: int) -> VoleSender:
        if k < self.silent_from:
            return self.softspoken
        return self.bits if k == 1 else self.nibbles


@dataclass
class MixedReceiver(VoleReceiver):
    """Receiver's half."""

    channel: Channel
    softspoken: VoleReceiver
    bits: SilentReceiver
    nibbles: SilentReceiver
    silent_from: int
    _hashes: U8 = field(init=False)

    def extend(self, n: int, k: int) -> tuple[U8, U8]:
        return self._for(k).extend(n, k)

    def begin(self, n: int, k: int) -> tuple[U8, Callable[[], U8]]:
        return self._for(k).begin(n, k)

    def show(self) -> None:
        self.bits.make_all()
        self.nibbles.make_all()
        tallies = self.bits.tally, self.nibbles.tally
        if not any(tally.owes for tally in tallies):
            return
        u, v = self.softspoken.extend(ROWS, WIDTH)
        self._hashes = masked_rows(tallies, v)
        self.channel.send(masked_elements(tallies, u))

    def confirm(self) -> None:
        tallies = self.bits.tally, self.nibbles.tally
        if not any(tally.owes for tally in tallies):
            return
        expected = _digest(tallies, self._hashes)
        received = self.channel.recv(DIGEST_BYTES).tobytes()
        compare(expected, received, "silent correlations")

    def _for(self, k: int) -> VoleReceiver:
        if k < self.silent_from:
            return self.softspoken
        return self.bits if k == 1 else self.nibbles


def mixed_sender(
    channel: Channel,
    softspoken: VoleSender,
    prg: Prg,
    keys: HashKeys,
    silent_from: int,
    chains: Sequence[Chain],
    workers: Workers | None = None,
) -> MixedSender:
    """Silent generation for choices of at least `silent_from` bits, from ALWAYS_SILENT to
    NEVER_SILENT (ot/generators); `keys` are its refills', `chains` those of its checks.
    """
    bits, nibbles = (
        SilentSender(
            channel, softspoken, prg.fork(), keys, parameters, chain=chain, workers=workers
        )
        for parameters, chain in zip((BITS, NIBBLES), chains, strict=True)
    )
    return MixedSender(channel, softspoken, bits, nibbles, silent_from)


def mixed_receiver(
    channel: Channel,
    softspoken: VoleReceiver,
    prg: Prg,
    keys: HashKeys,
    silent_from: int,
    chains: Sequence[Chain],
    workers: Workers | None = None,
) -> MixedReceiver:
    """As `mixed_sender`, for the other half."""
    bits, nibbles = (
        SilentReceiver(
            channel, softspoken, prg.fork(), keys, parameters, chain=chain, workers=workers
        )
        for parameters, chain in zip((BITS, NIBBLES), chains, strict=True)
    )
    return MixedReceiver(channel, softspoken, bits, nibbles, silent_from)


def _digest(tallies: Sequence[Tally], hashes: U8) -> bytes:
    """What settles both tallies; they begin anew."""
    first, second = tallies
    first.chain.add(second.chain.state)
    for tally in tallies:
        tally.clear()
    return first.chain.digest_of(hashes)
