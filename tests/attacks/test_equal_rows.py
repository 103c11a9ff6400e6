"""A receiver of correlations that chooses the roots of its trees so that two of its rows are equal.
Every nibble of a row comes from a tree of its own, so that takes sixteen tries a tree, and all its
messages fit together. Pads of equal rows are equal under one key: of two tables, what the receiver
did not choose in one tells the same of the other, and of two trees of a silent refill, delta.
"""

from __future__ import annotations

import numpy as np

from moiety.protocols import kernels
from moiety.protocols.arrays import U8
from moiety.protocols.ot.consistency import Chain
from moiety.protocols.ot.softspoken import (
    TRANSFERS,
    TREES,
    SoftSpokenReceiver,
    SoftSpokenSender,
    delta_bits,
    full_trees,
    punctured_trees,
)
from moiety.protocols.prg import Prg
from tests.attacks.deltas import DELTA, related
from tests.support.two_party import channel_pair, run_both

PRG = Prg(b"keys of the base")
KEYS = PRG.bytes(TRANSFERS * 32).reshape(TRANSFERS, 2, 16)
DOUBLING = PRG.bytes(32).reshape(2, 16)
FIRST, SECOND, K = 3, 90, 4


def roots_of_equal_rows() -> U8:
    """uint8 `(32, 16)`: v of the rows FIRST and SECOND is the same."""
    roots, found = np.zeros((TREES, 16), np.uint8), np.zeros(TREES, bool)
    while not found.all():
        tried = PRG.bytes(TREES * 16).reshape(TREES, 16)
        _, leaves = full_trees(tried, KEYS, DOUBLING)
        _, v, _ = kernels.vole_receiver(leaves, 0, K, 1)
        apart = v[FIRST] ^ v[SECOND]
        equal = np.stack([apart & 15, apart >> 4], axis=1).reshape(TREES) == 0
        roots[equal] = tried[equal]
        found |= equal
    return roots


def test_rows_that_a_receiver_made_equal_are_not() -> None:
    message, leaves = full_trees(roots_of_equal_rows(), KEYS, DOUBLING)
    chosen = KEYS[np.arange(TRANSFERS), 1 - delta_bits(DELTA).reshape(-1)]
    _, made, _ = kernels.vole_receiver(leaves, 0, K, 1)
    assert np.array_equal(made[FIRST], made[SECOND])
    channels = channel_pair()
    start = bytes(32)  # of the whole set-up, with the sender's messages
    sender = SoftSpokenSender(
        channels[0], punctured_trees(DELTA, message, chosen, DOUBLING), Chain(start), DELTA
    )
    receiver = SoftSpokenReceiver(channels[1], leaves, Chain(start))
    w, (u, v) = run_both(lambda: sender.extend(100, K), lambda: receiver.extend(100, K), channels)
    assert related(DELTA, w, u, v)
    apart = v[FIRST] ^ v[SECOND]
    assert np.count_nonzero(apart) > 8


def test_no_two_extensions_add_the_same() -> None:
    """What is added follows from the connection and from all corrections so far."""
    seen = set()
    for start in (bytes(32), bytes([1] * 32)):
        chain = Chain(start)
        for _ in range(2):
            chain.add(bytes(8))
            seen.add(chain.offsets(1).tobytes())
            assert len(np.unique(chain.offsets(64), axis=0)) == 64
            assert np.array_equal(chain.offsets(64)[:8], chain.offsets(8))
    assert len(seen) == 4
