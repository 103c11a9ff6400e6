"""No branch and no address of a kernel depends on a secret: secrets are undefined memory to a tool
that reports both.

`narrow`: valgrind's memcheck, over the very loops that parties run; it knows instructions up to
AVX2. `wide`: clang's MemorySanitizer, over the same sources for AVX-512 and VAES, as clang compiles
them. Neither sees an instruction whose own time depends on its operands, as division's does, nor
what the Python side does with arguments before a loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from moiety.protocols import kernels
from tests.native.builds import MEMORY, RELEASE, Failed, Passed, built, said, tool
from tests.native.secrets import SECRETS

NARROW = ("aesni", "portable", "avx2")
WIDE = ("vaes256", "vaes512", "avx512")


@dataclass(frozen=True)
class Row:
    """What was reported while a kernel ran."""

    kernel: str
    isa: str
    reports: int
    secrets: str


def narrow(folder: Path) -> Passed:
    """Raises Missing or Failed."""
    valgrind = tool("valgrind")
    log = f"--log-file={folder / 'memcheck.log'}"
    command = (valgrind, "--quiet", "--error-limit=no", log)
    return watched("memcheck", [*command, built(RELEASE, folder) / "constant_time"], NARROW)


def wide(folder: Path) -> Passed:
    """Raises Missing or Failed."""
    return watched("MemorySanitizer", [built(MEMORY, folder) / "constant_time"], WIDE)


def watched(name: str, command: Sequence[object], isas: Sequence[str]) -> Passed:
    """The planted leaks are reported, and nothing else. Raises Failed."""
    # Reports are counted by the program; the sanitizer is to make nothing else of them.
    quiet = {"MSAN_OPTIONS": "exit_code=0"}
    planted = rows(said(*command, "--planted", env=quiet))
    if blind := [row.kernel for row in planted if not row.reports]:
        raise Failed(f"{name} does not report {', '.join(blind)}: it sees nothing")
    seen = rows(said(*command, *isas, env=quiet))
    check(seen, set(kernels.kernel_names()))
    absent = sorted(set(isas) - {row.isa for row in seen})
    return Passed(
        f"{len({row.kernel for row in seen})} kernels, {len(seen)} loops: no branch or address "
        f"depends on a secret ({name}, {', '.join(sorted({row.isa for row in seen}))}); "
        f"{len(planted)} of {len(planted)} planted leaks reported"
        + (f"; not on this processor: {', '.join(absent)}" if absent else ""),
        tuple(f"{row.kernel:17} {row.isa:9} secret: {row.secrets}" for row in seen),
    )


def rows(printed: str) -> list[Row]:
    """The lines of `cpp/constant_time.cpp`."""
    words = [line.split() for line in printed.splitlines()]
    return [Row(kernel, isa, int(found), secrets) for kernel, isa, found, secrets in words]


def check(seen: list[Row], names: set[str]) -> None:
    """Every kernel was watched with all its secrets, and nothing was reported."""
    if missing := names - {row.kernel for row in seen}:
        raise Failed(f"not called: {', '.join(sorted(missing))}; add a case to tests/native/cpp")
    for row in seen:
        if row.secrets != SECRETS.get(row.kernel):
            raise Failed(f"{row.kernel} was called with the secrets {row.secrets}: see secrets.py")
    if leaking := [f"{row.kernel} ({row.isa})" for row in seen if row.reports]:
        raise Failed(f"depends on a secret: {', '.join(leaking)}")
