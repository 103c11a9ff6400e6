"""Progress of long work, to stderr: a bar on a terminal, a line every few seconds elsewhere (a log
file, a pipe). Both name the phase.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import rich.progress
from rich.console import Console

from moiety.runtime.party.handshake import printable
from moiety.runtime.program.progress import Progress

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def watching(title: str) -> Iterator[Progress]:
    """A callback that shows how far `title` has come; cheap enough to call thousands of times."""
    console = Console(stderr=True)
    if console.is_terminal:
        with _bar(console, title) as watch:
            yield watch
    else:
        yield _lines(title)


@contextmanager
def _bar(console: Console, title: str) -> Iterator[Progress]:
    columns = (
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.TaskProgressColumn(),
        rich.progress.TimeElapsedColumn(),
        # Names of layers come from the other side: not markup.
        rich.progress.TextColumn("{task.fields[what]}", style="dim", markup=False),
    )
    with rich.progress.Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=None, what="")

        def watch(done: int, total: int, what: str) -> None:
            far = _far(done, total, what)
            progress.update(task, completed=done, total=total or None, what=far[-60:])

        yield watch


def _far(done: int, total: int, what: str) -> str:
    """`calibrating, image 3 of 20`, as far as it is known."""
    count = f"{done} of {total}" if total else ""
    return " ".join(filter(None, (printable(what), count)))


def _lines(title: str) -> Progress:
    started = time.monotonic()
    last = started

    def watch(done: int, total: int, what: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            line = f"{title}: {_far(done, total, what)}, {now - started:.0f} s"
            print(line, file=sys.stderr, flush=True)

    return watch
