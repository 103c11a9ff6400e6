"""How long work says how far it has come."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""Called with (done, total, name of what comes next); total 0 where it is not known."""


def no_progress(done: int, total: int, what: str) -> None:
    """For those who do not watch."""
