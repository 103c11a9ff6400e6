"""What `import moiety.runtime` offers, and that it costs nothing until it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import moiety.runtime

FACE = [
    "CleartextExecutor",
    "Client",
    "Listener",
    "Program",
    "Server",
    "ServerOptions",
    "Weights",
    "connect",
]


def test_the_face_is_this() -> None:
    assert moiety.runtime.__all__ == FACE == dir(moiety.runtime)
    for name in FACE:
        assert getattr(moiety.runtime, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Weight'"):
        moiety.runtime.Weight  # type: ignore[attr-defined]  # noqa: B018


def test_names_load_when_they_are_used() -> None:
    code = "import sys, moiety.runtime; print({'numpy', 'msgspec'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
