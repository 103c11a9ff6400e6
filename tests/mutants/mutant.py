"""A deliberate break of the code, and the test that must notice it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

RECORDED = frozenset(
    {"test_wire_bytes_match_the_baseline", "test_wire_bytes_and_outputs_match_the_baseline"}
)
"""Tests that compare digests of what was sent, which any change of bytes alters and a command
writes anew: that they fail says nothing about why, so no mutant counts as caught by them."""


@dataclass(frozen=True)
class Mutant:
    """`old`, which occurs once in `file` (from the tree's root), becomes `new`; then one of `tests`
    (pytest's node ids) fails by an assertion of its own or by an error that the code raises.

    `breaks` says what the change gives away, or lets pass, in one line.
    """

    name: str
    breaks: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    @property
    def native(self) -> bool:
        """Whether the compiled kernels must be built again."""
        return self.file.startswith("native/")

    def faults(self) -> list[str]:
        """What is wrong with this entry in the present tree, without running anything."""
        path = ROOT / self.file
        if not path.exists():
            return [f"{self.file} is not there"]
        found = path.read_text(encoding="utf-8").count(self.old)
        faults = [] if found == 1 else [f"its old text occurs {found} times in {self.file}"]
        if self.old == self.new:
            faults.append("it changes nothing")
        if not self.tests:
            faults.append("it names no test")
        for test in self.tests:
            file, _, name = test.partition("::")
            function = name.split("::")[-1].split("[")[0]
            if function in RECORDED:
                faults.append(f"{test} compares recorded digests")
            path = ROOT / file
            if not function or not path.exists() or f"def {function}(" not in path.read_text():
                faults.append(f"{test} is not there")
        return faults
