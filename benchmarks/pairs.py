"""Throughput against pairs: a front with workers, and sessions, in Ray clusters that are there.

    ray start --head --num-cpus=2 --include-dashboard=false
    python -m benchmarks.pairs compiled/ --cluster auto --pairs 1 2 --images 20 --json rows.json

Each number of pairs has a front of its own (moiety serve --cluster) and as many sessions of a
study's kind, each with `--images` images; every one is verified against the cleartext executor,
which takes an exact Program. What is timed begins when all sessions are open. Server and client
share the cluster here, and get half a processor for each worker unless `--worker-cpus` says more.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.batches import images
from benchmarks.support import command_line, harness
from benchmarks.support.command_line import positive
from benchmarks.support.harness import Row
from moiety.protocols.arrays import F32
from moiety.protocols.errors import NetworkFailure
from moiety.runtime.cluster.placement import Room
from moiety.runtime.cluster.sessions import ClusterWorker, ClusterWorkers, cluster_workers
from moiety.runtime.party.credentials import KeyFiles
from moiety.runtime.party.endpoints import parse_address
from moiety.runtime.party.keystore import KeyStore
from moiety.runtime.program import Program
from moiety.runtime.program.artifacts import load_vendor
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.weights import Weights
from moiety.runtime.results.record import ImageResult
from moiety.runtime.study.session import SessionPlan
from moiety.runtime.study.workers import Task

DISTINCT = 4
"""Images that differ; they come again and again."""
PATIENCE = 300.0


@contextlib.contextmanager
def front(folder: Path, room: Room, keys: Path, log: Path) -> Iterator[str]:
    """The address of one that has all of its workers."""
    options = {
        "cluster": room.address,
        "pairs": room.workers,
        "worker-cpus": room.cpus,
        "keys": keys,
    }
    said = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "moiety.runtime.cli", "serve", str(folder), "--no-audit"]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, "--listen=127.0.0.1:0", *said], stdout=subprocess.PIPE, stderr=file
        )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().decode().removeprefix("listening ").strip()
        until = time.monotonic() + PATIENCE
        while log.read_text().count("is up") < room.workers:
            if process.poll() is not None or time.monotonic() > until:
                raise NetworkFailure(f"the workers do not come up:\n{log.read_text()}")
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait()


def keys(folder: Path) -> tuple[Path, Path]:
    """Of a vendor and a hospital who trust each other."""
    vendor, hospital = KeyStore(folder / "vendor"), KeyStore(folder / "hospital")
    theirs, ours = vendor.new("vendor", 10), hospital.new("hospital", 10)
    vendor.trust("hospital", ours)
    hospital.trust("vendor", theirs)
    return vendor.folder, hospital.folder


def within(program: Program, weights: Weights, image: F32) -> tuple[F32, object]:
    """The image, fainter until nothing overflows, and what the client must read of it: noise is
    nothing that a model was calibrated for.
    """
    while True:
        cleartext = CleartextExecutor(program, weights)
        integers = cleartext.run_integers(image)
        if not any(cleartext.overflows.values()):
            break
        image = (image / 2).astype(np.float32)
    outputs = program.outputs
    return image, [outputs[i].dequantise(v).ravel().tolist() for i, v in integers.items()]


def run(
    workers: ClusterWorkers, files: Sequence[Path], count: int
) -> tuple[float, Sequence[ImageResult]]:
    """Seconds in which each of the sessions has run so many images, and all results, the images in
    turn.
    """
    opened = [workers.start() for _ in range(workers.wanted)]

    def work(worker: ClusterWorker) -> list[ImageResult]:
        chosen = [(number % len(files), files[number % len(files)]) for number in range(count)]
        return [worker.run(Task((number,), (file,)))[0] for number, file in chosen]

    work_once = [Task((0,), (files[0],))] * len(opened)
    with ThreadPoolExecutor(len(opened)) as pool:
        list(pool.map(ClusterWorker.run, opened, work_once))  # the first refills
        started = time.perf_counter()
        results = [result for each in pool.map(work, opened) for result in each]
        seconds = time.perf_counter() - started
    for worker in opened:
        worker.close()
    return seconds, results


def measured(
    plan: SessionPlan, room: Room, files: Sequence[Path], expected: Sequence[object], count: int
) -> Row:
    with cluster_workers(plan, room) as workers:
        seconds, results = run(workers, files, count)
    for number, result in enumerate(results):
        found = [each.values for each in result.revealed]
        harness.require(found == expected[number % count % DISTINCT], f"image {number}")
    return {
        "pairs": room.workers,
        "images": len(results),
        "seconds": seconds,
        "images_per_second": len(results) / seconds,
        "seconds_per_image": float(np.median([result.seconds for result in results])),
        "client_cpu": float(np.median([result.cpu_seconds for result in results])),
        "server_cpu": float(np.median([result.server.cpu_seconds for result in results])),
        "bytes_sent": results[-1].bytes_sent,
        "bytes_received": results[-1].bytes_received,
    }


def parser() -> argparse.ArgumentParser:
    p = command_line.parser("pairs", __doc__, "--seed", "--json")
    p.add_argument("folder", type=Path, metavar="DIR", help="a compiled folder, exact rounding")
    p.add_argument("--cluster", default="auto", metavar="ADDRESS", help="default: auto")
    p.add_argument("--pairs", type=positive, nargs="+", default=[1, 2], metavar="N")
    p.add_argument("--images", type=positive, default=20, help="of each session (default 20)")
    p.add_argument("--worker-cpus", type=float, default=0.5, metavar="X", help="default: 0.5")
    return p


def main() -> None:
    options = parser().parse_args()
    program, weights = load_vendor(options.folder)
    drawn = images(program, options.seed, DISTINCT)
    distinct, expected = zip(*(within(program, weights, one) for one in drawn), strict=True)
    rows = []
    with tempfile.TemporaryDirectory(prefix="moiety-pairs-") as name:
        place = Path(name)
        vendor, hospital = keys(place)
        files = [place / f"{number}.npy" for number in range(DISTINCT)]
        for file, tensor in zip(files, distinct, strict=True):
            np.save(file, tensor)
        for pairs in options.pairs:
            room = Room(address=options.cluster, workers=pairs, cpus=options.worker_cpus)
            with front(options.folder, room, vendor, place / "log") as address:
                host, port = parse_address(address)
                store = KeyFiles(store=hospital)
                plan = SessionPlan(program=program, host=host, port=port, keys=store)
                rows.append(measured(plan, room, files, expected, options.images))
            harness.say(str(rows[-1]))
    about: Row = {"benchmark": "pairs", "model": program.name} | harness.environment()
    harness.write_rows([about | row for row in rows], options.json)


if __name__ == "__main__":
    command_line.run(main)
