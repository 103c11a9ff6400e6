"""What either party sends while sums of a cohort are made under keys (aggregate/sealed)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from moiety.protocols.arrays import U8, U64
from moiety.protocols.session import Role, Session
from moiety.protocols.setup import open_session
from tests.support.two_party import Pipe, run_both
from tests.support.wiretap import Wiretap, chi_square

Make = Callable[[Session, U64, U8 | None], Any]
"""Sums of a party's shares `(labels, images)`, of the marks that the client alone has."""


class Tapped(NamedTuple):
    """`sent`: the messages of either party before the revealing; `told`: what the client is;
    `shares`: the server's and the client's of the sums.
    """

    sent: dict[Role, list[U8]]
    told: Any
    shares: list[U64]

    @property
    def lengths(self) -> dict[Role, list[int]]:
        return {role: [each.size for each in messages] for role, messages in self.sent.items()}


def tapped(make: Make, reveal: Callable[[Session, Any], Any], marks: U8) -> Tapped:
    """Of shares that are zeros."""
    down, up = Pipe(), Pipe()
    taps = Wiretap(down, up, 60.0), Wiretap(up, down, 60.0)
    sent: dict[Role, list[U8]] = {}
    sums: dict[Role, U64] = {}

    def side(role: Role) -> Any:
        session = open_session(role, taps[role])
        begin = len(taps[role].messages)
        known = None if session.is_server else marks
        made = make(session, np.zeros(marks.shape, np.uint64), known)
        session.channel.flush()
        octets = [np.frombuffer(data, np.uint8) for _, data in taps[role].messages[begin:]]
        sent[role], sums[role] = octets, made.shares
        return reveal(session, made)

    _, told = run_both(partial(side, Role.SERVER), partial(side, Role.CLIENT), taps)
    return Tapped(sent, told, [sums[Role.SERVER], sums[Role.CLIENT]])


def check_uniform(seen: Tapped, least: int) -> None:
    """All messages of either party, of so many bytes at least, but for their last ones, which may
    be filled up with zeros.
    """
    for messages in seen.sent.values():
        octets = np.concatenate([message[:-1] for message in messages])
        assert octets.size > least
        assert chi_square(octets) < 255 + 8 * 22.6


def check_lengths(run: Callable[[U8], Tapped]) -> None:
    """Messages are as long and as many whatever the marks are."""
    cases = [np.full((2, 9), mark, np.uint8) for mark in (0, 1)]
    cases.append(np.random.default_rng(4).integers(0, 3, (2, 9)).astype(np.uint8))
    lengths = [run(case).lengths for case in cases]
    assert all(each == lengths[0] for each in lengths)
