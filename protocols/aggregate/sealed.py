"""What is revealed of a cohort's labels, each under its own key.

Functionality: of each label a few shared integers modulo 2^64 and the key that took a quorum
(quorum.py) to the integers at the client where it has the key, and to noise where it has not;
nothing at the server, which adds words of the key to its shares before it sends them.

Flights: S. Bits: 64 of each integer. What is opened is the purpose; without the key it is masked by
a hash of it, a word for each integer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from moiety.protocols.aggregate.quorum import Key, Keys
from moiety.protocols.arrays import U64
from moiety.protocols.compare.reveal import reveal_to_client, reveal_to_client_cost
from moiety.protocols.cost import Cost, Size, cost_of
from moiety.protocols.session import Session

SUM_BITS: Final = 64
KEY_WORDS: Final = 4
"""Of 64 bits: integers of a label, at most."""


@dataclass(frozen=True)
class Sealed:
    """This party's shares of the integers, uint64 `(integers, L)` modulo 2^64, and the keys that
    they are revealed under.
    """

    shares: U64
    keys: Keys


def open_sealed(session: Session, sealed: Sealed) -> list[list[int] | None] | None:
    """Of each label the integers at the client, None where its marks are too few; None at the
    server.
    """
    count, shares = len(sealed.shares), sealed.shares
    mine = shares + _masks(sealed.keys(), count) if session.is_server else shares
    masked = reveal_to_client(session, mine, SUM_BITS)
    if masked is None:
        return None
    keys = sealed.keys()
    opened: list[list[int]] = (masked - _masks(keys, count)).T.tolist()
    return [_told(key, each) for key, each in zip(keys, opened, strict=True)]


def _told(key: Key | None, integers: list[int]) -> list[int] | None:
    """Without the key they are still masked: noise."""
    return None if key is None else integers


def _masks(keys: Sequence[Key | None], count: int) -> U64:
    """So many words of each label's key, `(count, L)`; zeros where there is none."""
    words = [np.frombuffer(key or bytes(8 * KEY_WORDS), "<u8")[:count] for key in keys]
    return np.stack(words, axis=1).astype(np.uint64)


@cost_of(open_sealed)
def open_sealed_cost(labels: Size, count: int) -> Cost:
    """Of so many labels, so many integers each."""
    return reveal_to_client_cost(count * labels, SUM_BITS)
