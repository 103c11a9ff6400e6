"""Three generators side by side, chosen by the width of the choice.

SoftSpoken's cost grows with the width k (31*k bits, about 3*k ns), silent generation's hardly does:
it has one generator over F_2 for choices of one bit, one over F_16 for all others. From which k on
silent generation is worth it depends on the network (`silent_from`); both parties take the same
generator for the same call because k is public.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from moiety.protocols.arrays import U8
from moiety.protocols.channel import Channel
from moiety.protocols.ot.keys import HashKeys
from moiety.protocols.ot.lpn import BITS, NIBBLES
from moiety.protocols.ot.silent import SilentReceiver, SilentSender
from moiety.protocols.ot.vole import VoleReceiver, VoleSender
from moiety.protocols.parallel import Workers
from moiety.protocols.prg import Prg


@dataclass
class MixedSender(VoleSender):
    """Sender's half; all generators have the same delta."""

    softspoken: VoleSender
    bits: VoleSender
    nibbles: VoleSender
    silent_from: int
    delta: U8 = field(init=False)

    def __post_init__(self) -> None:
        self.delta = self.softspoken.delta

    def extend(self, n: int, k: int) -> U8:
        return self._for(k).extend(n, k)

    def _for(self, k: int) -> VoleSender:
        if k < self.silent_from:
            return self.softspoken
        return self.bits if k == 1 else self.nibbles


@dataclass
class MixedReceiver(VoleReceiver):
    """Receiver's half."""

    softspoken: VoleReceiver
    bits: VoleReceiver
    nibbles: VoleReceiver
    silent_from: int

    def extend(self, n: int, k: int) -> tuple[U8, U8]:
        return self._for(k).extend(n, k)

    def begin(self, n: int, k: int) -> tuple[U8, Callable[[], U8]]:
        return self._for(k).begin(n, k)

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
    workers: Workers | None = None,
) -> MixedSender:
    """Silent generation for choices of at least `silent_from` bits, from ALWAYS_SILENT to
    NEVER_SILENT (ot/generators); `keys` are its refills'.
    """
    bits, nibbles = (
        SilentSender(channel, softspoken, prg.fork(), keys, parameters, workers=workers)
        for parameters in (BITS, NIBBLES)
    )
    return MixedSender(softspoken, bits, nibbles, silent_from)


def mixed_receiver(
    channel: Channel,
    softspoken: VoleReceiver,
    prg: Prg,
    keys: HashKeys,
    silent_from: int,
    workers: Workers | None = None,
) -> MixedReceiver:
    """As `mixed_sender`, for the other half."""
    bits, nibbles = (
        SilentReceiver(channel, softspoken, prg.fork(), keys, parameters, workers=workers)
        for parameters in (BITS, NIBBLES)
    )
    return MixedReceiver(softspoken, bits, nibbles, silent_from)
