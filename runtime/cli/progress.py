"""Progress of long work, to stderr: a bar on a terminal, a line every few seconds
elsewhere (a log file, a pipe).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

SECONDS_BETWEEN_LINES = 10.0

Watch = Callable[[int, int, str], None]
"""Called with (done, total, name of what comes next)."""


@contextmanager
def watching(title: str) -> Iterator[Watch]:
    """A callback that shows how far `title` has come; cheap enough to call thousands of times."""
    console = Console(stderr=True)
    if console.is_terminal:
        with _bar(console, title) as watch:
            yield watch
    else:
        yield _lines(title)


@contextmanager
def _bar(console: Console, title: str) -> Iterator[Watch]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        # Names of layers come from the other side: not markup.
        TextColumn("{task.fields[what]}", style="dim", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=None, what="")

        def watch(done: int, total: int, what: str) -> None:
            progress.update(task, completed=done, total=total, what=what[-40:])

        yield watch


def _lines(title: str) -> Watch:
    started = time.monotonic()
    last = started

    def watch(done: int, total: int, what: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            print(f"{title}: {done} of {total}, {now - started:.0f} s", file=sys.stderr, flush=True)

    return watch
