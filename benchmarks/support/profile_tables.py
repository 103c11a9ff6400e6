"""What `benchmarks.inference --profile` makes of the two parties' files: medians per step
kind, and a table.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path

from benchmarks.support import harness
from benchmarks.support.harness import Row
from benchmarks.support.profiled_command import Parts, Profile

COLUMNS = tuple(field.name for field in fields(Parts))
LEAST = 0.005
"""Seconds below which a kind or a kernel is summed up under `rest`."""


def load(file: Path, runs: int) -> list[Profile]:
    """The last `runs` runs of a party's file. Raises `VerificationFailed` where there are fewer."""
    found = [
        Profile(
            {kind: Parts(**parts) for kind, parts in run["by_kind"].items()},
            {name: (seconds, calls) for name, (seconds, calls) in run["kernels"].items()},
        )
        for run in map(json.loads, file.read_text().splitlines())
    ]
    harness.require(len(found) >= runs, f"{file.name} holds {len(found)} profiled runs, not {runs}")
    return found[-runs:]


def total(profile: Profile) -> Parts:
    """All kinds together."""
    parts = Parts()
    for each in profile.by_kind.values():
        parts.add(each)
    return parts


def row(server: Profile, client: Profile) -> Row:
    """The field `profile` of a row: of each party seconds by step kind and part, and by kernel
    (seconds, calls).
    """
    return {party: asdict(profile) for party, profile in (("server", server), ("client", client))}


def _typical(profiles: Sequence[Profile]) -> Profile:
    """The run of middle wall-clock time: its figures belong together, which medians one by
    one would not.
    """
    return sorted(profiles, key=lambda profile: total(profile).wall)[len(profiles) // 2]


def table(party: str, profiles: Sequence[Profile]) -> Iterator[str]:
    """Markdown: a line per step kind, the largest first."""
    profile = _typical(profiles)
    yield f"| {party}, seconds | total | kernels | Python | socket | waiting | off the core |"
    yield "|---" + "|---:" * len(COLUMNS) + "|"
    rest = Parts()
    for kind, parts in sorted(profile.by_kind.items(), key=lambda item: -item[1].wall):
        if parts.wall < LEAST:
            rest.add(parts)
        else:
            yield _line(kind, parts)
    if rest.wall:
        yield _line("rest", rest)
    yield _line("**all**", total(profile))


def _line(name: str, parts: Parts) -> str:
    return f"| {name} | " + " | ".join(f"{getattr(parts, column):.2f}" for column in COLUMNS) + " |"


def kernel_table(server: Sequence[Profile], client: Sequence[Profile]) -> Iterator[str]:
    """Markdown: CPU seconds and calls of each kernel at either party."""
    sides = [_typical(profiles).kernels for profiles in (server, client)]
    both = {
        name: sum(side.get(name, (0.0, 0))[0] for side in sides) for side in sides for name in side
    }
    yield "| kernel | server, s | calls | client, s | calls |"
    yield "|---|---:|---:|---:|---:|"
    for name in sorted(both, key=lambda name: -both[name]):
        if both[name] >= LEAST:
            cells = [
                f"{seconds:.3f} | {calls}"
                for seconds, calls in (side.get(name, (0.0, 0)) for side in sides)
            ]
            yield f"| {name} | {' | '.join(cells)} |"
