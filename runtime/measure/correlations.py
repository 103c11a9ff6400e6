"""Figures of correlations: SoftSpoken's two kernels, and whole refills of silent generation."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from moiety.protocols import kernels
from moiety.protocols.arrays import U8
from moiety.protocols.cost import BATCH
from moiety.protocols.ot.keys import HashKeys
from moiety.protocols.ot.lpn import BASE_WIDTH, SMALL
from moiety.protocols.ot.silent import SilentReceiver, SilentSender
from moiety.protocols.ot.softspoken import LEAVES, TREES
from moiety.protocols.prg import Prg
from moiety.protocols.prices import WIDTHS
from moiety.runtime.measure.bench import Bench, pipe

_ITERATIONS = 2
"""Of the silent generator in one refill."""


def correlations(bench: Bench) -> None:
    """SoftSpoken: the two kernels, without the channel's part."""
    leaves, delta = bench.bytes(TREES, LEAVES, 16), bench.bytes(16)
    blocks = -(-bench.elements // BATCH)
    n = blocks * BATCH
    for k in WIDTHS:
        receive = partial(kernels.vole_receiver, leaves, 0, k, blocks)
        *_, corrections = receive()
        send = partial(kernels.vole_sender, leaves, delta, 0, k, blocks, corrections)
        bench.per(f"vole_recv_{k}", n, receive)
        bench.per(f"vole_send_{k}", n, send)


@dataclass
class _BaseSender:
    """Correlations to start from, `v = w`: with u = 0 they fit any delta."""

    blocks: U8
    delta: U8

    def extend(self, n: int, k: int) -> U8:
        return self.blocks[:n]


@dataclass
class _BaseReceiver:
    blocks: U8

    def extend(self, n: int, k: int) -> tuple[U8, U8]:
        return np.zeros(n, np.uint8), self.blocks[:n]


@dataclass
class _Refills:
    """One party's refills, one after another, by the clock of the thread that runs them."""

    extend: Callable[[int, int], object]
    rounds: int
    spent: list[int] = field(default_factory=list)

    def run(self) -> None:
        for _ in range(self.rounds):
            start = time.thread_time_ns()
            self.extend(_ITERATIONS * SMALL.released, BASE_WIDTH)
            self.spent.append(time.thread_time_ns() - start)

    def per_output(self) -> float:
        """Nanoseconds, of the fastest refill."""
        return min(self.spent) / (_ITERATIONS * SMALL.length)


def silent(bench: Bench) -> None:
    """Whole refills, both parties in two threads; of the receiver's, what two kernels take alone is
    apart, because it is done at other times.
    """
    sender, receiver = _refills(bench)
    thread = threading.Thread(target=sender.run)
    thread.start()
    receiver.run()
    thread.join()

    bench.per("silent_seeds", SMALL.length, _encoder(SMALL.released, SMALL.reserved))
    bench.per("silent_nibbles", SMALL.length, _encoder(0, SMALL.released))
    early = bench.figures["silent_seeds"] + bench.figures["silent_nibbles"]
    bench.figures["silent_send"] = sender.per_output()
    bench.figures["silent_recv"] = max(0.0, receiver.per_output() - early)

    u = bench.bytes(bench.elements, below=16)
    bench.per("silent_cut", bench.elements, lambda: kernels.pack(u >> np.uint8(2), 2))


def _refills(bench: Bench) -> tuple[_Refills, _Refills]:
    """The sender's and the receiver's, to be run at the same time."""
    blocks, delta = bench.bytes(SMALL.reserved, 16), bench.bytes(16)
    near, far = pipe()
    key = bench.bytes(16)
    sender = SilentSender(near, _BaseSender(blocks, delta), Prg.from_os(), HashKeys(key))
    receiver = SilentReceiver(far, _BaseReceiver(blocks), Prg.from_os(), HashKeys(key))
    rounds = max(2, min(bench.repeats, 4))
    return _Refills(sender.extend, rounds), _Refills(receiver.extend, rounds)


def _encoder(first: int, count: int) -> Callable[[], object]:
    """Encodes the receiver's choices of `count` outputs from `first` on."""
    alpha, beta = np.zeros(SMALL.trees, np.uint16), np.ones(SMALL.trees, np.uint8)
    seeds, code = np.zeros(SMALL.seeds, np.uint8), np.zeros(16, np.uint8)
    return partial(kernels.encode_nibbles, seeds, code, first, count, SMALL.depth, alpha, beta)
