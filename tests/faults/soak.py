"""Many small inferences by several clients at once, of whom some are killed."""

from __future__ import annotations

import asyncio
import random
import signal
from dataclasses import dataclass, field

from tests.faults.parties import House
from tests.faults.sessions import Tally, look, server_faults, settled

SESSION = (25, 50)
"""Images of a session, at least and at most."""
KILLED = 8
"""Of so many sessions one is killed, when its client may be anywhere."""
LONGEST = 600.0
"""Seconds of a session, on a machine that has other things to do."""
MANY = 5
"""Sessions that fail, after which it is over."""
LATEST = 4.0
"""Seconds after which it is, at the latest."""


@dataclass
class Soak:
    """What clients have got. `right` and `wrong`: images; `killed`: sessions."""

    house: House
    images: int
    chance: random.Random
    right: int = 0
    wrong: int = 0
    sessions: int = 0
    killed: int = 0
    tally: Tally = field(default_factory=Tally)
    failed: list[str] = field(default_factory=list)

    @property
    def bad(self) -> list[str]:
        """All that should not be."""
        bad = self.tally.bad + self.failed
        if self.wrong or self.right < self.images:
            bad.append(f"{self.right} images right of {self.images}, {self.wrong} wrong")
        return bad

    async def run(self, clients: int) -> None:
        """Until so many images are right, and then to the end of the sessions that are left."""
        await look(self.house, self.tally)
        await asyncio.gather(*(self._client(f"soak-{number}") for number in range(clients)))
        await look(self.house, self.tally)
        self.tally.unsound += server_faults(self.house) + settled(self.tally.healths)

    async def _client(self, name: str) -> None:
        while self.right < self.images and len(self.failed) < MANY:
            self.sessions += 1
            await self._session(name, to_be_killed=self.sessions % KILLED == 0)

    async def _session(self, name: str, to_be_killed: bool) -> None:
        files = self.chance.choices(self.house.files, k=self.chance.randint(*SESSION))
        client = self.house.infer(files, self.house.port, name)
        if to_be_killed:
            after = self.chance.uniform(0, LATEST)
            killer = asyncio.get_running_loop().call_later(after, client.kill)
        ended = await client.wait(LONGEST)
        if to_be_killed:
            killer.cancel()
        right, wrong = self.house.count(self.house.results(name))
        self.right += right
        self.wrong += wrong
        if to_be_killed and ended.code == -signal.SIGKILL:
            self.killed += 1
        elif ended.code != 0 or right != len(files):
            why = f"{right} of {len(files)} images, exit code {ended.code}: {ended.said[-500:]}"
            self.failed.append(f"a session of the soak failed: {why}")
