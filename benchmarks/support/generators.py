"""Which generators make the correlations that a benchmark counts."""

from __future__ import annotations

from benchmarks.support.harness import Row
from moiety.protocols.cost import Cost
from moiety.protocols.ot.generators import ALWAYS_SILENT, NEVER_SILENT, Mixed

OT = {"softspoken": NEVER_SILENT, "mixed": 4, "silent": ALWAYS_SILENT}
"""Name -> smallest choice that takes silent correlations; `mixed` is what `auto` takes on
a fast network.
"""


def declared_bytes(cost: Cost) -> Row:
    """Bytes and flights with mixed generators, and the bytes with one alone."""
    mixed = cost.on(Mixed(OT["mixed"]))
    return {
        "bytes_client_to_server": mixed.up,
        "bytes_server_to_client": mixed.down,
        "bytes_total": mixed.total,
        "bytes_total_softspoken": cost.on(Mixed(OT["softspoken"])).total,
        "bytes_total_silent": cost.on(Mixed(OT["silent"])).total,
        "rounds": len(mixed.flights),
    }
