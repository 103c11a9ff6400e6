"""What all benchmarks share: a description of machine and software, rows of JSON, the rule
"verify, then time".

A row holds raw figures of one configuration: every timed run, and medians beside them. Rows of
different machines, versions or kernel back ends are told apart by fields, never by file names.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from moiety.protocols import kernels
from moiety.protocols.errors import MoietyError

ROOT = Path(__file__).resolve().parents[2]
Row = dict[str, Any]


class VerificationFailed(MoietyError):
    """A benchmark computed a wrong result; nothing was timed."""

    exit_code = 2


def machine() -> Row:
    """Processor, cores usable here, memory (bytes), operating system, and the instruction sets that
    the kernels can use.
    """
    model, flags = platform.processor() or platform.machine(), set[str]()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                model = value.strip()
            elif key.strip() == "flags":
                flags = set(value.split())
    wanted = ("aes", "vaes", "avx2", "avx512f", "avx512ifma", "gfni", "vpclmulqdq")
    return {
        "cpu": model,
        "architecture": platform.machine(),
        "cores": len(cores()),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "instructions": [name for name in wanted if name in flags],
    }


def versions() -> Row:
    """Moiety (with the commit of the checkout, `+` for uncommitted changes), Python and the
    libraries that do the work.
    """
    found: Row = {
        "python": platform.python_version(),
        "moiety": metadata.version("moiety"),
        "commit": commit_of(ROOT),
    }
    for name in ("numpy", "onnxruntime", "onnx"):
        found[name] = metadata.version(name)
    return found


def commit_of(folder: Path) -> str | None:
    """Of the checkout that a folder lies in, `+` for uncommitted changes; None where there is
    none.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + (
            "+" if git("status", "--porcelain", "-uno") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return None


def environment() -> Row:
    """The fields that every row starts with."""
    return {"machine": machine(), "versions": versions(), "kernels_backend": kernels.backend_name()}


def cores() -> list[int]:
    """The processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def pin(party: int, pid: int = 0) -> None:
    """Give a process (this one by default) one core of its own, the first for party 0, the second
    for party 1, where the system can; best before it has started threads.
    """
    available = cores()
    if hasattr(os, "sched_setaffinity") and len(available) > 1:
        os.sched_setaffinity(pid, {available[party % len(available)]})


def one_thread() -> None:
    """Make BLAS and OpenMP of this process and of its children use one thread: as the peers were
    measured, one core per party.
    """
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    threadpool_limits(1)


def high_water(pid: int | None = None) -> int:
    """Largest resident size so far of a process (this one by default), bytes; 0 where the system
    does not tell.

    Not getrusage: there, a new process starts with the peak of the one that started it.
    """
    try:
        status = Path(f"/proc/{pid or 'self'}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s*(\d+) kB", status, re.M)
    return 1024 * int(found[1]) if found else 0


class PeakMemory:
    """Follows another process's high-water mark until it ends or `stop` is called."""

    def __init__(self, pid: int) -> None:
        self._pid, self._peak, self._done = pid, 0, threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        while not self._done.wait(0.1) and (found := high_water(self._pid)):
            self._peak = found

    def stop(self) -> int:
        """Bytes; 0 where the system does not tell."""
        self._peak = max(self._peak, high_water(self._pid))
        self._done.set()
        self._thread.join()
        return self._peak


def require(holds: bool, what: str) -> None:
    """Verification: raise `VerificationFailed` with `what` went wrong unless `holds`."""
    if not holds:
        raise VerificationFailed(f"wrong result, nothing was timed: {what}")


def write_rows(rows: Sequence[Row], path: Path | None) -> None:
    """Rows as a JSON list to `path`, or one per line to standard output when None."""
    if path is None:
        for row in rows:
            print(json.dumps(row))
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(list(rows), indent=1) + "\n")


def say(text: str) -> None:
    """Progress, to standard error: standard output belongs to the rows."""
    print(text, file=sys.stderr, flush=True)
