"""`moiety prepare` and `moiety infer` with a server that keeps stores, killed at random moments
(SIGKILL): the client, the process of its session at the server, the server itself, or client and
session at once. Then they are started again.

What each party reads of its items is written down outside of its store (`outside.py`). No bytes of
an item are read by two runs, the two parties never use different items together, every result is
the cleartext executor's, and the next run goes on:

    python -m tests.faults.prepared_kills                 # what `make trust` runs
    python -m tests.faults.prepared_kills --kills 1000

Exit code 0 only if all of that holds; the last line says what was done.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from moiety.runtime.party.executor import ServerExecutor
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.results.record import Results
from moiety.runtime.store import care
from moiety.runtime.store.store import Store
from tests.faults.outside import Ledger
from tests.support.ahead import Ahead, Command
from tests.support.command import Done
from tests.support.runnable import save_images, small
from tests.support.serving import Running
from tests.support.stores import NAMES

KILLS = 100
IMAGES = 6
COUNTS = {"prepare": 3 * IMAGES, "infer": IMAGES}
"""Items and images of a command that is killed: more are begun than are used."""
PATIENCE = 60.0
ENDED = (0, 8, 10, -signal.SIGKILL)
"""How a client may end: well, by the network, because the server has no store now, killed."""
VICTIMS = ("client", "session", "client and session", "server")


@dataclass
class Killed:
    """Two parties, and what became of them. `bad`: all that should not be."""

    folder: Path
    rng: random.Random
    server: Running = field(init=False)
    kills: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)
    right: int = 0
    spans: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        executor = ServerExecutor(*small())
        executor.prepare()
        self.ahead = Ahead(self.folder, executor)
        self.outside = Ledger(self.folder)
        self.images = save_images(self.folder / "images", IMAGES)
        clear = CleartextExecutor(executor.program, executor.weights)
        self.expected = {
            str(file): next(iter(clear.run(np.load(file)).values())).tolist()
            for file in self.images
        }

    def begin(self) -> None:
        """A server, and one undisturbed run of each command."""
        self.server = self.ahead.serve(options={"sessions": 4})
        for name in COUNTS:
            self._whole(name)

    def _whole(self, name: str) -> None:
        """How long it takes, once its session is open."""
        command = self._started(name, COUNTS[name])
        begun = time.monotonic()
        done = command.done()
        self.spans[name] = time.monotonic() - begun
        self._judge(name, done)
        if done.code:
            self.bad.append(f"an undisturbed {name} failed: {done.stderr}")

    def _started(self, name: str, count: int) -> Command:
        """When its session is open."""
        at = "127.0.0.1", self.server.listener.port
        opened = self.server.log.count("session open")
        output = self.folder / "results.json"
        output.unlink(missing_ok=True)
        given = ["--connect", f"{at[0]}:{at[1]}"]
        if name == "infer":
            given += [*map(str, self.images[:count]), "--retries", "0", "-o", str(output)]
        else:
            given += ["--count", str(count)]
        command = self.ahead.started(name, *given)
        self.server.wait_for("session open", opened + 1)
        return command

    def kill(self) -> None:
        """One, at a random moment of a command; then an image whose run is not disturbed."""
        name, victim = self.rng.choice(("prepare", "infer")), self.rng.choice(VICTIMS)
        command = self._started(name, COUNTS[name])
        time.sleep(self.rng.random() * self.spans[name])
        if victim in ("client", "client and session"):
            command.process.kill()
        if victim in ("session", "client and session"):
            session = self.server.wait_for(r"served by process (\d+)")[-1]
            _gone(int(session))
        if victim == "server":
            self.server.kill()
        self._judge(name, command.done())
        self.kills[victim] += 1
        if victim == "server":
            self.server = self.ahead.serve(options={"sessions": 4})
        done = self._started("infer", 1).done()
        self._judge("infer", done)
        if done.code:
            self.bad.append(f"after {victim} was killed in {name}: {done.stderr}")
        self.bad += self.outside.faults()

    def _judge(self, name: str, done: Done) -> None:
        """Its end, and its results."""
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        said = len(errors) == (done.code > 0) and "Traceback" not in done.stderr
        if done.code not in ENDED or not said:
            self.bad.append(f"{name} ended with {done.code}: {done.stderr[-2000:]}")
        output = self.folder / "results.json"
        if name == "infer" and output.exists():
            for image in msgspec.json.decode(output.read_bytes(), type=Results).images:
                if image.outputs[0].values == self.expected[image.file]:
                    self.right += 1
                else:
                    self.bad.append(f"{image.file}: not the cleartext executor's result")

    def end(self) -> None:
        """The two go on with items, and what they have left is whole."""
        before = len(self.outside.taken("server"))
        until = time.monotonic() + PATIENCE
        while (done := self._started("prepare", 2).done()).code == 10 and time.monotonic() < until:
            time.sleep(0.2)  # the process of a session that was killed may have its store yet
        self._judge("prepare", done)
        self._judge("infer", self._started("infer", 2).done())
        if len(self.outside.taken("server")) != before + 2:
            self.bad.append("the two did not go on with prepared items")
        self.bad += self.outside.faults()
        for server in self.ahead.running:
            server.end()
        for role in NAMES:
            for folder in self.ahead.stores(role):
                with Store.open(folder, self.ahead.cellar(role).key) as store:
                    self.bad += [each.problem for each in care.verify(store) if each.problem]


def _gone(pid: int) -> None:
    """Killed, if it is still there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def killed(folder: Path, count: int, seed: int) -> Killed:
    """So many kills, until something is wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Killed(folder, random.Random(seed))
    with made.outside.written():
        made.begin()
        while sum(made.kills.values()) < count and not made.bad:
            made.kill()
        made.end()
    return made


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.prepared_kills",
        description=str(__doc__),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.kills < 1:
        parser.error("--kills: at least one")
    with tempfile.TemporaryDirectory(prefix="prepared-kills-") as folder:
        made = killed(Path(folder), options.kills, options.seed)
        client, server = (len(made.outside.read(role)) for role in NAMES)
    for line in made.bad:
        print(line)
    victims = ", ".join(f"{made.kills[each]} of the {each}" for each in VICTIMS)
    bad = f"{len(made.bad)} things that should not be" if made.bad else "none by two runs"
    print(
        f"{made.kills.total()} kills ({victims}): {client} items read by the client, {server} by "
        f"the server, {bad}, {made.right} right results"
    )
    return 1 if made.bad else 0


if __name__ == "__main__":
    sys.exit(main())
