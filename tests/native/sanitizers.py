"""The compiled kernels under ASan and UBSan: twin tests, and calls with wrong arguments."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.mutants.tree import Tree
from tests.native.builds import SANITIZED, Failed, Passed, built, said, tool

TESTS = tuple(
    f"tests/protocols/test_{name}.py"
    for name in (
        "kernel_arguments",
        "symmetric_kernels",
        "masked_kernels",
        "silent_kernels",
        "rlwe_kernels",
        "pool",
    )
)
OPTIONS = {
    # CPython does not free everything, and a size that cannot be had is an answer to test.
    "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=8192",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "OPENBLAS_NUM_THREADS": "1",
}
REPORTS = {"overflow": "heap-buffer-overflow", "shift": "shift exponent"}
"""Of the planted faults."""


def run(folder: Path) -> Passed:
    """Raises Missing or Failed."""
    tree = instrumented(folder)
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", "-q", "-x", "-n", "0"]
    code, printed = python(tree, [*command, "-p", "no:cacheprovider", *TESTS])
    if code or " passed" not in printed:
        raise Failed(printed[-6000:])
    counted = printed.splitlines()[-1].partition(" in ")[0]
    return Passed(f"{counted} under ASan and UBSan, no report; 2 of 2 planted faults reported")


def instrumented(folder: Path) -> Tree:
    """A copy of the tree whose compiled kernels are instrumented; raises Missing or Failed."""
    made = built(SANITIZED, folder)
    for fault, report in REPORTS.items():
        program = [str(made / "planted_faults"), fault]
        done = subprocess.run(program, capture_output=True, text=True, check=False)
        if not done.returncode or report not in done.stderr:
            raise Failed(f"the planted {fault} is not reported: the sanitizers see nothing")
    shutil.rmtree(folder / "tree", ignore_errors=True)
    tree = Tree(folder / "tree")
    shutil.copy(next(made.glob("_native*.so")), tree.module)
    return tree


def python(tree: Tree, command: list[str]) -> tuple[int, str]:
    """Exit code and output of a command that loads the instrumented module of this tree."""
    compiler = tool("g++")
    libraries = [
        said(compiler, f"-print-file-name={library}").strip()
        for library in ("libasan.so", "libstdc++.so")
    ]
    done = subprocess.run(
        command,
        cwd=tree.folder,
        env={
            **os.environ,
            **OPTIONS,
            "LD_PRELOAD": " ".join(libraries),
            "PYTHONPATH": str(tree.folder),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    return done.returncode, done.stdout
