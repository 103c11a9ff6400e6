"""Which items two parties use next: a pure rule, by which both come to the same.

No index is used that either party has passed, and none for which the two hold different digests.
What lies between is given up at both. To give up more than a few items is refused: so much is lost
by a mistake or an attack, or by age, not by a crash. Whoever knows why says from where to go on.
"""

from __future__ import annotations

from dataclasses import dataclass

from moiety.protocols.errors import ContractViolation, PeerMismatch
from moiety.runtime.store.position import Position

SKIPPED = 16
"""Items given up without being asked, at most."""


@dataclass(frozen=True)
class Plan:
    """`indices`: what is used, ascending; fewer than were asked for where there are no more.
    `fresh`: the index of the next item that is prepared.
    """

    indices: tuple[int, ...]
    fresh: int


def reconcile(
    own: Position, peer: Position, count: int = 1, skip_to: int = 0, skipped: int = SKIPPED
) -> Plan:
    """The next `count` items of both, from `skip_to` on. Both parties give the same numbers. Raises
    `PeerMismatch` where more than `skipped` items from `skip_to` on would be given up.
    """
    if own.catalogue is None or peer.catalogue is None or count < 0:
        raise ContractViolation("positions are compared by their catalogues")
    fresh = max(own.claim.fresh, peer.claim.fresh)
    start = max(own.claim.next, peer.claim.next, skip_to)
    here, there = (
        {each.index: each.digest for each in position.catalogue or () if each.index >= skip_to}
        for position in (own, peer)
    )
    common = sorted(index for index in here.keys() & there.keys() if here[index] == there[index])
    indices = tuple([index for index in common if index >= start][:count])
    if not indices:
        return Plan((), fresh)
    lost = max(
        sum(index <= indices[-1] and index not in indices for index in held)
        for held in (here, there)
    )
    if lost > skipped:
        raise PeerMismatch(
            f"the two stores differ: to go on at item {indices[0]} gives up {lost} prepared items, "
            f"more than {skipped}. If that is right (one side has given them up: they were too "
            f"old there, or damaged), `moiety prepare --skip-to {indices[0]}` allows it; until "
            "then --on-demand runs without"
        )
    return Plan(indices, fresh)
