"""Memory that a run has freed."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

from moiety.runtime.party.memory import keep_freed

FAULTS = """
import resource, numpy
from moiety.runtime.party.memory import keep_freed
{call}
def use():
    return [numpy.ones(1 << 20, numpy.uint8) for _ in range(16)]
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(call: str) -> int:
    """Pages that a fresh process maps while it makes and frees large arrays."""
    command = [sys.executable, "-c", FAULTS.format(call=call)]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc's")
def test_freed_memory_is_used_again() -> None:
    assert faults("keep_freed()") < faults("") / 10


def test_other_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    keep_freed()
