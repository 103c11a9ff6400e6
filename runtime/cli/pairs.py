"""The options by which a party uses many machines, and what they become."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moiety.protocols.errors import BadInput
from moiety.runtime.cluster.placement import EXTRA, Room, Servers
from moiety.runtime.intake import extras
from moiety.runtime.party.credentials import KeyFiles
from moiety.runtime.party.endpoints import parse_listen
from moiety.runtime.party.server.loop import Loop
from moiety.runtime.party.server.processes import Line
from moiety.runtime.party.signals import Stopped

if TYPE_CHECKING:  # a server has no need of them
    from moiety.runtime.study.session import SessionPlan
    from moiety.runtime.study.workers import Workers

PANEL = "Many machines"
PAIRS = 2
SERVERS = "moiety.runtime.cluster.servers"
SESSIONS = "moiety.runtime.cluster.sessions"

ClusterOption = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="ADDRESS",
        help="Use the machines of this party's own Ray cluster: HOST:PORT of its head, auto (this "
        "machine is in it) or local (a new one, here). See docs/scale.md.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
PairsOption = Annotated[
    int | None,
    typer.Option(
        "--pairs",
        min=1,
        max=10_000,
        metavar="N",
        help="With --cluster: workers at a time; each is one side of a pair.  \\[default: 2]",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
CpusOption = Annotated[
    float | None,
    typer.Option(
        "--worker-cpus",
        min=0.01,
        metavar="X",
        help="With --cluster: processors that it sets aside for each worker.  \\[default: "
        "--threads]",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
WorkerPortsOption = Annotated[
    str,
    typer.Option(
        "--worker-ports",
        metavar="FIRST-LAST",
        help="With --cluster: ports of its nodes, for a firewall; each worker listens at a free "
        "one. 0: at any.",
        rich_help_panel=PANEL,
    ),
]
FrontOption = Annotated[
    str | None,
    typer.Option(
        "--front",
        metavar="HOST:PORT",
        help="Be a worker of the server that listens there: with the same key, for the clients "
        "that it sends. It places its workers itself (--cluster).",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
StdinOption = Annotated[
    bool,
    typer.Option(
        "--stop-with-stdin",
        help="Stop when standard input ends, as it does when whoever has started this is gone.",
        rich_help_panel=PANEL,
    ),
]


def room_for(
    cluster: str | None, pairs: int | None, cpus: float | None, threads: int
) -> Room | None:
    """None without --cluster. Raises `BadInput` where Ray is not installed, and for options that
    are nothing without --cluster.
    """
    if cluster is None:
        own = (("--pairs", pairs), ("--worker-cpus", cpus))
        if given := [option for option, value in own if value is not None]:
            raise BadInput(
                f"{' and '.join(given)}: for workers that {EXTRA} places; give that, too, or "
                "neither"
            )
        return None
    extras.require(("ray",), EXTRA)
    return Room(
        address=cluster,
        workers=PAIRS if pairs is None else pairs,
        cpus=float(threads) if cpus is None else cpus,
    )


def check_ports(ports: str, room: Room | None) -> None:
    """Raises `BadInput` unless these are ports, and enough for all workers on one node."""
    try:
        _, found = parse_listen(f":{ports}")
    except BadInput as error:
        raise BadInput(f"--worker-ports '{ports}': write FIRST-LAST, like 7701-7799") from error
    if found != range(1) and room is not None and len(found) < room.workers:
        raise BadInput(
            f"--worker-ports {ports}: {len(found)} ports, and all {room.workers} workers may come "
            "to be on one node; give as many"
        )
    if found != range(1) and room is None:
        raise BadInput(f"--worker-ports is for workers that {EXTRA} places; give both or neither")


def check_roles(cluster: str | None, front: str | None, own: Sequence[tuple[str, object]]) -> None:
    """A worker has a front, and none of the options of its `own` that the front has. Raises
    `BadInput`.
    """
    if front is None:
        return
    given = [option for option, is_given in (*own, (EXTRA, cluster is not None)) if is_given]
    if given:
        raise BadInput(f"{' and '.join(given)}: belong to the front, not to a worker (--front)")


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """Of `moiety serve`, those that a worker has from its front."""

    folder: Path
    cohorts: Path | None
    batch: str
    threads: int
    ot: str
    hint_file: bool
    setup_seconds: float
    idle_seconds: float
    run_seconds: float | None
    session_seconds: float
    min_rate: float
    keys: KeyFiles | None
    insecure: bool

    def arguments(self) -> tuple[str, ...]:
        """As its command line has them, paths absolute."""
        options = {
            "batch": self.batch,
            "threads": self.threads,
            "ot": self.ot,
            "setup-seconds": self.setup_seconds,
            "idle-seconds": self.idle_seconds,
            "run-seconds": self.run_seconds,
            "session-seconds": self.session_seconds,
            "min-rate": self.min_rate,
            "cohorts": self.cohorts and self.cohorts.absolute(),
            **self._files(),
        }
        said = [f"--{name}={value}" for name, value in options.items() if value is not None]
        flags = ["--hint-file" if self.hint_file else "--no-hint-file"]
        flags += ["--insecure"] * self.insecure
        return (str(self.folder.resolve()), *said, *flags)

    def _files(self) -> dict[str, Path | None]:
        if self.keys is None:
            return {}
        files = {
            "keys": self.keys.store,
            "cert": self.keys.certificate,
            "key": self.keys.key,
            "ca": self.keys.authorities,
        }
        return {name: file and file.absolute() for name, file in files.items()}


def placer(
    room: Room, front: tuple[str, int], options: WorkerOptions, ports: str
) -> Callable[[Line], None]:
    """What a Front starts and looks after its workers with; a process without Ray may hold it."""
    arguments = options.arguments()
    return partial(_place, Servers(room=room, front=front, arguments=arguments, ports=ports))


def _place(servers: Servers, line: Line) -> None:
    extras.load(SERVERS, EXTRA).place(servers, line)


@contextmanager
def workers_of(plan: SessionPlan, room: Room | None) -> Iterator[Workers | None]:
    """Sessions of a study in the cluster; None where there is no room for them elsewhere."""
    if room is None:
        yield None
    else:
        with extras.load(SESSIONS, EXTRA).cluster_workers(plan, room) as workers:
            yield workers


class Stdin:
    """Standard input, as a server's loop watches it."""

    def fileno(self) -> int:
        return 0

    def close(self) -> None:
        os.close(0)


def watch_stdin(loop: Loop) -> None:
    """From now on a turn of `loop` raises `Stopped` when standard input has ended."""

    def read() -> None:
        if not os.read(0, 1 << 12):
            raise Stopped(signal.SIGTERM)

    loop.watch(Stdin(), read)
