"""The command line as its users meet it: processes, exit codes, two streams."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from moiety.runtime.program.artifacts import program_file
from tests.support.forks import run_module

MODULE = "moiety.runtime.cli"
COMMAND = [sys.executable, "-m", MODULE]
COLUMNS = 200
ENVIRONMENT = {**os.environ, "COLUMNS": str(COLUMNS), "NO_COLOR": "1"}
MANY = 500
"""Images in a run that is not meant to end."""


@dataclass(frozen=True)
class Compiled:
    """A compiled model on disk and what it was made from."""

    model: Path
    folder: Path
    pictures: Path

    @property
    def public(self) -> Path:
        """The file that the hospital gets."""
        return program_file(self.folder)


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str

    def check(self) -> Done:
        assert self.code == 0, self.stderr
        return self

    def refused(self, code: int, *messages: str) -> Done:
        """It ended with `code` and one clear error that contains `messages`, and no traceback."""
        assert self.code == code, f"exit code {self.code}, expected {code}\n{self.stderr}"
        errors = [line for line in self.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, self.stderr
        assert "Traceback" not in self.stderr
        for message in messages:
            assert message in errors[0], f"{message!r} is not in {errors[0]!r}"
        return self


def moiety(*arguments: object, timeout: float = 100.0, columns: int = COLUMNS) -> Done:
    """To its end, in a fork (tests/support/forks)."""
    environment = ENVIRONMENT | {"COLUMNS": str(columns)}
    done = run_module(MODULE, [*map(str, arguments)], environment, timeout)
    return Done(done.returncode, done.stdout, done.stderr)


@dataclass
class ServerProcess:
    """A running `moiety serve`; `log` grows as it writes."""

    process: subprocess.Popen[str]
    address: str
    log: list[str] = field(default_factory=list)

    def infer(self, *arguments: object, columns: int = COLUMNS) -> Done:
        return moiety("infer", *arguments, "--connect", self.address, columns=columns)

    def end(self, number: signal.Signals = signal.SIGTERM) -> Done:
        """Signal it and wait; its whole log."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> Done:
        code = self.process.wait(timeout=30)
        self._reader.join(timeout=10)
        return Done(code, "", "".join(self.log))

    def start_infer(self, public: Path, images: Path, output: Path) -> subprocess.Popen[str]:
        """A client that is not waited for; what it says comes on its standard error."""
        arguments = ["infer", str(public), str(images), "--connect", self.address, "--retries", "0"]
        return subprocess.Popen(
            [*COMMAND, *arguments, "-o", str(output)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )

    def __post_init__(self) -> None:
        assert self.process.stderr is not None
        stream = self.process.stderr
        self._reader = threading.Thread(target=lambda: self.log.extend(stream), daemon=True)
        self._reader.start()


@contextmanager
def serving(folder: Path, *options: object) -> Iterator[ServerProcess]:
    arguments = [*COMMAND, "serve", str(folder), "--listen", "127.0.0.1:0", *map(str, options)]
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    assert process.stdout is not None
    assert process.stderr is not None
    running = None
    try:
        line = process.stdout.readline()
        assert line.startswith("listening "), process.stderr.read()
        running = ServerProcess(process, line.split()[1])
        yield running
    except BaseException:
        # pytest shows what was printed when a test fails, and the server's log is what explains it.
        print("".join(running.log) if running else "the server did not start")
        raise
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(timeout=10)


def many_images(server: ServerProcess, compiled: Compiled, output: Path) -> subprocess.Popen[str]:
    """A client with far more images than a test waits for; returns when its first is done."""
    listing = output.parent / "many.csv"
    listing.write_text("file\n" + f"{compiled.pictures / '0.png'}\n" * MANY)
    process = server.start_infer(compiled.public, listing, output)
    assert process.stderr is not None
    # A slow machine says how far the image is before it says that the image is done.
    assert any(line.startswith(f"1 of {MANY}: ") for line in process.stderr)
    return process
