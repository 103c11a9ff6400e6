"""Sessions with a fault each, and what became of them."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from moiety.runtime.party.client import Client
from moiety.runtime.party.endpoints import connect
from moiety.runtime.party.executor import ClientExecutor
from tests.faults.fault import Fault, Marks
from tests.faults.parties import DEADLINE, Clocks, Ended, Health, House
from tests.faults.proxy import Proxy

IMAGES = 2
"""In a session."""
REFUSALS = (7, 8, 9, 10)
"""Exit codes of a client that a line may end: mismatch, network, not trusted, denied."""
AT_ONCE = 12
BATCH = 50
"""Sessions after which the server is looked at."""
CLEAN_TRIES = 4
"""For a session without a fault: on a busy machine one may be slower than the clocks allow."""
GROWTH = 4 << 20
"""Bytes that the server's process may grow in all."""
SERVER_FAULT = re.compile(r"Traceback|internal failure|is overdue|failed\b.*process|: lost: ")
GOOD, BAD = ("right", "noise", "refused"), ("wrong", "unclear", "hung")
"""Verdicts on a session."""


@dataclass(frozen=True)
class Outcome:
    """Of one session."""

    fault: Fault
    verdict: str
    words: str


@dataclass
class Tally:
    """Of all sessions over one server. `unsound`: what is wrong beside single sessions."""

    outcomes: list[Outcome] = field(default_factory=list)
    healths: list[Health] = field(default_factory=list)
    unsound: list[str] = field(default_factory=list)

    @property
    def counts(self) -> Counter[str]:
        return Counter(each.verdict for each in self.outcomes)

    @property
    def bad(self) -> list[str]:
        """All that should not be."""
        wrong = [each for each in self.outcomes if each.verdict in BAD]
        return [f"{each.verdict}: {each.fault}: {each.words}" for each in wrong] + self.unsound


def judged(house: House, fault: Fault, ended: Ended, name: str) -> Outcome:
    """What the user has: the exact results, or one clear error and none that is not exact."""
    results = house.results(name)
    right, other = house.count(results)
    errors = [line for line in ended.said.splitlines() if line.startswith("error: ")]
    words = errors[0] if errors else ended.said.strip()[-2000:]
    if other:
        noise = fault.may_be_noise and not house.tls
        return Outcome(fault, "noise" if noise else "wrong", words)
    if ended.code is None:
        return Outcome(fault, "hung", f"the client did not end: {words}")
    if ended.code == 0:
        whole = right == IMAGES and results is not None and results.complete
        return Outcome(fault, "right" if whole and not errors else "unclear", words)
    clear = len(errors) == 1 and "Traceback" not in ended.said and ended.code in REFUSALS
    return Outcome(fault, "refused" if clear else "unclear", f"{ended.code}: {words}")


async def session(house: House, fault: Fault, name: str) -> Outcome:
    """One, through a proxy with the fault."""
    async with Proxy(house.port, fault) as proxy:
        client = house.infer(house.files[:IMAGES], proxy.port, name)
        outcome = judged(house, fault, await client.wait(), name)
        try:
            await asyncio.wait_for(proxy.over.wait(), DEADLINE if proxy.met else 0.1)
        except TimeoutError:
            if proxy.met and outcome.verdict != "hung":
                return Outcome(fault, "hung", "the server did not end")
    return outcome


async def clean(house: House, name: str = "clean") -> str:
    """One without a fault; what is wrong with it, after some tries."""
    said = ""
    for _ in range(CLEAN_TRIES):
        ended = await house.infer(house.files[:IMAGES], house.port, name).wait()
        right, other = house.count(house.results(name))
        if other:
            return f"a session without a fault was wrong: {ended.said}"
        if ended.code == 0 and right == IMAGES:
            return ""
        said = ended.said
    return f"a session without a fault failed {CLEAN_TRIES} times: {said}"


async def all_sessions(house: House, faults: Sequence[Fault], at_once: int = AT_ONCE) -> Tally:
    """One for each fault, some at once; now and then all is quiet, and the server is looked at."""
    tally = Tally()
    await look(house, tally)
    for start in range(0, len(faults), BATCH):
        waiting = list(faults[start : start + BATCH])

        async def work(name: str, waiting: list[Fault] = waiting) -> None:
            while waiting:
                tally.outcomes.append(await session(house, waiting.pop(), name))

        if tally.unsound:
            break
        await asyncio.gather(*(work(f"client-{number}") for number in range(at_once)))
        await look(house, tally)
    tally.unsound += server_faults(house) + settled(tally.healths)
    return tally


async def look(house: House, tally: Tally) -> None:
    """The server serves; and nothing of what was is left."""
    if wrong := await clean(house):
        tally.unsound.append(wrong)
    health = await house.rest()
    if health.children:
        tally.unsound.append(f"{health.children} processes of sessions that are over are left")
    tally.healths.append(health)


def server_faults(house: House) -> list[str]:
    """Lines of the server's log that no line may cause."""
    lines = house.server.log.splitlines()
    return [line for line in lines if SERVER_FAULT.search(line)]


def settled(healths: Sequence[Health]) -> list[str]:
    """What has grown from the first look to the last."""
    first, last = healths[0], healths[-1]
    grown = []
    if last.handles > first.handles:
        grown.append(f"handles: {[each.handles for each in healths]}")
    if last.resident > first.resident + GROWTH:
        grown.append(f"memory: {[each.resident >> 10 for each in healths]} KiB")
    return grown


def measured(folder: Path, tls: bool) -> Marks:
    """Where the stages of a session are, in bytes of either direction: of one in which nobody sends
    keep-alives.
    """
    house = House(folder, tls, Clocks(silence=400.0))
    try:
        return asyncio.run(_measured(house))
    finally:
        house.server.end()


async def _measured(house: House) -> Marks:
    async with Proxy(house.port, None) as proxy:
        passed: list[tuple[int, int]] = []

        def mark() -> None:
            """When nothing comes any more."""
            before = None
            while before != (now := proxy.passed):
                before = now
                time.sleep(0.1)
            passed.append(now)

        await asyncio.to_thread(_stages, house, proxy.port, mark)
    ups, downs = zip(*passed, strict=True)
    return Marks(ups if house.tls else (0, *ups), downs if house.tls else (0, *downs))


def _stages(house: House, port: int, mark: Callable[[], None]) -> None:
    """A session, with a mark at the end of each stage."""
    limits = house.clocks.limits()
    channel = connect("127.0.0.1", port, limits=limits, credentials=house.credentials)
    if house.tls:
        mark()
    client = Client(house.program, ot="softspoken")
    met = client._met(channel)
    mark()
    connection = client._opened(channel, ClientExecutor(house.program), met)
    mark()
    for file in house.files[:IMAGES]:
        connection.infer(np.load(file))
    mark()
    connection.close()
    mark()
