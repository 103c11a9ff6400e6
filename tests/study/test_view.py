"""What a study says of itself as it runs, by a clock that the tests move."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import msgspec
import pytest
from rich.console import Console

from moiety.runtime.cli.study_view import RECENT, View
from moiety.runtime.study.forecast import Prices
from moiety.runtime.study.journal import Image
from tests.support.results import an_image

SET_UP = 600.0
"""Seconds until a cluster is joined and sessions are open."""


@dataclass
class Followed:
    """A view, and the time that it sees. `names`: of sites, by an image's number in turn."""

    total: int
    before: int = 0
    prices: Prices = field(default_factory=Prices)
    names: tuple[str, ...] = ("a", "b")
    now: float = 1000.0

    def __post_init__(self) -> None:
        self.view = View(self.total, self.before, self.prices, clock=lambda: self.now)
        for number in range(self.total):
            name = self.names[number % len(self.names)]
            self.view.site_of[str(number)] = name
            self.view.sites.setdefault(name, [0, 0])[1] += 1

    def lands(self, after: float, took: float, batch: int = 1, worker: str = "session 1") -> None:
        """An image, so many seconds after the last; its run took `took`."""
        self.now += after
        result = msgspec.structs.replace(
            an_image("0.png"), seconds=took / batch, batch=batch, bytes_sent=10**9
        )
        self.view.image(Image(key=str(self.view.done), elapsed=0.0, worker=worker, result=result))


def test_the_time_left_is_of_images_and_not_of_what_comes_before_the_first() -> None:
    followed = Followed(101)
    assert followed.view.left() is None
    assert "left" not in followed.view.line()
    followed.lands(SET_UP + 3, 3.0)
    assert followed.view.left() == pytest.approx(100 * 3.0)
    assert "image 1 of 101" in followed.view.line()
    assert "5 min left" in followed.view.line()
    followed.lands(5, 5.0)
    assert followed.view.left() == pytest.approx(99 * 4.0)


def test_the_time_left_with_several_sessions_and_with_batches() -> None:
    two = Followed(100)
    two.lands(SET_UP + 4, 4.0)
    two.lands(0, 4.0, worker="session 2")
    assert two.view.left() == pytest.approx(98 * 2.0)
    batches = Followed(100)
    for after in (SET_UP + 8, 0, 0, 0):
        batches.lands(after, 8.0, batch=4)
    assert batches.view.left() == pytest.approx(96 * 2.0)


def test_the_time_left_follows_the_last_images() -> None:
    followed = Followed(10 * RECENT)
    for _ in range(2 * RECENT):
        followed.lands(1, 1.0)
    for _ in range(RECENT):
        followed.lands(10, 10.0)
    assert followed.view.left() == pytest.approx(7 * RECENT * 10.0)


def test_nothing_is_left_after_the_last_image() -> None:
    followed = Followed(1)
    followed.lands(2, 2.0)
    assert followed.view.left() == 0
    assert "left" not in followed.view.line()


def test_the_cost_so_far_has_the_images_of_earlier_parts() -> None:
    followed = Followed(3, before=2, prices=Prices(hour=36.0, gigabyte=0.5))
    assert "cost so far 0.00" in followed.view.line()
    for _ in range(2):  # as View.of does with those of the journal
        followed.view.charge(msgspec.structs.replace(an_image("0.png"), seconds=50.0))
    followed.lands(100, 100.0)
    seconds, gigabytes = 200.0, (10**9 + 2 * 10 + 3 * 20) / 1e9
    assert followed.view.cost() == pytest.approx(36.0 * seconds / 3600 + 0.5 * gigabytes)
    assert "image 3 of 5" in followed.view.line()
    assert "cost so far 2.50" in followed.view.line()


def test_without_prices_there_is_no_cost() -> None:
    assert "cost" not in Followed(1).view.line()


def test_the_live_view_shows_names_as_they_are_and_no_figure_of_the_model() -> None:
    followed = Followed(4, names=("[red]north[/red]", "so\x1b[2Juth"))
    followed.lands(2, 2.0, worker="session 1 on [bold]x[/bold]")
    followed.lands(1, 4.0, worker="session 2")
    screen = io.StringIO()
    Console(file=screen, force_terminal=True, color_system=None, width=100).print(
        followed.view.shown()
    )
    said = screen.getvalue()
    assert "site: [red]north[/red]" in said
    assert "1 of 2" in said
    assert "session 1 on [bold]x[/bold]" in said
    assert "1 image, 4.00 s each" in said
    assert "\x1b[2J" not in said
    assert "AUROC" not in said
    for value in an_image("0.png").outputs[0].values:
        assert str(value) not in said
