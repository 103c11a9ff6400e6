"""Two generators side by side, chosen by the width of the choice.

SoftSpoken's cost grows with the width k (31*k bits, about 3*k ns), silent generation's hardly does.
Which k is worth the silent generator depends on the network (`silent_from`); both parties take the
same generator for the same call because k is public.
"""

from __future__ import annotations

from dataclasses import dataclass

from moiety.protocols.arrays import U8
from moiety.protocols.channel import Channel
from moiety.protocols.ot.keys import HashKeys
from moiety.protocols.ot.silent import SilentReceiver, SilentSender
from moiety.protocols.ot.vole import VoleReceiver, VoleSender
from moiety.protocols.parallel import Workers
from moiety.protocols.prg import Prg


@dataclass
class MixedSender:
    """Sender's half; both generators have the same delta."""

    softspoken: VoleSender
    silent: VoleSender
    silent_from: int

    @property
    def delta(self) -> U8:
        return self.softspoken.delta

    def extend(self, n: int, k: int) -> U8:
        return self._for(k).extend(n, k)

    def _for(self, k: int) -> VoleSender:
        return self.silent if k >= self.silent_from else self.softspoken


@dataclass
class MixedReceiver:
    """Receiver's half."""

    softspoken: VoleReceiver
    silent: VoleReceiver
    silent_from: int

    def extend(self, n: int, k: int) -> tuple[U8, U8]:
        return self._for(k).extend(n, k)

    def _for(self, k: int) -> VoleReceiver:
        return self.silent if k >= self.silent_from else self.softspoken


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
    return MixedSender(
        softspoken, SilentSender(channel, softspoken, prg, keys, workers=workers), silent_from
    )


def mixed_receiver(
    channel: Channel,
    softspoken: VoleReceiver,
    prg: Prg,
    keys: HashKeys,
    silent_from: int,
    workers: Workers | None = None,
) -> MixedReceiver:
    """As `mixed_sender`, for the other half."""
    return MixedReceiver(
        softspoken, SilentReceiver(channel, softspoken, prg, keys, workers=workers), silent_from
    )
