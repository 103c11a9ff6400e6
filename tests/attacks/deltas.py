"""A receiver of correlations that gives the trees different u, to learn the sender's delta."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest

from moiety.protocols import kernels
from moiety.protocols.arrays import U8
from moiety.protocols.errors import DeviatingPeer
from moiety.protocols.ot.consistency import Chain
from moiety.protocols.ot.generators import ALWAYS_SILENT
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
from moiety.protocols.session import Session
from tests.protocols.oracles import multiples
from tests.support.two_party import channel_pair, run_both, run_two_party, vole


@dataclass
class Guess:
    """Adds `error` to u of some trees at row `row` of part `part` of an extension, and behaves as
    if their nibbles of delta were `nibbles` (tree -> guess): where all are right, nothing of what
    follows shows it. Installed in the place of the receiver's kernel.
    """

    nibbles: Mapping[int, int]
    row: int = 0
    part: int = 0
    error: int = 1
    calls: int = field(default=0)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        honest = kernels.vole_receiver

        def deviating(keys: U8, counter: int, k: int, nblocks: int) -> tuple[U8, U8, U8]:
            u, v, corrections = honest(keys, counter, k, nblocks)
            if self.calls == self.part:
                v, corrections = v.copy(), corrections.copy()
                self._deviate(v, corrections, k, nblocks)
            self.calls += 1
            return u, v, corrections

        monkeypatch.setattr(kernels, "vole_receiver", deviating)

    def _deviate(self, v: U8, corrections: U8, k: int, nblocks: int) -> None:
        planes = corrections.reshape(31, k, nblocks * 16)
        for tree, nibble in self.nibbles.items():
            for b in range(k):
                bit = self.error >> b & 1
                planes[tree - 1, b, self.row // 8] ^= np.uint8(bit << self.row % 8)
            bet = np.zeros(16, np.uint8)
            bet[tree // 2] = nibble << 4 * (tree % 2)
            v[self.row] ^= multiples(np.array([self.error], np.uint8), bet[None])[0]


DELTA = Prg(b"a sender's delta").bytes(16)
"""What the attacks are after; a peer would know none of it."""


def dealt() -> tuple[U8, U8]:
    """(whole trees, the same without the leaves of `DELTA`), whose base transfers nobody made."""
    prg = Prg(b"trees and keys..")
    keys = prg.bytes(TRANSFERS * 32).reshape(TRANSFERS, 2, 16)
    doubling = prg.bytes(32).reshape(2, 16)
    message, leaves = full_trees(prg.bytes(16 * TREES).reshape(TREES, 16), keys, doubling)
    chosen = keys[np.arange(TRANSFERS), 1 - delta_bits(DELTA).reshape(-1)]
    return leaves, punctured_trees(DELTA, message, chosen, doubling)


LEAVES = dealt()


def extend(n: int, k: int, times: int = 1, start: bytes = bytes(32)) -> tuple[U8, tuple[U8, U8]]:
    """(w, (u, v)) of the last of so many extensions by n correlations, after a set-up whose hash is
    `start`.
    """
    channels = channel_pair()
    sender = SoftSpokenSender(channels[0], LEAVES[1], Chain(start), DELTA)
    receiver = SoftSpokenReceiver(channels[1], LEAVES[0], Chain(start))
    return run_both(
        lambda: [sender.extend(n, k) for _ in range(times)][-1],
        lambda: [receiver.extend(n, k) for _ in range(times)][-1],
        channels,
    )


def connect(n: int, k: int, seed: int) -> tuple[U8, U8, tuple[U8, U8]]:
    """(delta, w, (u, v)) of n silent correlations server -> client, in a whole session."""

    def server(session: Session) -> tuple[U8, U8]:
        generator = vole(session.sender)
        w = generator.extend(n, k)
        session.channel.send(b"0")
        return generator.delta, w

    def client(session: Session) -> tuple[U8, U8]:
        u, later = vole(session.receiver).begin(n, k)
        session.channel.recv(1)
        return u, later()

    (delta, w), received = run_two_party(server, client, seed, silent_from=ALWAYS_SILENT)
    return delta, w, received


def survives(attempt: Callable[[], object]) -> bool:
    """Whether the sender notices nothing."""
    try:
        attempt()
    except DeviatingPeer:
        return False
    return True


def nibbles_of(delta: U8) -> list[int]:
    """The sender's, of all trees."""
    return np.stack([delta & 15, delta >> 4], axis=1).reshape(-1).tolist()


def related(delta: U8, w: U8, u: U8, v: U8) -> bool:
    """Whether all are correlations."""
    return np.array_equal(w, v ^ multiples(u, np.broadcast_to(delta, v.shape)))
