"""A process that runs tests in forks of itself, so that each run finds everything that is not ours
imported: half of a short run's time. Standard input has a line for each run, a JSON list of tests;
standard output a JSON list of pytest's exit code (-1: it hung) and what it printed.

It imports nothing of Moiety: what a fork imports is what stands in the tree then.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence

import pytest

PRELOADED = (
    "_pytest.pytester",
    "cryptography.hazmat.primitives.ciphers",
    "greenlet",
    "hypothesis.extra.numpy",
    "hypothesis.strategies",
    "msgspec",
    "nacl.bindings",
    "numpy",
    "onnx",
    "onnxruntime",
    "PIL.Image",
    "safetensors.numpy",
    "scipy.stats",
    "xdist",
)
SECONDS = 240
"""After which a run counts as hung."""
OPTIONS = ("-o", "addopts=", "-q", "-x", "-n", "0", "-p", "no:cacheprovider")


def run(tests: Sequence[str]) -> tuple[int, str]:
    """pytest in a fork: its exit code and what it printed."""
    with tempfile.TemporaryFile() as printed:
        _interrupts(signal.SIG_BLOCK)  # until it is known who is to be ended by them
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                os.setpgid(0, 0)
                _interrupts(signal.SIG_UNBLOCK)
                os.dup2(printed.fileno(), 1)
                os.dup2(printed.fileno(), 2)
                code = int(pytest.main([*OPTIONS, f"--timeout={SECONDS}", *tests]))
            finally:
                sys.stdout.flush()
                os._exit(code)
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)  # whoever of the two comes first
        try:
            _interrupts(signal.SIG_UNBLOCK)
            code = _ended(pid)
        except KeyboardInterrupt:
            _end(pid)
            raise
        printed.seek(0)
        return code, printed.read().decode("utf-8", "replace")


def _interrupts(how: int) -> None:
    signal.pthread_sigmask(how, {signal.SIGINT})


def _ended(pid: int) -> int:
    until = time.monotonic() + SECONDS + 30
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    _end(pid)
    return -1


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def main() -> None:
    """To the end of standard input, or to SIGINT."""
    with contextlib.suppress(KeyboardInterrupt):
        _serve()


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for name in PRELOADED:
        importlib.import_module(name)
    for line in sys.stdin:
        answers.write(json.dumps(run(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
