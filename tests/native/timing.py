"""dudect: whether a call's time tells zero secrets from random ones, by Welch's t-test.

It sees what this processor does, on all sets of instructions, the widest too; and it sees no
difference of means below the one it prints, nor what only other values of secrets, a cold cache or
another processor would show. A lookup in a table that lies in the first-level cache is not seen
(the planted one is not): that is what memcheck is for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from moiety.protocols import kernels
from tests.native.builds import RELEASE, Failed, Passed, built, said

CALLS = 20_000
LIMIT = 10.0
"""Of |t|, dudect's own, in three measurements in a row. Effects of 0.1 % of a call and less, of the
secrets' being copied before it, reach 4.
"""


@dataclass(frozen=True)
class Row:
    """A kernel's t, the difference of means that would have given `LIMIT`, and the mean, in ns."""

    kernel: str
    isa: str
    t: float
    visible: float
    mean: float


def run(folder: Path) -> Passed:
    """Raises Missing or Failed."""
    program = built(RELEASE, folder) / "timing"
    planted = {row.kernel: row for row in rows(said(program, "--planted", CALLS))}
    if abs(planted["planted_branch"].t) <= LIMIT:
        raise Failed("the planted early exit is not seen: the machine is too busy to measure")
    seen = rows(said(program, CALLS))
    if missing := set(kernels.kernel_names()) - {row.kernel for row in seen}:
        raise Failed(f"not called: {', '.join(sorted(missing))}")
    if leaking := [f"{row.kernel} ({row.isa}, t = {row.t})" for row in seen if abs(row.t) > LIMIT]:
        raise Failed(f"time depends on secrets: {', '.join(leaking)}")
    visible = sorted(row.visible for row in seen)
    return Passed(
        f"{len(seen)} loops, {CALLS} calls each: no difference between zero and random secrets; "
        f"{visible[len(visible) // 2]:.2f} ns would be seen in half of them, {visible[-1]:.2f} ns "
        "in all; a planted leak found",
        tuple(
            f"{row.kernel:17} {row.isa:9} t = {row.t:5.1f}; of {row.mean:.0f} ns "
            f"{row.visible:.2f} would be seen"
            for row in seen
        ),
    )


def rows(printed: str) -> list[Row]:
    """The lines of `cpp/timing.cpp`."""
    words = [line.split() for line in printed.splitlines()]
    return [Row(kernel, isa, *map(float, numbers)) for kernel, isa, *numbers in words]
