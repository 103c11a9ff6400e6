"""Eight clients at once, one hung, one slow, one killed, one over its quota; and what a server's
memory does over many small inferences.

    python -m benchmarks.sessions compiled/ --images 20 --sessions 8 --json rows.json
    python -m benchmarks.sessions compiled/ --memory 300

A client is a process of its own, on loopback; every image that one gets is verified against the
cleartext executor, which takes an exact Program. The one over its quota comes from another address
than the others. `--memory N`: N images in one session, then N / 10 sessions of one image.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.batches import images
from benchmarks.support import command_line, harness
from benchmarks.support.command_line import positive
from benchmarks.support.harness import Row
from moiety.protocols.arrays import F32
from moiety.protocols.errors import MoietyError
from moiety.runtime.party.client import Client
from moiety.runtime.party.endpoints import Listener
from moiety.runtime.party.executor import ServerExecutor
from moiety.runtime.party.server import Server, ServerOptions
from moiety.runtime.party.server.admission import Caller, Denied, Everybody
from moiety.runtime.party.signals import Stopped, raise_stopped
from moiety.runtime.party.transport import TcpChannel
from moiety.runtime.program import Program
from moiety.runtime.program.artifacts import load_vendor
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.progress import no_progress

FORK = multiprocessing.get_context("fork")
GREEDY = "127.0.0.2"
KINDS = ("good", "good", "good", "good", "hung", "slow", "killed", "over quota")
DISTINCT = 4
"""Images that differ; they come again and again."""


class Quota(Everybody):
    """The caller at `GREEDY` may have one image."""

    def __init__(self) -> None:
        self._taken = FORK.Value("i", 0)

    def refresh(self) -> None:
        pass

    def admit(self, caller: Caller, program: str) -> Caller:
        return caller

    def take(self, caller: Caller, images: int) -> None:
        if caller.address == GREEDY:
            with self._taken.get_lock():
                if self._taken.value + images > 1:
                    raise Denied("1 image a day is used up")
                self._taken.value += images


@contextlib.contextmanager
def serving(executor: ServerExecutor, options: ServerOptions) -> Iterator[tuple[int, int]]:
    """Port and process of a server."""
    listener = Listener.at("127.0.0.1", 0)
    server = Server(executor, listener, options, Quota())

    def run() -> None:
        raise_stopped()
        with contextlib.suppress(Stopped):
            server.run()

    process = FORK.Process(target=run)
    process.start()
    listener.close()
    assert process.pid is not None
    try:
        yield listener.port, process.pid
    finally:
        process.terminate()
        process.join()


def channel_to(port: int, address: str = "127.0.0.1") -> TcpChannel:
    sock = socket.create_connection(("127.0.0.1", port), source_address=(address, 0))
    sock.settimeout(0.5)
    return TcpChannel(sock, "server")


def client(
    program: Program, port: int, kind: str, tensors: Sequence[F32], results: Sequence[object]
) -> Row:
    """One client's life; how many images it got, in what time, and how it ended."""
    started, got, ended = time.perf_counter(), 0, "finished"
    address = GREEDY if kind == "over quota" else "127.0.0.1"

    def trouble(done: int, total: int, step: str) -> None:
        if got == 1 and done == total // 2:
            TROUBLE[kind]()

    try:
        channel = channel_to(port, address)
        with Client(program, progress=trouble if kind in TROUBLE else no_progress).join(
            channel
        ) as connection:
            for number, tensor in enumerate(tensors):
                outputs, _, _ = connection.infer(tensor)
                found = [output.integers.tolist() for output in outputs]
                harness.require(found == results[number % DISTINCT], f"image {number} of {kind}")
                got += 1
    except MoietyError as error:
        ended = str(error)
    return {
        "kind": kind,
        "images": got,
        "seconds": time.perf_counter() - started,
        "ended": ended,
    }


def _hang() -> None:
    time.sleep(3600)


