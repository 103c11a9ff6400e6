"""What each party sees of a protocol, over many runs on one input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from moiety.protocols.arrays import U8
from moiety.protocols.session import Role
from moiety.protocols.setup import open_session
from tests.protocols.conformance import Case, Pair
from tests.support.two_party import Pipe, run_both
from tests.support.wiretap import Wiretap

TIMEOUT = 60.0
LONGEST = 2048
"""Bytes that are kept of a message or a result at either end: what is reused, constant or in clear
in the middle of a long one is so at its ends."""
Message = tuple[str, bytes]
"""Label and content."""


@dataclass(frozen=True)
class View:
    """`messages[m]`: uint8 `(runs, bytes)`, message m to this party in every run. `results`: the
    bytes of what the protocol gave to it, `(runs, bytes)`. `shape`: label and length of every
    message of a run, those to this party first.
    """

    messages: list[U8]
    results: U8
    shape: tuple[tuple[str, int], ...]


def views(case: Case, inputs: Pair, runs: int) -> tuple[View, View]:
    """The server's and the client's. Raises AssertionError where two runs differ in the lengths or
    the order of their messages.
    """
    down, up = Pipe(), Pipe()
    taps = Wiretap(down, up, TIMEOUT), Wiretap(up, down, TIMEOUT)

    def side(role: Role) -> Callable[[], tuple[list[U8], list[list[Message]]]]:
        def body() -> tuple[list[U8], list[list[Message]]]:
            session = open_session(role, taps[role])
            results, sent = [], []
            for _ in range(runs):
                begun = len(taps[role].messages)
                results.append(flat(case.body(session, inputs[role])))
                sent.append(taps[role].messages[begun:])
            return results, sent

        return body

    (server, down_sent), (client, up_sent) = run_both(side(Role.SERVER), side(Role.CLIENT), taps)
    return view(server, up_sent, down_sent), view(client, down_sent, up_sent)


def view(results: list[U8], received: list[list[Message]], sent: list[list[Message]]) -> View:
    """From what one party got in each run."""
    shapes = {
        tuple((label, len(data)) for label, data in theirs + own)
        for theirs, own in zip(received, sent, strict=True)
    }
    assert len(shapes) == 1, f"{len(shapes)} different sequences of messages on one input"
    messages = [
        np.stack([ends(np.frombuffer(data, np.uint8)) for _, data in parts])
        for parts in zip(*received, strict=True)
    ]
    return View(messages, np.stack(results), shapes.pop())


def flat(value: Any) -> U8:
    """All bytes of the arrays in a result."""
    parts: list[U8] = []

    def visit(item: Any) -> None:
        if isinstance(item, np.ndarray):
            parts.append(np.ascontiguousarray(item).reshape(-1).view(np.uint8))
        elif isinstance(item, (tuple, list)):
            for each in item:
                visit(each)
        elif is_dataclass(item):
            for field in fields(item):
                visit(getattr(item, field.name))

    visit(value)
    return ends(np.concatenate([*parts, np.zeros(0, np.uint8)]))


def ends(octets: U8) -> U8:
    """What is kept."""
    if octets.size <= 2 * LONGEST:
        return octets
    return np.concatenate([octets[:LONGEST], octets[-LONGEST:]])
