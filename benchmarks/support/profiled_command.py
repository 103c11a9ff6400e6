"""One party with stop-watches: runs the `moiety` command in this process and writes where its runs
spent their time.

    python -m benchmarks.support.profiled_command FILE serve DIR --listen 127.0.0.1:0 ...

Nothing in the product knows of this: the kernels, the channel and the per-step measurement are
wrapped from outside, then the command runs as always. For one kernel thread per
party. `benchmarks.inference --profile` starts both parties so.

A server's runs are those of its sessions, each a process of its own; every process adds its runs to
FILE, a line of JSON each, when it ends.

Kernels, Python and sockets are CPU time of the thread, so that other work on the machine
does not count; what remains of the wall clock is waiting for the peer, or time when the thread was
ready and not on the core.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from moiety.protocols import kernels
from moiety.runtime.cli import app
from moiety.runtime.party.metering import StepWatch
from moiety.runtime.party.transport import TcpChannel


@dataclass
class Parts:
    """Seconds of one party in the steps of one kind; all but `wall` add up to it.

    kernel: compiled kernels; python: everything else that this thread
    computed; socket: copying to and from the network, writer thread included; waiting: blocked
    until the peer's bytes came; off_core: ready, but something else had the core.
    """

    wall: float = 0.0
    kernel: float = 0.0
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
    """The stop-watches of one party. `begin` opens a step on the thread that runs it; the others
    count only there.
    """

    def __init__(self) -> None:
        self.runs: list[Profile] = []
        self._owner: int | None = None
        self._inside = False
        self._spent: dict[str, float] = {}
        self._kernels: dict[str, tuple[float, int]] = {}
        self._blocked = 0.0
        self._writer = 0.0
        self._start = (0.0, 0.0, 0.0)

    def begin(self) -> None:
        """A step of this thread's begins."""
        self._owner, self._spent, self._blocked = threading.get_ident(), {}, 0.0
        self._kernels = {}
        self._start = time.perf_counter(), time.thread_time(), self._writer

    def end(self, kind: str) -> None:
        """It ends; what is computed until the next one begins counts nowhere."""
        self._owner = None
        now = time.perf_counter(), time.thread_time(), self._writer
        wall, cpu, writer = (after - before for after, before in zip(now, self._start, strict=True))
        kernel, socket = (self._spent.get(name, 0.0) for name in ("kernel", "socket"))
        parts = Parts(
            wall=wall,
            kernel=kernel,
            python=cpu - kernel - socket,
            socket=socket + writer,
            waiting=self._blocked,
            off_core=wall - cpu - writer - self._blocked,
        )
        run = self.runs[-1]
        run.by_kind.setdefault(kind, Parts()).add(parts)
        for name, (seconds, calls) in self._kernels.items():
            before = run.kernels.get(name, (0.0, 0))
            run.kernels[name] = before[0] + seconds, before[1] + calls

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
                    seconds, calls = self._kernels.get(name, (0.0, 0))
                    self._kernels[name] = (seconds + cpu, calls + 1)

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
        start, lap = StepWatch.__init__, StepWatch.lap

        def started(watch: StepWatch, *arguments: Any) -> None:
            start(watch, *arguments)
            self.runs.append(Profile())
            self.begin()

        def lapped(watch: StepWatch, kind: str) -> None:
            self.end(kind)
            lap(watch, kind)
            self.begin()

        wrapped: list[tuple[object, str, object]] = [
            (kernels, name, self.around("kernel", getattr(kernels, name), name))
            for name in kernels.kernel_names()
        ]
        wrapped += [
            (TcpChannel, name, self.around("socket", getattr(TcpChannel, name)))
            for name in ("_read", "_write", "flush")
        ]
        wrapped += [
            (TcpChannel, "_put_bytes", self.writing(TcpChannel._put_bytes)),
            (StepWatch, "__init__", started),
            (StepWatch, "lap", lapped),
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
