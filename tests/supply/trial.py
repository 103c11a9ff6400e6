"""Try a wheel: in an environment with nothing else but what a party needs, two parties run."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import venv
from pathlib import Path

import msgspec
import numpy as np

from moiety.protocols.arrays import F32
from moiety.runtime.program import artifacts
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.results.record import Results
from tests.supply.declared import file_of
from tests.support.runnable import save_small

SECONDS = 120
KERNELS = "from moiety.protocols import kernels; print(kernels.backend_name())"


def trial(wheel: Path, folder: Path) -> str:
    """What was seen, in words. Raises CalledProcessError, or AssertionError for a wrong result."""
    venv.create(folder, with_pip=True)
    pip = [str(folder / "bin" / "pip"), "install", "-q"]
    if locked():
        subprocess.run(
            [*pip, "--require-hashes", "--only-binary", ":all:", "-r", str(file_of("party"))],
            check=True,
        )
        subprocess.run([*pip, "--no-deps", str(wheel)], check=True)
    else:
        subprocess.run([*pip, str(wheel)], check=True)
    command = str(folder / "bin" / "moiety")
    version = output([command, "--version"], folder)
    return f"{version} from the base install alone: {inference(command, folder)}"


def locked() -> bool:
    """Whether the lock files are for this Python."""
    here = (platform.python_implementation(), sys.version_info[:2], platform.machine())
    return here == ("CPython", (3, 11), "x86_64") and sys.platform == "linux"


def clean() -> dict[str, str]:
    """The environment without what would let the checkout's code in."""
    return {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}


def output(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=clean(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    return done.stdout.strip()


def inference(command: str, folder: Path) -> str:
    """A small Program between two processes of the installed command, on its compiled kernels, held
    against the cleartext executor of this checkout.
    """
    compiled = folder / "compiled"
    save_small(compiled)
    image = np.linspace(-1, 1, 128, dtype=np.float32).reshape(2, 8, 8)
    np.save(folder / "x.npy", image)
    kernels = output([str(folder / "bin" / "python"), "-c", KERNELS], folder)
    assert kernels == "native", f"the wheel's kernels are {kernels}"
    serve = [command, "serve", "compiled", "--listen", "127.0.0.1:0", "--once", "--insecure"]
    with subprocess.Popen(
        serve, cwd=folder, env=clean(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().removeprefix("listening ").strip()
            infer = [command, "infer", "compiled", "x.npy", "--connect", address, "--insecure"]
            output([*infer, "-o", "r.json"], folder)
        finally:
            server.terminate()
    return compared(folder, image)


def compared(folder: Path, image: F32) -> str:
    """Bit for bit. Raises AssertionError."""
    expected = CleartextExecutor(*artifacts.load_vendor(folder / "compiled")).run(image)
    results = msgspec.json.decode((folder / "r.json").read_bytes(), type=Results)
    (found,) = results.images
    for revealed in found.revealed:
        values = np.asarray(revealed.values).reshape(revealed.shape)
        assert np.array_equal(values, expected[revealed.name]), f"{revealed.name} is wrong"
    assert len(found.revealed) == len(expected)
    return f"{len(expected)} results equal to the cleartext executor's"
