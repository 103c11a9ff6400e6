"""What runs a compiled model: the Program, its Weights, the two parties, and the cleartext oracle.

The names load when they are first used: `import moiety.runtime` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moiety.runtime.party.client import Client
    from moiety.runtime.party.endpoints import Listener, connect
    from moiety.runtime.party.server import Server, ServerOptions
    from moiety.runtime.program import Program
    from moiety.runtime.program.cleartext import CleartextExecutor
    from moiety.runtime.program.weights import Weights

__all__ = [
    "CleartextExecutor",
    "Client",
    "Listener",
    "Program",
    "Server",
    "ServerOptions",
    "Weights",
    "connect",
]

_HOMES = {
    "CleartextExecutor": "program.cleartext",
    "Client": "party.client",
    "Listener": "party.endpoints",
    "Program": "program",
    "Server": "party.server",
    "ServerOptions": "party.server",
    "Weights": "program.weights",
    "connect": "party.endpoints",
}


def __getattr__(name: str) -> object:
    """Loaded when asked for: who imports one room loads none of the others."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
