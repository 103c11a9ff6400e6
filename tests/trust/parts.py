"""The parts of `make trust`: what each claims, what decides it, and the document that says so."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
Judge = Callable[[], str | None]
"""What is missing, in words with the way to install it; None where nothing is."""


@dataclass(frozen=True)
class Part:
    """`command` exits 0 only if `claim` holds, and the last line that it prints on standard output
    says what it saw. Exit code 3 means that it could not be tried.

    document: the section that the claim supports, `file#heading` or `file`. seconds: after which
    the part has failed. wants: what must be there before it is begun. counts: what the numbers of
    the last line are of, where it does not say so.
    """

    name: str
    claim: str
    command: tuple[str, ...]
    document: str
    seconds: int
    wants: tuple[Judge, ...] = ()
    counts: str = ""

    def missing(self) -> str | None:
        """All that it lacks."""
        return "; ".join(filter(None, (judge() for judge in self.wants))) or None


def debian(program: str, package: str) -> Judge:
    """A program that Debian's package installs."""
    return lambda: (
        None
        if shutil.which(program)
        else f"{program} is not installed (Debian: apt-get install {package})"
    )


def library(module: str, extra: str) -> Judge:
    """A Python module of an extra."""
    return lambda: (
        None
        if importlib.util.find_spec(module)
        else f"{module} is not installed (pip install 'moiety[{extra}]')"
    )


def module(name: str, *arguments: str) -> tuple[str, ...]:
    """A module of this checkout as a command."""
    return (sys.executable, "-m", name, *arguments)


def pytest(*paths: str) -> tuple[str, ...]:
    """Tests as a command; pytest's last line is the summary."""
    options = ("-o", "addopts=", "-q", "-n", "0", "-p", "no:cacheprovider")
    return module("pytest", *options, *paths)


CLANG = debian("clang-14", "clang-14 libclang-rt-14-dev")
VALGRIND = debian("valgrind", "valgrind")

PARTS: Sequence[Part] = (
    Part(
        "mutants",
        "Each listed break of a protocol or a check makes the test fail that is named with it.",
        module("tests.mutants"),
        "docs/trust.md",
        600,
    ),
    Part(
        "views",
        "What a party receives is distributed alike whatever the other one puts in.",
        module("tests.views"),
        "docs/security.md#what-each-protocol-shows-its-parties",
        300,
    ),
    Part(
        "known answers",
        "Kernels and primitives give the published vectors.",
        pytest(
            "tests/protocols/test_known_answers.py", "tests/protocols/test_symmetric_kernels.py"
        ),
        "docs/security.md#parameters",
        120,
        counts="tests against published vectors",
    ),
    Part(
        "parameters",
        "Every lattice and code in use has 128 bits by formulas that agree with published figures.",
        module("benchmarks.security_estimate"),
        "docs/security.md#parameters",
        120,
    ),
    Part(
        "attacks",
        "What a deviating peer gains, and where checks stop it, is as the documents say.",
        pytest("tests/attacks"),
        "docs/security.md#what-a-compromised-peer-could-do",
        300,
        counts="tests of attacks and of the checks that end them",
    ),
    Part(
        "faults",
        "On a line that fails a session gives the right result or one clear error.",
        module("tests.faults"),
        "docs/operation.md",
        360,
    ),
    Part(
        "kills",
        "Parties killed at random moments use no prepared item twice, lose none, and go on.",
        module("tests.faults.kills"),
        "docs/security.md#things-that-must-happen-once",
        300,
    ),
    Part(
        "kills of commands",
        "Killed while they prepare or infer, client and server read no item twice, and go on.",
        module("tests.faults.prepared_kills"),
        "docs/security.md#things-that-must-happen-once",
        480,
    ),
    Part(
        "kills of studies",
        "A study whose parties are killed at random moments ends with the report of any other.",
        module("tests.faults.study_kills"),
        "docs/study.md#when-it-ends-early",
        240,
    ),
    Part(
        "native",
        "The compiled kernels keep to their memory and branch on no secret.",
        module("tests.native"),
        "docs/security.md#timing-and-constant-time",
        300,
        (CLANG, VALGRIND),
    ),
    Part(
        "fuzzing",
        "Every reader of foreign files and bytes refuses in words, for a minute of changed inputs.",
        module("tests.fuzz", "--seconds", "60"),
        "docs/trust.md",
        780,
        (library("atheris", "trust"),),
    ),
    Part(
        "claims",
        "Each test that SECURITY.md and docs/security.md, ahead, claims and trust.md name exists.",
        pytest("tests/project/test_claims.py"),
        "SECURITY.md",
        60,
        counts="names of tests in the five documents, each looked up",
    ),
    Part(
        "licences",
        "Every locked distribution has a licence that is allowed, and none is under the GPL.",
        module("tests.supply.licences"),
        "docs/dependencies.md",
        60,
    ),
    Part(
        "bill of materials",
        "The CycloneDX documents list the locked distributions, and are the same twice.",
        module("tests.supply.sbom", "--check"),
        "docs/dependencies.md",
        180,
        (library("cyclonedx_py", "trust"),),
    ),
    Part(
        "wheel",
        "Two builds in different folders and years give the same wheel, which runs an inference.",
        module("tests.supply.wheel", "--check"),
        "docs/dependencies.md",
        600,
        (library("auditwheel", "trust"),),
    ),
)
