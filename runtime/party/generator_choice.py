"""Which generator makes a session's correlations: asked for by either side, or chosen for the
network between them.

SoftSpoken sends 31 bits per bit of a choice and costs about 3 ns for it; silent generation sends
next to nothing and costs about 20 ns whatever the width. `auto` measures the network and takes the
mixture with which one image of the Program is soonest done, by the cost model (runtime/cost/clock)
with the reference machine's figures.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Sequence
from typing import Literal, get_args

from moiety.protocols.channel import Channel
from moiety.protocols.cost import Cost
from moiety.protocols.errors import BadInput, NetworkFailure
from moiety.protocols.network import LAN, Network
from moiety.protocols.ot.generators import ALWAYS_SILENT, NEVER_SILENT, Mixed
from moiety.runtime.cost.clock import predict, total
from moiety.runtime.cost.machine import REFERENCE_MACHINE, Machine

Ot = Literal["auto", "softspoken", "silent"]

INDISTINCT = 1.05
"""Predictions this near to each other are equal, as far as the model can tell
(docs/cost-model.md).
"""

_REQUEST = struct.Struct("<Q")
_SIZES = (256 * 1024, 4 * 1024 * 1024)
_LONG_ENOUGH = 0.05


def parse_ot(text: str) -> Ot:
    """Raises `BadInput` for anything but auto, softspoken, silent."""
    names: tuple[Ot, ...] = get_args(Ot)
    for name in names:
        if name == text:
            return name
    raise BadInput(f"--ot is '{text}'; choose one of {', '.join(names)}")


def agreed(ours: str, theirs: str) -> int | None:
    """`silent_from` where a side asks for one generator, None where both leave it to the network.
    The two must not ask for different ones (handshake.compare sees to that).
    """
    asked = {ours, theirs} - {"auto"}
    if not asked:
        return None
    return ALWAYS_SILENT if asked == {"silent"} else NEVER_SILENT


def silent_from(network: Network, image: Cost) -> int:
    """The narrowest choice to be served by silent generation (5: none) so that one image takes the
    least time on this network, by its declared cost. Where the predictions differ by less than they
    can tell, the fewest bytes decide.
    """
    # Traffic is never counted as cheaper than on a good LAN: inside one machine it would be nearly
    # free, and what is measured there would choose a gigabyte of corrections for a tenth of a
    # second.
    slower = Network(network.rtt, min(network.down, LAN.down), min(network.up, LAN.up))
    choices = range(ALWAYS_SILENT, NEVER_SILENT + 1)
    seconds = {
        narrowest: total(predict([image], REFERENCE_MACHINE, slower, narrowest)).total
        for narrowest in choices
    }
    soon_enough = [n for n in choices if seconds[n] <= INDISTINCT * min(seconds.values())]
    return min(soon_enough, key=lambda narrowest: int(image.on(Mixed(narrowest)).total))


def soonest(costs: Sequence[Cost], machine: Machine, network: Network) -> int:
    """The `silent_from` with which these costs, one after the other, are predicted to take the
    least time.
    """
    return min(
        range(NEVER_SILENT, ALWAYS_SILENT - 1, -1),
        key=lambda narrowest: total(predict(costs, machine, network, narrowest)).total,
    )


def settle_client(
    channel: Channel, ours: str, theirs: str, image: Cost
) -> tuple[int, Network | None]:
    """Agree with the server on `silent_from`; with two `auto`, measure the network and decide for
    images that cost `image`.
    """
    asked = agreed(ours, theirs)
    if asked is not None:
        return asked, None
    with channel.meter.labelled("probe"):
        network = _probe(channel)
        chosen = silent_from(network, image)
        channel.send(bytes([chosen]))
        channel.flush()
    return chosen, network


def settle_server(channel: Channel, ours: str, theirs: str) -> int:
    """The server's side of `settle_client`. Raises `NetworkFailure` for a request out of bounds."""
    asked = agreed(ours, theirs)
    if asked is not None:
        return asked
    with channel.meter.labelled("probe"):
        for _ in range(len(_SIZES) + 2):
            (size,) = _REQUEST.unpack(channel.recv(_REQUEST.size).tobytes())
            if size == 0:
                break
            if size > max(_SIZES):
                raise NetworkFailure(f"the client asked for a network probe of {size} bytes")
            channel.send(os.urandom(size))
            channel.flush()
            channel.recv(size)
            channel.send(b"\0")
            channel.flush()
        chosen = int(channel.recv(1)[0])
    if not ALWAYS_SILENT <= chosen <= NEVER_SILENT:
        raise NetworkFailure(f"the client chose generator {chosen}")
    return chosen


def _probe(channel: Channel) -> Network:
    """A tiny exchange for the round trip, then larger ones until one takes long enough to
    be measured.
    """
    down, up = _exchange(channel, 1)
    rtt = min(down, up)
    speeds = (1.0, 1.0)
    for size in _SIZES:
        down, up = _exchange(channel, size)
        speeds = (8 * size / max(down - rtt, 1e-5), 8 * size / max(up - rtt, 1e-5))
        if min(down, up) > _LONG_ENOUGH:
            break
    channel.send(_REQUEST.pack(0))
    return Network(rtt, *speeds)


def _exchange(channel: Channel, size: int) -> tuple[float, float]:
    """Seconds until `size` bytes have come, and until as many have gone and been acknowledged."""
    start = time.perf_counter()
    channel.send(_REQUEST.pack(size))
    data = channel.recv(size)
    middle = time.perf_counter()
    channel.send(data)
    channel.recv(1)
    return middle - start, time.perf_counter() - middle
