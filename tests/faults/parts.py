"""The parts of `python -m tests.faults`, each a process."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.faults.fault import drawn
from tests.faults.parties import Clocks, Health, House
from tests.faults.sessions import Outcome, Tally, all_sessions, measured
from tests.faults.soak import Soak

PATIENT = 10.0


@dataclass(frozen=True)
class Part:
    """What one process has found: `bad` is all that should not be, `right` the soak's images.
    `too_few`: why it tells nothing of lines that fail, where it does not.
    """

    name: str
    words: str
    outcomes: tuple[Outcome, ...]
    healths: tuple[Health, ...]
    bad: tuple[str, ...]
    seconds: float
    right: int = 0
    too_few: str = ""

    @property
    def counts(self) -> Counter[str]:
        return Counter(each.verdict for each in self.outcomes)

    def health(self) -> str:
        first, last = self.healths[0], self.healths[-1]
        return (
            f"{self.name}: handles {first.handles} -> {last.handles}, "
            f"memory {first.resident / 1e6:.1f} -> {last.resident / 1e6:.1f} MB"
        )


def faulty(folder: Path, tls: bool, count: int, number: int, clocks: Clocks) -> Part:
    """So many sessions of one half."""
    begun = time.monotonic()
    faults = drawn(measured(folder / "measured", tls), count, number)
    house = House(folder / "house", tls, clocks)
    try:
        tally = asyncio.run(all_sessions(house, faults))
    finally:
        house.server.end()
    words = f"{len(tally.outcomes)} sessions {'with' if tls else 'without'} TLS"
    right = tally.counts["right"]
    few = len(tally.outcomes) != count or not right
    part = _part("TLS" if tls else "plain", words, tally, tally.bad, begun)
    return replace(part, too_few=f"{words}, {right} of them right: too few to tell" if few else "")


def soaked(folder: Path, images: int, clients: int, number: int, clocks: Clocks) -> Part:
    """So many images, with TLS. Nothing fails here, so all may take longer."""
    begun = time.monotonic()
    house = House(folder, True, clocks.slower(PATIENT))
    soak = Soak(house, images, random.Random(number))
    try:
        asyncio.run(soak.run(clients))
    finally:
        house.server.end()
    words = (
        f"{soak.right} images right, {soak.wrong} wrong, by {clients} clients in {soak.sessions} "
        f"sessions, {soak.killed} killed"
    )
    return replace(_part("soak", words, soak.tally, soak.bad, begun), right=soak.right)


def _part(name: str, words: str, tally: Tally, bad: Sequence[str], begun: float) -> Part:
    seconds = time.monotonic() - begun
    return Part(name, words, tuple(tally.outcomes), tuple(tally.healths), tuple(bad), seconds)
