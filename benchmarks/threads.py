"""What more threads of a party would gain: kernels alone with one and several, and Amdahl's law
from a whole inference.

    python -m benchmarks.threads compiled/ --threads 1 2 --json rows.json

The kernels run in this process, one after another, with nobody to wait for: wall seconds, the least
of several. For the serial part a whole run's work is cut as for `--split` threads, whatever the
machine has, and the CPU seconds inside ranges that can run side by side, of kernels and of jobs in
Python, are told from all others of the process: what remains, s of the total, is serial, and N
threads gain at most 1 / (s + (1 - s) / N). CPU seconds do not depend on how busy the machine is.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import batches
from benchmarks.support import command_line, harness
from benchmarks.support.command_line import positive
from benchmarks.support.harness import Row
from benchmarks.support.parties import two_processes
from moiety.protocols import kernels, parallel
from moiety.protocols.kernels import Pool
from moiety.protocols.linear.layout import Geometry
from moiety.protocols.linear.planner import plan_linear
from moiety.protocols.linear.rlwe import ClientKey, Ring, ServerKey, public_key_a
from moiety.protocols.linear.server import ServerLinear
from moiety.protocols.ot.lpn import BITS
from moiety.protocols.parallel import Workers
from moiety.protocols.prg import Prg
from moiety.protocols.session import Session

MAKER = "benchmarks.threads:make"
PUBLIC_SEED = b"public seed 0001"
ELEMENTS = 1 << 19
PREDICTED = (2, 4, 8)


def parser() -> argparse.ArgumentParser:
    p = command_line.parser("threads", __doc__, "--silent-from", "--seed", "--json")
    p.add_argument(
        "folder", type=Path, metavar="DIR", help="a compiled folder; hints are kept in it"
    )
    for option, default, metavar, what in (
        ("--split", 8, "N", "cut the inference so"),
        ("--batch", 1, "B", "images in the run"),
        ("--repeats", 9, "N", "of each kernel"),
    ):
        what = f"{what} (default {default})"
        p.add_argument(option, type=positive, default=default, metavar=metavar, help=what)
    p.add_argument(
        "--threads", type=positive, nargs="+", default=[1, 2], metavar="N", help="default 1 2"
    )
    return p


# --- kernels alone --------------------------------------------------------------------------------


Job = Callable[[Workers], Any]
"""Work as the protocols cut it, on some threads."""


def piecewise(work: Callable[[slice, Pool], Any], n: int = ELEMENTS) -> Job:
    """Calls for `n` elements that share their ranges among the threads."""
    return lambda workers: [work(piece, workers.pool) for piece in parallel.pieces(n)]


def pieces(work: Callable[[int], Any], count: int) -> Job:
    """`count` pieces of equal work."""
    return lambda workers: list(workers.map(work, range(count)))


def transfer_jobs(rng: np.random.Generator) -> dict[str, Job]:
    """Correlations and the transfers made of them."""
    w = rng.integers(0, 256, (ELEMENTS, 16), np.uint8)
    delta, keys = rng.integers(0, 256, 16, np.uint8), rng.integers(0, 256, (32, 16, 16), np.uint8)
    small = rng.integers(0, 16, ELEMENTS, np.uint8)
    x = rng.integers(0, 1 << 13, ELEMENTS, np.uint64)
    bit = small & np.uint8(1)
    seeds = rng.integers(0, 256, (BITS.seeds, 16), np.uint8)
    key = np.zeros(16, np.uint8)
    roots, code = rng.integers(0, 256, (BITS.trees, 16), np.uint8), np.zeros(16, np.uint8)
    rows, depth = np.zeros((BITS.length, 16), np.uint8), BITS.depth
    checks = np.zeros((BITS.trees, BITS.checks, 16), np.uint8)
    blocks = parallel.STREAMED // 128
    return {
        "SoftSpoken, 2 bits": pieces(
            lambda i: kernels.vole_receiver(keys, 2 * blocks * i, 2, blocks),
            ELEMENTS // parallel.STREAMED,
        ),
        "leaves, 4 bits": piecewise(
            lambda r, pool: kernels.leaves_send(
                w[r], delta, 4, key, small[r], small[None, r], True, pool
            )
        ),
        "multiplexer": piecewise(
            lambda r, pool: kernels.mux_send(w[r], delta, key, bit[r], x[r], bit[r], 13, pool)
        ),
        "silent rows": lambda workers: kernels.expand_full(
            roots, delta, roots, depth, BITS.width, seeds, code, 0, rows, checks, workers.pool
        ),
    }


def convolution_jobs(rng: np.random.Generator) -> dict[str, Job]:
    """A 1x1 convolution of 256 channels to 128 of 28x28, in its parts."""
    geometry = Geometry((256, 28, 28), (128, 28, 28), (1, 1), (0, 0, 0, 0), (1, 1), 1)
    spec = plan_linear(geometry, 24, 12, 0)
    weight = rng.integers(-2047, 2048, (128, 256, 1, 1)).astype(np.int32)
    layer = ServerLinear(spec, 0, PUBLIC_SEED, weight, np.zeros(128, np.int64))
    ring_q, window = Ring.of(spec.rlwe.degree, spec.rlwe.primes), spec.layout.windows[0]
    shape = (len(spec.rlwe.primes), spec.layout.ciphertexts_per_tile, spec.rlwe.degree)
    upload = rng.integers(0, min(spec.rlwe.primes), shape, np.uint32)
    client = ClientKey.generate(ring_q, Prg.from_os())
    public = public_key_a(ring_q, PUBLIC_SEED)
    masked = ring_q.forward(client.mask(public[:, None], Prg.from_os()))[:, 0]
    server = ServerKey(ring_q, public, masked)
    answers = rng.integers(0, 1 << spec.rlwe.answer_bits, (16, spec.rlwe.degree), np.uint64)
    return {
        "encryptions of zero": pieces(lambda i: server.zeros(16, Prg(bytes(15) + bytes([i]))), 16),
        "phases": pieces(lambda i: client.phase_product(answers, spec.rlwe.answer_bits), 16),
        "convolution": lambda workers: layer.convolve(upload, window, workers),
    }


def kernels_alone(options: argparse.Namespace) -> list[Row]:
    """A row per job: seconds by number of threads, the least of some runs."""
    rng = np.random.default_rng(options.seed)
    rows = []
    for name, job in (transfer_jobs(rng) | convolution_jobs(rng)).items():
        times = {
            str(threads): seconds
            for threads, seconds in fastest(job, options.threads, options.repeats).items()
        }
        rows.append({"kernel": name, "seconds": times})
        harness.say(
            f"{name}: " + ", ".join(f"{n} threads {1e3 * t:.1f} ms" for n, t in times.items())
        )
    return rows


def fastest(job: Job, numbers: Sequence[int], repeats: int) -> dict[int, float]:
    """Wall seconds by number of threads; in turns, so that a busy moment hits all alike."""
    pools = {threads: Workers(threads) for threads in numbers}
    found: dict[int, list[float]] = {threads: [] for threads in pools}
    for _ in range(repeats):
        for threads, workers in pools.items():
            started = time.perf_counter()
            job(workers)
            found[threads].append(time.perf_counter() - started)
    for workers in pools.values():
        workers.close()
    return {threads: min(seconds) for threads, seconds in found.items()}


# --- the serial part of an inference --------------------------------------------------------------


class Clock:
    """CPU seconds inside ranges of calls that were cut into more than one: of kernels, which their
    pool counts, and of jobs in Python.
    """

    def __init__(self, workers: Workers) -> None:
        self._pool = workers.pool
        self._in_jobs = 0.0
        self._lock = threading.Lock()

    @property
    def seconds(self) -> float:
        """Until now."""
        return self._pool.seconds + self._in_jobs

    def install(self) -> None:
        """For the rest of this process's life."""
        self._pool.measured = True
        plain = Workers.map

        def timed(
            workers: Workers,
            function: Callable[[Any], Any],
            items: Sequence[Any],
            fetch: Callable[[Any], Any] | None = None,
        ) -> Iterator[Any]:
            spent: list[float] = []

            def job(item: Any) -> Any:
                started = time.thread_time()
                try:
                    return function(item)
                finally:
                    spent.append(time.thread_time() - started)

            results = list(plain(workers, job, items, fetch))
            if len(spent) > 1:
                with self._lock:
                    self._in_jobs += sum(spent)
            return iter(results)

        Workers.map = timed  # type: ignore[assignment,method-assign]


