"""Settling: the check of all silent correlations since the last time, before anything is opened.

Functionality: none but an end. If a sender of silent correlations has deviated in a refill, and
trees of which rows were made, or the next iteration starts, are wrong for it otherwise than it says
by its digest, the receiver's side raises `DeviatingPeer`, but for a probability of `q * 2^-125`
where the sender tries q answers and errors (ot/tally, ot/tree_checks). Nothing leaks to a receiver;
a sender that deviates learns from the end whether the receiver's noise was what it bet on.

Each direction that has used any: the receiver draws 128 rows of SoftSpoken, with their check, and
sends its hash of u, masked by theirs; the sender answers with a digest of what its w and delta say
that the receiver's hash of v is. The digest is of 128 unknown bits of delta at once where u is not
what it was, so a receiver that lies about it is told nothing (ot/tally). Three flights, C S C, of
which the first continues what the client sends; none where all correlations are SoftSpoken's.
"""

from __future__ import annotations

from moiety.protocols.cost import Cost, Settle, cost_of
from moiety.protocols.session import Session


def settle(session: Session) -> None:
    """Both parties call it before they open anything. Raises `DeviatingPeer`."""
    mine, theirs = session.receiver, session.sender
    if session.is_server:
        theirs.hear()
        mine.show()
        theirs.tell()
        mine.confirm()
    else:
        mine.show()
        theirs.hear()
        mine.confirm()
        theirs.tell()
    session.channel.flush()


@cost_of(settle)
def settle_cost() -> Cost:
    """What it sends is the generator's to say."""
    return Cost((Settle(),))
