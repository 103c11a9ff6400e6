"""Figures of correlations: SoftSpoken's kernels and their check; of silent generation, refills and
rows.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np

from moiety.protocols import kernels
from moiety.protocols.arrays import U8
from moiety.protocols.cost import BATCH
from moiety.protocols.ot.consistency import hash_of
from moiety.protocols.ot.keys import HashKeys
from moiety.protocols.ot.lpn import BITS, NIBBLES, LpnParameters
from moiety.protocols.ot.silent import SilentReceiver, SilentSender
from moiety.protocols.ot.softspoken import LEAVES, TREES
from moiety.protocols.ot.vole import VoleReceiver, VoleSender
from moiety.protocols.prg import Prg
from moiety.protocols.prices import WIDTHS
from moiety.runtime.measure.bench import Bench, pipe

T = TypeVar("T")

_PIECE = 1 << 16
"""Silent correlations drawn at once."""


def correlations(bench: Bench) -> None:
    """SoftSpoken: its kernels and the check, without the channel's part."""
    leaves, delta = bench.bytes(TREES, LEAVES, 16), bench.bytes(16)
    blocks = -(-bench.elements // BATCH)
    n = blocks * BATCH
    for k in WIDTHS:
        receive = partial(_received, leaves, k, blocks)
        bench.per(f"vole_recv_{k}", n, receive)
        bench.per(f"vole_send_{k}", n, partial(_sent, leaves, delta, k, blocks, receive()))


def _received(leaves: U8, k: int, blocks: int) -> U8:
    """Corrections, and what their check takes."""
    u, v, corrections = kernels.vole_receiver(leaves, 0, k, blocks)
    hash_of(corrections)
    for rows in (u[:, None], v):
        kernels.column_hash(rows, leaves[0, 0])
    return corrections


def _sent(leaves: U8, delta: U8, k: int, blocks: int, corrections: U8) -> None:
    w = kernels.vole_sender(leaves, delta, 0, k, blocks, corrections)
    hash_of(corrections)
    kernels.column_hash(w, leaves[0, 0])


@dataclass
class _BaseSender(VoleSender):
    """Correlations to start from, `v = w`: with u = 0 they fit any delta."""

    blocks: U8
    delta: U8

    def extend(self, n: int, k: int) -> U8:
        return self.blocks[:n]


@dataclass
class _BaseReceiver(VoleReceiver):
    blocks: U8

    def extend(self, n: int, k: int) -> tuple[U8, U8]:
        return np.zeros(n, np.uint8), self.blocks[:n]


@dataclass
class _Spent:
    """Nanoseconds of one party by the clock of the thread that runs it, name by name: the sums of a
    round, and the least of all rounds.
    """

    least: dict[str, float] = field(default_factory=dict)
    _round: dict[str, float] = field(default_factory=dict)

    def time(self, name: str, call: Callable[[], T]) -> T:
        """Run the call and note its time."""
        start = time.thread_time_ns()
        made = call()
        self._round[name] = self._round.get(name, 0.0) + time.thread_time_ns() - start
        return made

    def end_round(self) -> None:
        for name, spent in self._round.items():
            self.least[name] = min(self.least.get(name, spent), spent)
        self._round.clear()


def silent(bench: Bench) -> None:
    """Both generators, both parties in two threads. A refill is timed with a draw of one
    correlation, then draws without one.
    """
    rounds = max(2, min(bench.repeats, 4))
    for parameters in (BITS, NIBBLES):
        sender, receiver = _generators(bench, parameters)
        sent, received = _Spent(), _Spent()
        thread = threading.Thread(target=_send, args=(sender, sent, rounds))
        thread.start()
        _receive(receiver, received, rounds)
        thread.join()
        outputs, k = 2 * parameters.length, parameters.width
        bench.figures["silent_refill_send"] = sent.least["refill"] / outputs
        bench.figures["silent_refill_recv"] = received.least["refill"] / outputs
        drawn = sum(_pieces(parameters))
        bench.figures[f"silent_send_{k}"] = sent.least["rows"] / drawn
        bench.figures[f"silent_choose_{k}"] = received.least["choices"] / drawn
        bench.figures[f"silent_recv_{k}"] = received.least["rows"] / drawn
    u = bench.bytes(bench.elements, below=16)
    bench.per("silent_cut", bench.elements, lambda: kernels.pack(u >> np.uint8(2), 2))


def _generators(bench: Bench, parameters: LpnParameters) -> tuple[SilentSender, SilentReceiver]:
    blocks, delta = bench.bytes(parameters.reserved, 16), bench.bytes(16)
    near, far = pipe()
    key, prg = bench.bytes(16), Prg.from_os
    return (
        SilentSender(near, _BaseSender(blocks, delta), prg(), HashKeys(key), parameters),
        SilentReceiver(far, _BaseReceiver(blocks), prg(), HashKeys(key), parameters),
    )


def _pieces(parameters: LpnParameters) -> list[int]:
    """What is drawn of one refill, the first correlation apart, and nothing left."""
    left = 2 * parameters.released - 1
    return [*[_PIECE] * (left // _PIECE), left % _PIECE]


def _send(sender: SilentSender, spent: _Spent, rounds: int) -> None:
    k = sender.parameters.width
    for _ in range(rounds):
        spent.time("refill", lambda: sender.extend(1, k))
        for n in _pieces(sender.parameters):
            spent.time("rows", partial(sender.extend, n, k))
        spent.end_round()


def _receive(receiver: SilentReceiver, spent: _Spent, rounds: int) -> None:
    k = receiver.parameters.width
    for _ in range(rounds):
        spent.time("refill", lambda: receiver.extend(1, k))
        for n in _pieces(receiver.parameters):
            _, rows = spent.time("choices", partial(receiver.begin, n, k))
            spent.time("rows", rows)
        spent.end_round()