def make(session: Session, folder: Path, count: int, seed: int) -> Callable[[], Any]:
    """A party's call: an inference of `count` images; returns CPU seconds in ranges that can run
    side by side, and of the process.
    """
    inference = batches.make(session, folder, count, seed)
    clock = Clock(session.workers)
    clock.install()

    def call() -> tuple[float, float]:
        before, started = clock.seconds, time.process_time()
        inference()
        return clock.seconds - before, time.process_time() - started

    return call


def amdahl(options: argparse.Namespace) -> list[Row]:
    with two_processes(False, options.silent_from, options.split) as pair:
        pair.make(MAKER, options.folder, options.batch, options.seed)
        pair.run()
        call = pair.run(results=True)
    rows = []
    for party, side in (("server", call.server), ("client", call.client)):
        together, total = side.result
        serial = 1 - together / total
        gains = {str(n): 1 / (serial + (1 - serial) / n) for n in PREDICTED}
        split = {"party": party, "batch": options.batch, "split": options.split}
        rows.append(split | {"cpu_s": total, "serial": serial, "at_most": gains})
        shown = ", ".join(f"{n}: {gain:.2f}" for n, gain in gains.items())
        harness.say(f"{party}: {total:.2f} s CPU, serial {100 * serial:.0f} %; at most {shown}")
    return rows


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    options = parser().parse_args(arguments)
    harness.one_thread()
    rows = [
        {"benchmark": "threads", **harness.environment()} | row
        for row in (*kernels_alone(options), *amdahl(options))
    ]
    harness.write_rows(rows, options.json)
    return rows


if __name__ == "__main__":
    command_line.run(main)
