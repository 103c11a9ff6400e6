"""How long a client may take: the alarm of the process that serves it, by a clock of the test's."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from moiety.protocols.ot.generators import ALWAYS_SILENT, NEVER_SILENT
from moiety.runtime.cost.clock import predict, total
from moiety.runtime.cost.machine import REFERENCE_MACHINE
from moiety.runtime.cost.traffic import run_cost
from moiety.runtime.party.server.limits import (
    Alarm,
    Overdue,
    aggregate_seconds,
    run_seconds,
)
from moiety.runtime.party.server.options import ServerOptions
from tests.support.kept import keeping
from tests.support.runnable import small


class Transfer:
    """A channel, and the clock beside it."""

    def __init__(self) -> None:
        self.wire_sent = self.wire_received = 0
        self.transferring = True
        self.now = 1000.0

    def passes(self, alarm: Alarm, seconds: int, sent: int = 0, received: int = 0) -> None:
        """So many seconds, in each of which so many bytes are moved."""
        for _ in range(2 * seconds):
            self.now += 0.5
            self.wire_sent += sent // 2
            self.wire_received += received // 2
            alarm._ring(signal.SIGALRM, None)


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Transfer:
    made = Transfer()
    monkeypatch.setattr(time, "monotonic", lambda: made.now)
    return made


def alarm_of(line: Transfer, **options: Any) -> Alarm:
    return Alarm(line, ServerOptions(**options))  # type: ignore[arg-type]


def test_the_default_limits_are_these() -> None:
    options = ServerOptions()
    assert (options.handshake_seconds, options.setup_seconds, options.idle_seconds) == (
        10,
        120,
        120,
    )
    assert (options.session_seconds, options.run_seconds) == (43200, None)
    assert (options.min_rate, options.stall_seconds) == (100_000, 60)


def test_what_lasts_too_long_is_ended_with_its_words(line: Transfer) -> None:
    line.transferring = False
    alarm = alarm_of(line)
    with alarm.within(3.0, "a run"):
        line.passes(alarm, 3)
        with pytest.raises(Overdue, match="a run took longer than the 3 s that it may"):
            line.passes(alarm, 1)
    line.passes(alarm, 1000)  # what is over has no limit


def test_the_outer_limit_holds_inside_another(line: Transfer) -> None:
    line.transferring = False
    alarm = alarm_of(line)
    with alarm.within(5.0, "the session"):
        for _ in range(2):
            with alarm.within(3.0, "a run"):
                line.passes(alarm, 2)
        with (
            alarm.within(3.0, "a run"),
            pytest.raises(Overdue, match="the session took longer than the 5 s"),
        ):
            line.passes(alarm, 2)


@pytest.mark.parametrize(("sent", "received"), [(998, 0), (0, 998), (498, 498), (0, 0)])
def test_a_transfer_slower_than_the_least_rate_is_ended(
    line: Transfer, sent: int, received: int
) -> None:
    alarm = alarm_of(line, min_rate=1000, stall_seconds=60)
    line.passes(alarm, 59, sent, received)
    words = rf"{sent + received} bytes a second where at least 1000 are due"
    with pytest.raises(Overdue, match=words):
        line.passes(alarm, 2, sent, received)


@pytest.mark.parametrize(("sent", "received"), [(1000, 0), (0, 1000), (500, 500)])
def test_a_transfer_at_the_least_rate_goes_on(line: Transfer, sent: int, received: int) -> None:
    line.passes(alarm_of(line, min_rate=1000, stall_seconds=60), 600, sent, received)


def test_a_fast_beginning_does_not_pay_for_a_stall(line: Transfer) -> None:
    """Each minute by itself."""
    alarm = alarm_of(line, min_rate=1000, stall_seconds=60)
    line.passes(alarm, 60, 10_000_000)
    with pytest.raises(Overdue):
        line.passes(alarm, 61, 10)


def test_nothing_under_way_is_no_stall(line: Transfer) -> None:
    line.transferring = False
    line.passes(alarm_of(line, min_rate=1000, stall_seconds=60), 600)


def test_the_alarm_rings_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of whatever the process is doing; not after its stop."""
    set_to: list[tuple[float, ...]] = []
    monkeypatch.setattr(signal, "setitimer", lambda which, *seconds: set_to.append(seconds))
    before = signal.getsignal(signal.SIGALRM)
    channel: Any = SimpleNamespace(wire_sent=0, wire_received=0, transferring=False)
    alarm = Alarm(channel, ServerOptions())
    try:
        alarm.start()
        with alarm.within(-1.0, "a run"), pytest.raises(Overdue):
            signal.raise_signal(signal.SIGALRM)
        alarm.stop()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert set_to == [(0.5, 0.5), (0,)]


def test_what_a_run_may_take() -> None:
    """A minute, twenty times what is predicted, and its bytes at the least rate; or what the vendor
    says.
    """
    program, _ = small()
    cost = run_cost(program, 1)
    predicted = max(
        total(predict([cost], REFERENCE_MACHINE, program.planned_for, silent)).total
        for silent in (ALWAYS_SILENT, NEVER_SILENT)
    )
    for rate in (100_000.0, 1000.0):
        allowed = 60 + 20 * predicted + (cost.up + cost.down) / rate
        assert run_seconds(program, 1, ServerOptions(min_rate=rate)) == pytest.approx(allowed)
    assert run_seconds(program, 8, ServerOptions(run_seconds=3.0)) == 3.0


@pytest.mark.parametrize("allowed", [run_seconds, aggregate_seconds])
def test_more_images_may_take_longer(allowed: Callable[..., float]) -> None:
    program, _ = keeping()
    one, many = (allowed(program, images, ServerOptions()) for images in (2, 8))
    assert 60 < one < many
