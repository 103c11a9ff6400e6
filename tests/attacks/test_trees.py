"""A receiver of correlations that sends trees which do not fit together, so that a delta shows by
whether anybody notices.
"""

from __future__ import annotations

import numpy as np
import pytest

from moiety.protocols.arrays import U8
from moiety.protocols.errors import DeviatingPeer
from moiety.protocols.ot.softspoken import (
    DEPTH,
    TRANSFERS,
    TREES,
    delta_bits,
    full_trees,
    punctured_trees,
)
from moiety.protocols.prg import Prg

PRG = Prg(b"trees that do no")
KEYS = PRG.bytes(TRANSFERS * 32).reshape(TRANSFERS, 2, 16)
DOUBLING = PRG.bytes(32).reshape(2, 16)
MESSAGE, LEAVES = full_trees(PRG.bytes(16 * TREES).reshape(TREES, 16), KEYS, DOUBLING)


def opened(delta: U8, message: bytes) -> U8:
    """The leaves of a sender that has this delta."""
    chosen = KEYS[np.arange(TRANSFERS), 1 - delta_bits(delta).reshape(-1)]
    return punctured_trees(delta, message, chosen, DOUBLING)


def changed(at: int) -> bytes:
    message = bytearray(MESSAGE)
    message[at] ^= 1
    return bytes(message)


def in_tree(tree: int, nibble: int) -> U8:
    delta = np.zeros(16, np.uint8)
    delta[tree // 2] = nibble << 4 * (tree % 2)
    return delta


@pytest.mark.parametrize("nibble", range(16))
def test_honest_trees_open_but_for_one_leaf(nibble: int) -> None:
    delta = np.full(16, nibble * 17, np.uint8)
    leaves = opened(delta, MESSAGE)
    assert not leaves[:, 0].any()
    order = np.arange(1, 16) ^ nibble
    assert np.array_equal(leaves[:, 1:], LEAVES[:, order])


@pytest.mark.parametrize("tree", [0, 1, 13, 31])
@pytest.mark.parametrize("level", range(DEPTH))
@pytest.mark.parametrize("side", [0, 1])
def test_a_wrong_sum_of_a_level_is_a_bet_on_a_bit(tree: int, level: int, side: int) -> None:
    """It is seen by the senders who open that side, which is half of them: their delta goes the
    other way there. The others have the right leaves.
    """
    message = changed(((tree * DEPTH + level) * 2 + side) * 16)
    for nibble in range(16):
        delta = in_tree(tree, nibble)
        goes_right = nibble >> (DEPTH - 1 - level) & 1
        if goes_right == side:
            assert np.array_equal(opened(delta, message), opened(delta, MESSAGE))
        else:
            with pytest.raises(DeviatingPeer, match="trees of the set-up"):
                opened(delta, message)


@pytest.mark.parametrize("at", [*range(TRANSFERS * 32, len(MESSAGE), 97), len(MESSAGE) - 1])
def test_a_wrong_sum_or_digest_of_the_check_is_seen(at: int) -> None:
    with pytest.raises(DeviatingPeer, match="trees of the set-up"):
        opened(in_tree(0, 5), changed(at))


def test_what_is_checked_does_not_say_the_missing_leaf() -> None:
    """The sender learns the check value of its missing leaf, and no key follows from that: the two
    are different parts of one hash.
    """
    sums = np.frombuffer(MESSAGE[TRANSFERS * 32 : -32], np.uint8).reshape(TREES, 32)
    of_all = np.bitwise_xor.reduce(LEAVES, axis=1)
    for half in (sums[:, :16], sums[:, 16:]):
        assert not (half == of_all).all(axis=1).any()
    for leaf in LEAVES.reshape(-1, 16):
        assert leaf.tobytes() not in MESSAGE
