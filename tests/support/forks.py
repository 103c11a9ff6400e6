"""Modules run as programs (`python -m`) in forks of one process, which has imported what is not
ours: two thirds of the time that a command takes to begin. Nothing of Moiety is imported there, so
that a command begins as it does for a user: what it imports, and when, is its own affair.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

PRELOADED = (
    "OpenSSL.SSL",
    "PIL.Image",
    "cryptography.hazmat.primitives.ciphers",
    "cryptography.x509",
    "greenlet",
    "msgspec",
    "nacl.bindings",
    "networkx",
    "numpy",
    "onnx",
    "onnxruntime",
    "prometheus_client",
    "rich.markdown",
    "rich.progress",
    "safetensors.numpy",
    "service_identity",
    "threadpoolctl",
    "typer.rich_utils",
)
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([*PRELOADED])


def run_module(
    module: str, arguments: Sequence[str], environment: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` of `python -m module ...` with captured output, which may time out. A
    signal that ended it is the negative exit code; what is left to do at exit is not done.
    """
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder, name) for name in ("stdout", "stderr")]
        process = _FORKS.Process(
            target=_begin, args=(module, [*arguments], {**environment}, [*map(str, streams)])
        )
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired([module, *arguments], timeout)
        stdout, stderr = (stream.read_text(encoding="utf-8") for stream in streams)
        return subprocess.CompletedProcess([module, *arguments], process.exitcode, stdout, stderr)


def _begin(
    module: str, arguments: list[str], environment: dict[str, str], streams: list[str]
) -> None:
    """In the fork."""
    for number, stream in enumerate(streams, 1):
        file = os.open(stream, os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)
