"""dudect: whether a call's time tells zero secrets from random ones, by Welch's t-test.

It sees what this processor does, on all sets of instructions, the widest too. It sees no difference
of means below the one it prints, nor what only other values of secrets, a cold cache or another
processor would show. A lookup in a table that lies in the first-level cache is not seen, nor is the
planted one: that is what memcheck is for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from moiety.protocols import kernels
from tests.native.builds import RELEASE, Failed, Passed, built, said

CALLS = 20_000
PLANTED = ("planted_branch", "planted_steps")
"""What must be seen: an early exit, and three steps in a hundred."""


@dataclass(frozen=True)
class Row:
    """Welch's t of a kernel, and in nanoseconds of a call the difference of means, from which on it
    counts, and the mean.
    """

    kernel: str
    isa: str
    t: float
    difference: float
    visible: float
    mean: float

    @property
    def differs(self) -> bool:
        """Whether time tells the classes apart."""
        return abs(self.difference) > self.visible


def run(folder: Path) -> Passed:
    """Raises Missing or Failed."""
    program = built(RELEASE, folder) / "timing"
    planted = {row.kernel: row for row in rows(said(program, "--planted", CALLS))}
    if blind := [name for name in PLANTED if not planted[name].differs]:
        raise Failed(f"not seen: {', '.join(blind)}; is the machine too busy to measure?")
    seen = rows(said(program, CALLS))
    if missing := set(kernels.kernel_names()) - {row.kernel for row in seen}:
        raise Failed(f"not called: {', '.join(sorted(missing))}")
    if leaking := [words(row) for row in seen if row.differs]:
        raise Failed("time depends on secrets:\n  " + "\n  ".join(leaking))
    visible = sorted(row.visible / row.mean for row in seen)
    return Passed(
        f"{len(seen)} loops, {CALLS} times each: zero and random secrets take the same time; "
        f"{visible[len(visible) // 2]:.1%} of a call would be seen in half of them, "
        f"{visible[-1]:.1%} in all; {len(PLANTED)} of {len(PLANTED)} planted leaks seen",
        tuple(words(row) for row in seen),
    )


def words(row: Row) -> str:
    """A line of the report."""
    size = f"{row.difference:7.3f} ns of {row.mean:7.1f}; {row.visible:6.3f} would be seen"
    return f"{row.kernel:17} {row.isa:9} t = {row.t:5.1f}, {size}"


def rows(printed: str) -> list[Row]:
    """The lines of `cpp/timing.cpp`."""
    lines = [line.split() for line in printed.splitlines()]
    return [Row(kernel, isa, *map(float, numbers)) for kernel, isa, *numbers in lines]
