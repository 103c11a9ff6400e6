"""How a server is run, and what it has done."""

from __future__ import annotations

from dataclasses import dataclass

from moiety.runtime.party import handshake
from moiety.runtime.party.generator_choice import Ot
from moiety.runtime.party.metering import peak_rss


@dataclass(frozen=True)
class ServerOptions:
    """`sessions`: places, clients in service at once; `waiting`: how many more may wait for one,
    who hear every `reminder_seconds` that they are not forgotten; `max_clients`: stop after so many
    were served (None: never). `ot`: generator of correlations (generator_choice.py). `threads`: of
    the kernels, for each client in service.

    Before a place. A connection that has not said a word costs a descriptor: of `silent` such, and
    `silent_per_address` of one address, the oldest gives way, at the latest after
    `handshake_seconds`. With its first bytes it gets a process, of which `handshakes` at a time are
    in the handshake, `handshakes_per_address` for one address.

    In a place, seconds: `setup_seconds`, `idle_seconds` between two runs, `session_seconds` in all,
    and for a run `run_seconds` (None: from the Program's cost, see `limits.run_seconds`). A
    transfer under way that moves less than `min_rate` bytes a second for `stall_seconds` has
    stalled.
    """

    sessions: int = 1
    waiting: int = 8
    reminder_seconds: float = 20.0
    max_clients: int | None = None
    ot: Ot = "auto"
    threads: int = 1
    silent: int = 256
    silent_per_address: int = 32
    handshakes: int = 32
    handshakes_per_address: int = 16
    handshake_seconds: float = handshake.HANDSHAKE_SECONDS
    setup_seconds: float = 120.0
    idle_seconds: float = 120.0
    run_seconds: float | None = None
    session_seconds: float = 12 * 3600.0
    min_rate: float = 100e3
    stall_seconds: float = 60.0


@dataclass
class Summary:
    """What a server did in its life."""

    clients: int = 0
    failed_clients: int = 0
    refused: int = 0
    images: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    bytes_sent: int = 0
    bytes_received: int = 0
    peak_rss: int = 0

    def line(self) -> str:
        peak = max(self.peak_rss, peak_rss())
        return (
            f"{self.images} images for {self.clients} clients ({self.failed_clients} ended early, "
            f"{self.refused} connections refused); "
            f"{self.seconds:.1f} s in service, {self.cpu_seconds:.1f} s CPU, "
            f"{self.bytes_sent / 1e6:.1f} MB sent, {self.bytes_received / 1e6:.1f} MB received, "
            f"peak memory {peak / 1e9:.2f} GB"
        )
