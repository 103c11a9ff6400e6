"""Building the kernels with a tool's instrumentation, and the programs of `cpp`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Missing(Exception):
    """A tool that is not installed: its part is not run, and so not passed."""


@dataclass(frozen=True)
class Passed:
    """A part whose claim holds: the sum of what was seen, and what was seen, a line each."""

    summary: str
    seen: tuple[str, ...] = ()


class Failed(Exception):
    """A claim that does not hold, in the words of the tool."""


@dataclass(frozen=True)
class Build:
    """One configuration of CMakeLists.txt; `targets` are built in one go."""

    name: str
    compilers: tuple[str, ...]
    flags: str
    optimise: str
    targets: tuple[str, ...]
    link: str = ""
    options: str = ""


RELEASE = Build("release", ("g++",), "-g1", "-O3", ("constant_time", "timing"))
"""The compiler and options of the package: the very loops that parties run."""
SANITIZED = Build(
    "sanitized",
    ("g++",),
    "-g1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer",
    "-O1",
    ("_native", "planted_faults"),
)
CLANGS = ("clang++", *(f"clang++-{version}" for version in range(21, 13, -1)))
FUZZED = Build(
    "fuzzed",
    CLANGS,
    "-g1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all",
    "-O1",
    ("fuzz_streams", "fuzz_residues"),
    "-fsanitize=fuzzer",
)
MEMORY = Build(
    "memory",
    CLANGS,
    "-g1 -fsanitize=memory -fsanitize-recover=memory",
    "-O1",
    ("constant_time",),
    options=f"-include;{ROOT / 'tests/native/cpp/watched_intrinsics.hpp'}",
)


def tool(*names: str) -> str:
    """The first of these programs that is there; raises Missing."""
    for name in names:
        beside = Path(sys.executable).with_name(name)  # a wheel's
        found = str(beside) if beside.exists() else shutil.which(name)
        if found:
            return found
    raise Missing(f"{names[0]} is not installed")


def built(build: Build, folder: Path) -> Path:
    """The folder with the targets, made where it is not there. Raises Missing or Failed."""
    compiler, cmake = tool(*build.compilers), tool("cmake")
    into = folder / build.name
    options = [
        "-DCMAKE_BUILD_TYPE=None",
        "-DMOIETY_HARNESS=ON",
        f"-DCMAKE_CXX_COMPILER={compiler}",
        f"-DCMAKE_CXX_FLAGS={build.flags}",
        f"-DMOIETY_OPTIMIZE={build.optimise}",
        f"-DMOIETY_PROGRAM_LINK={build.link}",
        f"-DMOIETY_PROGRAM_OPTIONS={build.options}",
        f"-DPython_EXECUTABLE={sys.executable}",
    ]
    said(cmake, "-S", ROOT, "-B", into, *options)
    said(cmake, "--build", into, "--parallel", "--target", *build.targets)
    return into


def said(*command: object, env: dict[str, str] | None = None, seconds: float = 600) -> str:
    """Standard output of a command that must succeed; raises Failed with what it printed."""
    try:
        done = subprocess.run(
            [str(word) for word in command],
            env={**os.environ, **(env or {})},
            cwd=ROOT,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{command[0]} has not ended after {seconds:.0f} s") from None
    if done.returncode:
        raise Failed(f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}\n{command[0]} failed")
    return done.stdout
