"""A sender of silent correlations that answers a refill otherwise than it should."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from moiety.protocols.arrays import U8, U16
from moiety.protocols.ot.generators import ALWAYS_SILENT
from moiety.protocols.ot.silent import SilentReceiver, SilentSender
from moiety.protocols.session import Role, Session
from moiety.protocols.settlement import settle
from tests.protocols.oracles import multiples
from tests.support.two_party import run_two_party, vole

ROWS = 2048
"""Those of the first tree of either iteration of a refill."""

Change = Callable[[SilentSender, U8], None]


def right_leaves(sender: SilentSender, answer: U8) -> None:
    """The sum of the right leaves of the first tree, which half of the receivers open."""
    answer[0, -2, 3] ^= 1


def deviating(monkeypatch: pytest.MonkeyPatch, change: Change, who: Role) -> dict[str, Any]:
    """Installs it at one party, in the first iteration; what the receiver's noise was."""
    honest_answer, honest_choose = SilentSender._answer, SilentReceiver._choose
    seen: dict[str, Any] = {"answered": False}

    def answer(self: SilentSender, sums: U8, w: U8) -> U8:
        made = honest_answer(self, sums, w)
        if self._role is who and not seen["answered"]:  # type: ignore[attr-defined]
            seen["answered"] = True
            made = made.copy()
            change(self, made)
        return made

    def choose(self: SilentReceiver, u: U8) -> tuple[U16, U8, U8]:
        alpha, beta, shifts = honest_choose(self, u)
        seen.setdefault("alpha", []).append(alpha)
        return alpha, beta, shifts

    monkeypatch.setattr(SilentSender, "_answer", answer)
    monkeypatch.setattr(SilentReceiver, "_choose", choose)
    return seen


def mark(session: Session) -> None:
    for generator in (vole(session.sender).bits, vole(session.sender).nibbles):
        generator._role = session.role


def used(who: Role, n: int, k: int, seed: int, kept: dict[str, Any], more: int = 0) -> None:
    """`who` is the sender of n correlations, which both parties note, and of `more`, if any; then
    all is settled.
    """

    def body(session: Session) -> None:
        mark(session)
        if session.role is who:
            sender = vole(session.sender)
            kept["w"], kept["delta"] = sender.extend(n, k), sender.delta
            if more:
                sender.extend(more, k)
            session.channel.send(b"0")
        else:
            kept["u"], later = vole(session.receiver).begin(n, k)
            if more:
                vole(session.receiver).begin(more, k)
            session.channel.recv(1)
            kept["v"] = later()
        settle(session)

    run_two_party(body, body, seed, silent_from=ALWAYS_SILENT)


def related(kept: dict[str, Any]) -> bool:
    return np.array_equal(kept["w"], kept["v"] ^ multiples(kept["u"], kept["delta"]))


def changed_sum(sender: SilentSender, answer: U8) -> None:
    """A level's sum of the first tree."""
    answer[0, 4, 0] ^= 128
