"""The names that `moiety.protocols` offers, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from moiety import protocols

PROBE = """
import sys
from moiety import protocols
from moiety.protocols.compare.relu import relu_cost
relu_cost(100, 16, 28)
print([name for name in ("nacl", "socket") if name in sys.modules])
"""


def test_the_face_is_these_names() -> None:
    assert protocols.__all__ == ["Channel", "MoietyError", "Prg", "Role", "Session", "open_session"]
    assert all(getattr(protocols, name).__name__ == name for name in protocols.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Sesion'"):
        getattr(protocols, "Sesion")  # noqa: B009 - as a misspelt import would


def test_declared_costs_load_no_public_key_library_and_no_sockets() -> None:
    """The compiler, too, may ask what a protocol costs."""
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