def _dawdle() -> None:
    time.sleep(5)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


TROUBLE: dict[str, Callable[[], None]] = {"hung": _hang, "slow": _dawdle, "killed": _die}


def together(
    program: Program, port: int, kinds: Sequence[str], tensors: list[F32], results: list[object]
) -> list[Row]:
    """All clients at once. Those that hang are ended with the others' last result."""
    answers = FORK.SimpleQueue()

    def live(number: int, kind: str) -> None:
        answers.put({"client": number} | client(program, port, kind, tensors, results))

    processes = [FORK.Process(target=live, args=each) for each in enumerate(kinds)]
    for process in processes:
        process.start()
    for process, kind in zip(processes, kinds, strict=True):
        if kind != "hung":
            process.join()
    rows = []
    while not answers.empty():
        rows.append(answers.get())
    for process in processes:
        process.kill()
        process.join()
    told = {row["client"] for row in rows}
    rows += [
        {"client": n, "kind": kind, "images": 1, "seconds": None, "ended": kind}
        for n, kind in enumerate(kinds)
        if n not in told
    ]
    return sorted(rows, key=lambda row: row["client"])


def resident(pid: int) -> int:
    """Bytes of a process in memory that are its own."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return 1024 * int(status.split("RssAnon:")[1].split()[0])


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def memory(program: Program, port: int, server: int, tensors: list[F32]) -> list[Row]:
    rows = []
    with Client(program).join(channel_to(port)) as connection:
        (pid,) = children(server)
        for number, tensor in enumerate(tensors, 1):
            connection.infer(tensor)
            if number % max(1, len(tensors) // 10) == 0:
                rows.append({"images": number, "of": "one session", "bytes": resident(pid)})
    for number, tensor in enumerate(tensors[: -(-len(tensors) // 10)], 1):
        with Client(program).join(channel_to(port)) as connection:
            connection.infer(tensor)
        if number % max(1, len(tensors) // 100) == 0:
            rows.append({"images": number, "of": "the server", "bytes": resident(server)})
    return rows


def parser() -> argparse.ArgumentParser:
    p = command_line.parser("sessions", __doc__, "--seed", "--json")
    p.add_argument("folder", type=Path, metavar="DIR", help="a compiled folder, exact rounding")
    p.add_argument("--images", type=positive, default=20, help="of each client (default 20)")
    p.add_argument("--sessions", type=positive, default=8, help="places (default 8)")
    p.add_argument("--memory", type=positive, metavar="N", help="memory over N images instead")
    return p


def main() -> None:
    options = parser().parse_args()
    harness.one_thread()
    program, weights = load_vendor(options.folder)
    executor = ServerExecutor(program, weights)
    executor.prepare()
    cleartext = CleartextExecutor(program, weights)
    distinct = list(images(program, options.seed, DISTINCT))
    results: list[object] = [
        [values.tolist() for values in cleartext.run_integers(one).values()] for one in distinct
    ]
    count = options.memory or options.images
    tensors = [distinct[number % DISTINCT] for number in range(count)]
    with serving(executor, ServerOptions(sessions=options.sessions)) as (port, server):
        if options.memory:
            rows = memory(program, port, server, tensors)
        else:
            good = together(program, port, ["good"] * len(KINDS), tensors, results)
            mixed = together(program, port, KINDS, tensors, results)
            rows = [r | {"others": "good"} for r in good] + [r | {"others": "mixed"} for r in mixed]
            for row in rows:
                wanted = count if row["kind"] in ("good", "slow") else 1
                harness.require(row["images"] == wanted, f"{row}")
    for row in rows:
        harness.say(str(row))
    about: Row = {"benchmark": "sessions", "model": program.name, "sessions": options.sessions}
    about |= harness.environment()
    harness.write_rows([about | row for row in rows], options.json)


if __name__ == "__main__":
    command_line.run(main)
