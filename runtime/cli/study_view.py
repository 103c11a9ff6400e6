"""A study as it runs: on a terminal a live view, elsewhere a line now and then. Never a figure of
the model: who sees one grow may be tempted to stop when it looks well.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from moiety.runtime.cli import ui
from moiety.runtime.cli.progress import SECONDS_BETWEEN_LINES
from moiety.runtime.cli.study_tables import duration, money, traffic
from moiety.runtime.intake.text import printable
from moiety.runtime.results.record import ImageResult
from moiety.runtime.study.forecast import Prices
from moiety.runtime.study.journal import Image, Journal
from moiety.runtime.study.prepare import Prepared

RECENT = 50
"""So many images the speed is taken from."""


@dataclass
class Speed:
    """Of one session: its images, and the seconds of all of them."""

    images: int = 0
    seconds: float = 0.0


@dataclass
class View:
    """Follows a study (runner.Watcher). total: images that it will have in this part; before: those
    that were there when it began. `_begun`: when the run of the first began, which is when sessions
    were there: what a cluster and their set-up take comes once, and tells nothing of the pace.
    """

    total: int
    before: int
    prices: Prices
    done: int = 0
    seconds: float = 0.0
    sent: int = 0
    received: int = 0
    sites: dict[str, list[int]] = field(default_factory=dict)
    site_of: dict[str, str] = field(default_factory=dict)
    sessions: dict[str, Speed] = field(default_factory=dict)
    live: Live | None = None
    clock: Callable[[], float] = time.monotonic
    _begun: float = 0.0
    _last: float = field(init=False)
    _recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))

    def __post_init__(self) -> None:
        self._last = self.clock()

    @classmethod
    def of(cls, prepared: Prepared, journal: Journal, prices: Prices) -> View:
        """Before its first image."""
        pending = prepared.pending(journal)
        view = cls(len(pending), len(journal.images), prices)
        for image in journal.images.values():
            view.charge(image.result)
        for number, _ in pending:
            site = prepared.lines[number].site
            view.site_of[prepared.keys[number]] = site
            view.sites.setdefault(site, [0, 0])[1] += 1
        return view

    def waits(self, name: str, ahead: int) -> None:
        """A session waits for its turn."""
        ui.say(
            f"{name}: the server is busy, waiting: {ahead} ahead"
            if ahead
            else f"{name}: the server is getting ready, waiting"
        )

    def image(self, image: Image) -> None:
        result = image.result
        self.done += 1
        self.charge(result)
        self.sites[self.site_of[image.key]][0] += 1
        speed = self.sessions.setdefault(image.worker, Speed())
        speed.images += 1
        speed.seconds += result.seconds
        now = self.clock()
        if not self._recent:
            self._begun = now - result.seconds * result.batch
        self._recent.append(now)
        for warning in result.doubts():
            ui.warn(f"{printable(result.file)}: {warning.code}: {printable(warning.text)}")
        if self.live is not None:
            self.live.update(self.shown())
        elif self._due():
            ui.say(self.line())

    def charge(self, result: ImageResult) -> None:
        """To what the study has taken so far."""
        self.seconds += result.seconds
        self.sent += result.bytes_sent
        self.received += result.bytes_received

    def _due(self) -> bool:
        now = self.clock()
        due = now - self._last >= SECONDS_BETWEEN_LINES or self.done == self.total
        self._last = now if due else self._last
        return due

    def left(self) -> float | None:
        """Seconds, at the pace of the last images; None before there is one."""
        if not self._recent:
            return None
        full = len(self._recent) == RECENT
        began = self._recent[0] if full else self._begun
        pace = (self._recent[-1] - began) / (len(self._recent) - full)
        return pace * (self.total - self.done)

    def line(self) -> str:
        """Where it is, in one."""
        left = self.left()
        parts = [
            f"image {self.before + self.done} of {self.before + self.total}",
            traffic(self.sent, self.received),
        ]
        if left is not None and self.done < self.total:
            parts.append(f"{duration(left)} left")
        if self.prices.known:
            parts.append(f"cost so far {money(self.cost())}")
        return ", ".join(parts)

    def cost(self) -> float:
        """Of all images that are done."""
        return self.prices.of(self.seconds, self.sent + self.received)

    def shown(self) -> Group:
        """The live view."""
        bar = Table.grid()
        bar.add_row(ProgressBar(total=max(1, self.total), completed=self.done, width=40))
        return Group(self.line(), bar, self._sites(), self._sessions())

    def _sites(self) -> Table:
        shown = ui.facts()
        for site, (done, total) in sorted(self.sites.items())[:12]:
            name = f"site: {site or 'not said'}"
            shown.add_row(ui.literal(printable(name)), f"{done} of {total}")
        return shown

    def _sessions(self) -> Table:
        shown = ui.facts()
        for name, speed in sorted(self.sessions.items())[:12]:
            pace = speed.seconds / speed.images
            shown.add_row(ui.literal(name), f"{ui.images(speed.images)}, {pace:.2f} s each")
        return shown


@contextmanager
def following(prepared: Prepared, journal: Journal, prices: Prices) -> Iterator[View]:
    """A view of what is about to run."""
    view = View.of(prepared, journal, prices)
    console = Console(stderr=True)
    if not console.is_terminal:
        yield view
        return
    with Live(view.shown(), console=console, refresh_per_second=4, transient=True) as live:
        view.live = live
        yield view
