"""Which twin of the kernels runs: the compiled one here, and the reference one in
a second run of the same tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from moiety.protocols import kernels

ROOT = Path(__file__).resolve().parents[2]
ASKED = os.environ.get("MOIETY_KERNELS")
# What computes with kernels: every protocol, the linear layers, and
# whole networks between two parties.
FILES = (
    "protocols/test_base_ot.py",
    "protocols/test_costs.py",
    "protocols/test_linear.py",
    "protocols/test_protocols.py",
    "protocols/test_rlwe.py",
    "protocols/test_silent.py",
    "runtime/test_runtime.py",
)


def processor_has_aes() -> bool:
    info = Path("/proc/cpuinfo")
    return not info.exists() or " aes" in info.read_text()


@pytest.mark.skipif(ASKED is not None, reason="MOIETY_KERNELS chooses the kernels")
@pytest.mark.skipif(not processor_has_aes(), reason="this processor has no AES instructions")
def test_the_compiled_kernels_run() -> None:
    assert kernels.backend_name() == "native"


def test_the_asked_kernels_run() -> None:
    assert ASKED in (None, kernels.backend_name())


@pytest.mark.skipif(ASKED == "reference", reason="this is the reference run")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("file", FILES)
def test_reference_kernels_pass(file: str) -> None:
    """The same file with MOIETY_KERNELS=reference, which the package obeys at import."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-o",
        "addopts=",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        f"tests/{file}",
    ]
    environment = os.environ | {"MOIETY_KERNELS": "reference"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
