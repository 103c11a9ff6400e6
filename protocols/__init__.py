"""Two-party protocols on secret shares: oblivious transfer, comparisons, homomorphic linear layers.

What runs between the parties is in the rooms `ot`, `compare` and `linear`; each protocol is a
function of a Session and stands beside its declared cost. The names below are the face: what it
takes to open a session over a channel.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moiety.protocols.channel import Channel
    from moiety.protocols.errors import MoietyError
    from moiety.protocols.prg import Prg
    from moiety.protocols.session import Role, Session
    from moiety.protocols.setup import open_session

__all__ = ["Channel", "MoietyError", "Prg", "Role", "Session", "open_session"]

_HOMES = {
    "Channel": "channel",
    "MoietyError": "errors",
    "Prg": "prg",
    "Role": "session",
    "Session": "session",
    "open_session": "setup",
}


def __getattr__(name: str) -> object:
    """Loaded when asked for: who imports arithmetic from here loads no public-key library."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
