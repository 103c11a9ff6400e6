"""What runs a compiled model: the Program, its Weights, the two parties, the cleartext oracle, the
files that become images, and the study of a cohort. docs/python.md shows how they go together.

The names load when they are first used: `import moiety.runtime` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moiety.runtime.intake.loader import Reader, load
    from moiety.runtime.party.client import Client, Connection
    from moiety.runtime.party.credentials import Credentials, KeyFiles
    from moiety.runtime.party.endpoints import Listener, connect
    from moiety.runtime.party.server import Server, ServerOptions
    from moiety.runtime.party.stock import Cellar
    from moiety.runtime.program import Program
    from moiety.runtime.program.artifacts import load_vendor
    from moiety.runtime.program.cleartext import CleartextExecutor
    from moiety.runtime.program.policy import Policy
    from moiety.runtime.program.preprocessing import Preprocessing
    from moiety.runtime.program.weights import Weights
    from moiety.runtime.store.key import StoreKey
    from moiety.runtime.study.evaluate import evaluate
    from moiety.runtime.study.prepare import StudyOptions
    from moiety.runtime.study.session import SessionPlan
    from moiety.runtime.study.table import Study

__all__ = [
    "Cellar",
    "CleartextExecutor",
    "Client",
    "Connection",
    "Credentials",
    "KeyFiles",
    "Listener",
    "Policy",
    "Preprocessing",
    "Program",
    "Reader",
    "Server",
    "ServerOptions",
    "SessionPlan",
    "StoreKey",
    "Study",
    "StudyOptions",
    "Weights",
    "connect",
    "evaluate",
    "load",
    "load_vendor",
]

_HOMES = {
    "Cellar": "party.stock",
    "CleartextExecutor": "program.cleartext",
    "Client": "party.client",
    "Connection": "party.client",
    "Credentials": "party.credentials",
    "KeyFiles": "party.credentials",
    "Listener": "party.endpoints",
    "Policy": "program.policy",
    "Preprocessing": "program.preprocessing",
    "Program": "program",
    "Reader": "intake.loader",
    "Server": "party.server",
    "ServerOptions": "party.server",
    "SessionPlan": "study.session",
    "StoreKey": "store.key",
    "Study": "study.table",
    "StudyOptions": "study.prepare",
    "Weights": "program.weights",
    "connect": "party.endpoints",
    "evaluate": "study.evaluate",
    "load": "intake.loader",
    "load_vendor": "program.artifacts",
}


def __getattr__(name: str) -> object:
    """Loaded when asked for: who imports one room loads none of the others."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
