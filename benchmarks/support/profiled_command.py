"""One party with stop-watches: runs the `moiety` command in this process and writes where its runs
spent their time.

    python -m benchmarks.support.profiled_command FILE serve DIR --listen 127.0.0.1:0 ...

Nothing in the product knows of this: the kernels, the matrix product, the channel and the per-step
measurement are wrapped from outside, then the command runs as always. For one kernel thread per
party. `benchmarks.inference --profile` starts both parties so.

A server's runs are those of its sessions, each a process of its own; every process adds its runs to
FILE, a line of JSON each, when it ends.

Kernels, products, Python and sockets are CPU time of the thread, so that other work on the machine
does not count; what remains of the wall clock is waiting for the peer, or time when the thread was
ready and not on the core.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from moiety.protocols import kernels
from moiety.protocols.session import Session
from moiety.runtime.cli import app
from moiety.runtime.party.metering import RunCost
from moiety.runtime.party.transport import TcpChannel


@dataclass
class Parts:
    """Seconds of one party in the steps of one kind; all but `wall` add up to it.

    kernel: compiled kernels; blas: matrix products; python: everything else that this thread
    computed; socket: copying to and from the network, writer thread included; waiting: blocked
    until the peer's bytes came; off_core: ready, but something else had the core.
    """

    wall: float = 0.0
    kernel: float = 0.0
    blas: float = 0.0
    python: float = 0.0
    socket: float = 0.0
    waiting: float = 0.0
    off_core: float = 0.0

    def add(self, other: Parts) -> None:
        for name, seconds in asdict(other).items():
            setattr(self, name, getattr(self, name) + seconds)


@dataclass
class Profile:
    """One run. `kernels`: name -> (CPU seconds, calls)."""

    by_kind: dict[str, Parts] = field(default_factory=dict)
    kernels: dict[str, tuple[float, int]] = field(default_factory=dict)


class Watch:
    """The stop-watches of one party. `step` opens a step on the thread that runs it; the others
    count only there.
    """

    def __init__(self) -> None:
        self.runs: list[Profile] = []
        self._owner: int | None = None
        self._inside = False
        self._spent: dict[str, float] = {}
        self._blocked = 0.0
        self._writer = 0.0

    @contextmanager
    def step(self, kind: str) -> Iterator[None]:
        self._owner, self._spent, self._blocked = threading.get_ident(), {}, 0.0
        wall, cpu, writer = time.perf_counter(), time.thread_time(), self._writer
        try:
            yield
        finally:
            wall, cpu, writer = (
                time.perf_counter() - wall,
                time.thread_time() - cpu,
                self._writer - writer,
            )
            self._owner = None
            kernel, blas, socket = (
                self._spent.get(name, 0.0) for name in ("kernel", "blas", "socket")
            )
            parts = Parts(
                wall=wall,
                kernel=kernel,
                blas=blas,
                python=cpu - kernel - blas - socket,
                socket=socket + writer,
                waiting=self._blocked,
                off_core=wall - cpu - writer - self._blocked,
            )
            self.runs[-1].by_kind.setdefault(kind, Parts()).add(parts)

    def around(self, part: str, function: Callable[..., Any], name: str = "") -> Callable[..., Any]:
        """`function`, its CPU time counted as `part`; what it calls in turn belongs to it."""

        def timed(*arguments: Any, **named: Any) -> Any:
            if self._inside or threading.get_ident() != self._owner:
                return function(*arguments, **named)
            self._inside = True
            wall, cpu, writer = time.perf_counter(), time.thread_time(), self._writer
            try:
                return function(*arguments, **named)
            finally:
                cpu = time.thread_time() - cpu
                self._inside = False
                self._spent[part] = self._spent.get(part, 0.0) + cpu
                if part == "socket":
                    # The writer thread shares the core: what it computes meanwhile is no waiting.
                    self._blocked += time.perf_counter() - wall - cpu - (self._writer - writer)
                else:
                    seconds, calls = self.runs[-1].kernels.get(name, (0.0, 0))
                    self.runs[-1].kernels[name] = (seconds + cpu, calls + 1)

        return timed

    def writing(self, function: Callable[..., None]) -> Callable[..., None]:
        """The writer thread's function, its CPU time counted for whatever step is open."""

        def timed(*arguments: Any) -> None:
            cpu = time.thread_time()
            try:
                function(*arguments)
            finally:
                self._writer += time.thread_time() - cpu

        return timed

    def save(self, file: Path) -> None:
        """Added to what other processes have saved there."""
        with file.open("a") as out:
            out.writelines(f"{json.dumps(asdict(run))}\n" for run in self.runs)

    def install(self) -> None:
        """Wrap the product's functions, for the life of this process."""
        measure, last = RunCost.measure, None

        @contextmanager
        def measured(cost: RunCost, session: Session, kind: str, label: str) -> Iterator[None]:
            nonlocal last
            if cost is not last:
                last = cost
                self.runs.append(Profile())
            with measure(cost, session, kind, label), self.step(kind):
                yield

        wrapped: list[tuple[object, str, object]] = [
            (kernels, name, self.around("kernel", getattr(kernels, name), name))
            for name in kernels.kernel_names()
        ]
        wrapped += [
            (TcpChannel, name, self.around("socket", getattr(TcpChannel, name)))
            for name in ("_read", "_write", "flush")
        ]
        wrapped += [
            (np, "matmul", self.around("blas", np.matmul, "matmul")),
            (TcpChannel, "_put_bytes", self.writing(TcpChannel._put_bytes)),
            (RunCost, "measure", measured),
        ]
        for owner, name, function in wrapped:
            setattr(owner, name, function)


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(
            "usage: python -m benchmarks.support.profiled_command FILE COMMAND...\n\n"
            + (__doc__ or "")
        )
    file = Path(sys.argv.pop(1))
    file.write_text("")
    watch, end = Watch(), os._exit
    watch.install()

    def ended(status: int) -> NoReturn:
        """A session's end, which runs no `finally` of this one."""
        watch.save(file)
        end(status)

    os._exit = ended
    try:
        app.main()  # the command's module is imported now, and finds the wrapped functions
    finally:
        watch.save(file)


if __name__ == "__main__":
    main()
