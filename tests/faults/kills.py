"""Two parties that prepare and use items, killed at random moments (SIGKILL) and started again:

    python -m tests.faults.kills                 # what `make trust` runs
    python -m tests.faults.kills --kills 1000

The client, the server or both die. What each has used is written down outside of its store, before
it is read: no index stands there twice, what both used under one index is the same item, and all
that was prepared and not passed is whole. Then the two go on. Exit code 0 only if all of that
holds; the last line says what was done.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from moiety.runtime.store import care
from moiety.runtime.store.reconcile import reconcile
from moiety.runtime.store.store import Store
from tests.support.stores import NAMES, Name, Pair, fill

MODULE = "tests.faults.kills"
KILLS = 100
MOMENT = 0.1
"""Seconds in which two parties prepare and use several items."""
PATIENCE = 60.0
AHEAD = 3
"""Items that are prepared before one is used."""
SIZE = 3 << 20


# --- a party, in a process of its own -------------------------------------------------------------


@dataclass(frozen=True)
class Outside:
    """What a party has done, in a file that no store knows."""

    path: Path

    def say(self, *words: object) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(descriptor, (" ".join(map(str, words)) + "\n").encode())
        os.close(descriptor)

    def said(self, word: str) -> Iterator[tuple[int, str]]:
        """Index and digest of each."""
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        for line in lines:
            first, *rest = line.split()
            if first == word:
                yield int(rest[0]), rest[1]


def party(root: Path, role: Name, pipe: Connection) -> None:
    """Until the other one is gone."""
    outside = Outside(root / f"{role}.log")
    with Pair(root).open(role) as store:
        outside.say("ready", os.getpid(), "-")
        try:
            while True:
                turn(store, role, pipe, outside)
        except (EOFError, ConnectionError):
            return


def turn(store: Store, role: Name, pipe: Connection, outside: Outside) -> None:
    """Uses an item where there are several, and prepares one otherwise."""
    pipe.send_bytes(store.position())
    plan = reconcile(store.stands(), store.meet(pipe.recv_bytes()), AHEAD)
    if len(plan.indices) < AHEAD:
        nonces = {role: os.urandom(16)}
        pipe.send_bytes(nonces[role])
        nonces[NAMES[1 - NAMES.index(role)]] = pipe.recv_bytes()
        digest = hashlib.sha256(b"".join(nonces[each] for each in NAMES)).digest()
        fill(store, plan.fresh, digest, SIZE)
        outside.say("prepared", plan.fresh, digest.hex())
        return
    index = plan.indices[0]
    with store.take(index) as item:
        pipe.send_bytes(store.position(listed=False))
        store.confirm(pipe.recv_bytes(), index)
        outside.say("used", index, item.digest.hex())
        right = item.stream("shares").read() == item.digest
        right &= item.stream("pads").read() == item.digest * (SIZE // 32)
        if not right:
            outside.say("wrong", index, item.digest.hex())


# --- who kills them -------------------------------------------------------------------------------


@dataclass
class Tally:
    """What two parties have done so far, and all that should not be."""

    root: Path
    kills: int = 0
    bad: list[str] = field(default_factory=list)

    def outside(self, role: Name) -> Outside:
        return Outside(self.root / f"{role}.log")

    def used(self, role: Name) -> int:
        return sum(1 for _ in self.outside(role).said("used"))

    def look(self) -> None:
        """Both logs, and all that is in both stores."""
        for role in NAMES:
            outside = self.outside(role)
            counts = Counter(index for index, _ in outside.said("used"))
            self.bad += [f"{role}: item {i} used {n} times" for i, n in counts.items() if n > 1]
            self.bad += [f"{role}: item {index} read wrong" for index, _ in outside.said("wrong")]
            self._look_at(role)
        used = [dict(self.outside(role).said("used")) for role in NAMES]
        both = used[0].keys() & used[1].keys()
        self.bad += [f"item {i} differs at the two" for i in both if used[0][i] != used[1][i]]

    def _look_at(self, role: Name) -> None:
        prepared = dict(self.outside(role).said("prepared"))
        with Pair(self.root).open(role) as store:
            book = store.ledger.book
            wanted = {index for index in prepared if index >= book.next}
            self.bad += [f"{role}: item {index} is lost" for index in wanted - book.items.keys()]
            self.bad += [each.problem for each in care.verify(store) if each.problem]


def started(root: Path) -> dict[Name, subprocess.Popen[bytes]]:
    """Both parties, at work."""
    before = {role: sum(1 for _ in Outside(root / f"{role}.log").said("ready")) for role in NAMES}
    ends = socket.socketpair()
    made: dict[Name, subprocess.Popen[bytes]] = {}
    for role, end in zip(NAMES, ends, strict=True):
        command = [sys.executable, "-m", MODULE, "--party", role, str(root)]
        command += [str(end.fileno())]
        made[role] = subprocess.Popen(command, pass_fds=[end.fileno()], stderr=subprocess.PIPE)
        end.close()
    limit = time.monotonic() + PATIENCE
    for role in NAMES:
        outside = Outside(root / f"{role}.log")
        while sum(1 for _ in outside.said("ready")) == before[role]:
            if time.monotonic() > limit or made[role].poll() is not None:
                break
            time.sleep(0.005)
    return made


def killed(tally: Tally, rng: random.Random) -> None:
    """One start of both, and one death or two."""
    processes = started(tally.root)
    time.sleep(rng.random() * MOMENT)
    victims = rng.choice((NAMES, NAMES[:1], NAMES[1:]))
    for role in victims:
        processes[role].send_signal(signal.SIGKILL)
    for role, process in processes.items():
        try:
            _, said = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            _, said = process.communicate()
            tally.bad.append(f"{role}: did not end when the other one was gone")
        if process.returncode != (-signal.SIGKILL if role in victims else 0):
            tally.bad.append(f"{role}: ended with {process.returncode}: {said.decode()[-2000:]}")
    tally.kills += 1
    tally.look()


def kills(root: Path, count: int, seed: int) -> Tally:
    """So many, until something is wrong; then the two must still get on."""
    Pair(root).create()
    tally, rng = Tally(root), random.Random(seed)
    while tally.kills < count and not tally.bad:
        killed(tally, rng)
    if not tally.bad:
        before = tally.used("client")
        processes = started(root)
        limit = time.monotonic() + PATIENCE
        while tally.used("client") < before + AHEAD and time.monotonic() < limit:
            time.sleep(0.01)
        for process in processes.values():
            process.kill()
            process.communicate()
        if tally.used("client") < before + AHEAD:
            tally.bad.append("the two did not go on")
        tally.look()
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.kills",
        description=str(__doc__),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--party", nargs=3, metavar=("ROLE", "FOLDER", "FD"), help="one of the two")
    options = parser.parse_args()
    if options.party:
        role, folder, descriptor = options.party
        party(Path(folder), role, Connection(int(descriptor)))
        return 0
    if options.kills < 1:
        parser.error("--kills: at least one")
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    try:
        tally = kills(folder / "pair", options.kills, options.seed)
        for line in tally.bad:
            print(line)
        client, server = (tally.used(role) for role in NAMES)
        bad = f"{len(tally.bad)} things that should not be" if tally.bad else "no item twice"
        print(
            f"{tally.kills} kills: {client} items used by the client, {server} by the server, {bad}"
        )
    finally:
        shutil.rmtree(folder)
    return 1 if tally.bad else 0


if __name__ == "__main__":
    sys.exit(main())
