"""A wrong block at every place of a refill's answer: of a tree that rows are taken from, of one
that the next iteration starts from, and of the iteration that starts from it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from moiety.protocols.arrays import U8, U16
from moiety.protocols.ot.lpn import LpnParameters
from moiety.protocols.ot.silent import SilentReceiver, SilentSender
from moiety.protocols.ot.tally import expected_rows, masked_elements, masked_rows
from moiety.protocols.prg import Prg
from tests.protocols.test_silent import TINY, IdealReceiver, IdealSender, extended, hash_keys
from tests.support.two_party import channel_pair, run_both

ITERATIONS = 2


class Receiver(SilentReceiver):
    """Says where its holes are."""

    holes: list[U16]

    def _choose(self, u: U8) -> tuple[U16, U8, U8]:
        alpha, beta, shifts = super()._choose(u)
        self.holes = [*getattr(self, "holes", []), alpha]
        return alpha, beta, shifts


class Sender(SilentSender):
    """Answers one iteration with an error in one block of one tree, whose receiver opens it or
    does not.
    """

    receiver: Receiver
    iteration: int
    trees: range
    block: int
    opened: bool
    answered = 0
    tree = -1

    def _answer(self, sums: U8, w: U8) -> U8:
        answer = super()._answer(sums, w).copy()
        if self.answered == self.iteration:
            holes = self.receiver.holes[self.iteration]
            self.tree = next(tree for tree in self.trees if self._opens(int(holes[tree])))
            answer[self.tree, self.block, 7] ^= 32
        self.answered += 1
        return answer

    def _opens(self, hole: int) -> bool:
        """Of the last level's sums over F_16 the one where the hole is not, of all others each."""
        p, right = self.parameters, hole & 1
        unopened = p.depth - 1 + right if p.width == 4 else -1
        return (self.block != unopened) is self.opened


def caught(width: int, iteration: int, reserved: bool, block: int, opened: bool = True) -> bool:
    """By the check, when all rows of the iterations are taken."""
    parameters = replace(TINY, width=width)
    channels, zero = channel_pair(), np.zeros((128, 16), np.uint8)
    sender = Sender(
        channels[0], IdealSender(), Prg(b"randomness of S."), hash_keys(), parameters, ITERATIONS
    )
    sender.receiver = receiver = Receiver(
        channels[1], IdealReceiver(), Prg(b"randomness of R."), hash_keys(), parameters, ITERATIONS
    )
    sender.iteration, sender.block, sender.opened = iteration, block, opened
    sender.trees = trees_of(parameters, reserved)
    demands = ((ITERATIONS * parameters.released, width),)
    run_both(lambda: extended(sender, demands), lambda: extended(receiver, demands), channels)
    assert sender.tree >= 0
    shown = masked_elements([receiver.tally], zero[:, 0])
    expected = expected_rows([sender.tally], zero, shown, sender.delta)
    return not np.array_equal(expected, masked_rows([receiver.tally], zero))


def trees_of(parameters: LpnParameters, reserved: bool) -> range:
    if reserved:
        return range(parameters.released_trees, parameters.trees)
    return range(parameters.released_trees)


@pytest.mark.parametrize("reserved", [False, True], ids=["taken", "reserved"])
@pytest.mark.parametrize("iteration", range(ITERATIONS))
@pytest.mark.parametrize(("width", "blocks"), [(1, 5), (4, 7)], ids=["F_2", "F_16"])
def test_every_block_counts(width: int, blocks: int, iteration: int, reserved: bool) -> None:
    assert replace(TINY, width=width).tree_blocks == blocks
    for block in range(blocks):
        assert caught(width, iteration, reserved, block), block


@pytest.mark.parametrize("block", [4, 5])
def test_a_block_that_is_not_opened_does_not_count(block: int) -> None:
    """Over F_16: the last sums of left and of right leaves."""
    assert not caught(4, 0, False, block, opened=False)
