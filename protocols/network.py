"""Networks: how fast the line between two parties is, and the classes of it that a Program is
planned for.

One type for what a user names (`--network lan`), what the client measures, what predicted times are
made for and what comparisons are cut into digits for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, Literal

from moiety.protocols.errors import BadInput


@dataclass(frozen=True)
class Network:
    """Round-trip time in seconds, and bits per second each way, as seen by the client. `prepared`:
    of a run on it everything is made beforehand that does not depend on the image, so that
    comparisons are cut into other digits (compare/digits).
    """

    rtt: float
    down: float
    up: float
    prepared: bool = False

    @property
    def ahead(self) -> Network:
        """The same network for prepared runs."""
        return replace(self, prepared=True)

    @cached_property
    def bit(self) -> int:
        """Picoseconds per bit in the slower direction. With `flight` and `silent_from` part of the
        Program's format: both parties plan their comparisons with these whole numbers.
        """
        return round(1e12 / min(self.down, self.up))

    @property
    def flight(self) -> int:
        """Picoseconds per flight in one direction."""
        return round(self.rtt / 2 * 1e12)

    @property
    def silent_from(self) -> int:
        """The narrowest choice that silent generation is taken to serve on such a network.
        Its traffic is next to nothing and its work the same for every width, so it pays from the
        width on whose corrections take longer than that (at the prices of format 2). What is
        prepared draws many of two bits, whose corrections would be most of its bytes.
        """
        limits = ((15, 4), (200, 3), (300, 2))
        width = next((width for limit, width in limits if self.bit < limit), 1)
        return min(width, 2) if self.prepared else width


NetworkName = Literal["fast", "lan", "wan"]
NETWORKS: Final[dict[NetworkName, Network]] = {
    "fast": Network(0.05e-3, 10e9, 10e9),
    "lan": Network(0.8e-3, 3e9, 3e9),
    "wan": Network(40e-3, 400e6, 400e6),
}
"""The classes that a Program can be planned for, by the name that it holds."""

LAN: Final = NETWORKS["lan"]
LOOPBACK: Final = Network(0.0, 20e9, 20e9)
"""Two processes of one machine; nothing is planned for it."""

_WORDS: Final[dict[str, Network]] = {str(name): each for name, each in NETWORKS.items()} | {
    "loopback": LOOPBACK
}
_TIMES = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_RATES = {"kbit/s": 1e3, "Mbit/s": 1e6, "Gbit/s": 1e9}


def parse_network(text: str) -> Network:
    """`fast`, `lan`, `wan`, `loopback`, or RTT,BANDWIDTH as in `20ms,1Gbit`. Raises `BadInput`."""
    if text in _WORDS:
        return _WORDS[text]
    first, comma, second = text.replace(" ", "").partition(",")
    rtt = _quantity(first, _TIMES)
    rate = _quantity(second if second.endswith("/s") else f"{second}/s", _RATES)
    if not comma or rtt is None or not rate:
        raise BadInput(
            f"'{text}' is no network: choose {', '.join(_WORDS)}, or say RTT,BANDWIDTH as in "
            "20ms,1Gbit/s"
        )
    return Network(rtt, rate, rate)


def planned_for(network: Network) -> NetworkName:
    """The class to plan for on a network: itself, or else the nearest one, by the ratio of the
    slower rates, then by the difference of round trips.
    """

    def distance(name: NetworkName) -> tuple[bool, float, float]:
        known = NETWORKS[name]
        return (
            known != network,
            abs(math.log(min(known.down, known.up)) - math.log(min(network.down, network.up))),
            abs(known.rtt - network.rtt),
        )

    return min(NETWORKS, key=distance)


def _quantity(text: str, units: dict[str, float]) -> float | None:
    """A number with a unit; None for anything else. Longer units come first: `ms` ends with `s`."""
    for unit in sorted(units, key=len, reverse=True):
        if text.lower().endswith(unit.lower()):
            try:
                value = float(text[: -len(unit)]) * units[unit]
            except ValueError:
                return None
            return value if math.isfinite(value) and value >= 0 else None
    return None
