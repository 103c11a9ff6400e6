"""Vendor and hospital as two processes of this machine: the commands `moiety serve` and
`moiety infer` over loopback TCP.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from moiety.protocols.errors import BadArtifact, NetworkFailure
from moiety.runtime.program.artifacts import program_file
from moiety.runtime.program.decoding import UNREADABLE
from moiety.runtime.results.record import Results

MOIETY = (sys.executable, "-m", "moiety.runtime.cli")
"""How the command begins; the same interpreter, whatever the PATH says."""


def run_both(folder: Path, picture: Path, output: Path) -> Results:
    """One image through both; the hospital sees the Program alone. Their logs go to our
    standard error. Raises `NetworkFailure`.
    """
    serve = [*MOIETY, "serve", str(folder), "--listen", "127.0.0.1:0", "--once"]
    server = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True)
    with ended(server):
        program = program_file(folder)
        infer = [*MOIETY, "infer", str(program), str(picture), "--connect", listening(server)]
        infer += ["-o", str(output)]
        code = subprocess.run(infer, stdout=subprocess.DEVNULL, check=False).returncode
        if code:
            raise NetworkFailure(
                f"the hospital's process ended with exit code {code}; its message is above"
            )
        server.wait(timeout=30)
    return read_results(output)


def listening(server: subprocess.Popen[str], log: Path | None = None) -> str:
    """Waits until a `moiety serve` takes connections; its address. Raises `NetworkFailure` when it
    ended before that, with the end of its log where that went to a file.
    """
    assert server.stdout is not None
    line = server.stdout.readline()
    if not line.startswith("listening "):
        code = server.wait()
        said = f":\n{log.read_text()[-2000:]}" if log else "; its message is above"
        raise NetworkFailure(f"the vendor's process ended with exit code {code}{said}")
    return line.removeprefix("listening ").strip()


@contextmanager
def ended(server: subprocess.Popen[str]) -> Iterator[None]:
    """On leaving, the process ends if it has not already."""
    try:
        yield
    finally:
        if server.poll() is None:
            server.terminate()
            server.wait(timeout=30)


def read_results(output: Path) -> Results:
    """The file that `moiety infer -o` wrote. Raises `BadArtifact`."""
    try:
        return msgspec.json.decode(output.read_bytes(), type=Results)
    except UNREADABLE as error:
        raise BadArtifact(f"{output}: not the results of a run: {error}") from None
