"""The faces: the names that each package offers, pinned. Another name here is another promise."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

FACES = {
    "moiety.compiler": (
        "CompileOptions",
        "Compiled",
        "PlanOptions",
        "Ranges",
        "compile_graph",
        "compile_model",
        "import_onnx",
        "optimise",
    ),
    "moiety.runtime": (
        "CleartextExecutor",
        "Client",
        "Program",
        "Server",
        "ServerOptions",
        "Weights",
    ),
    "moiety.protocols": (
        "Channel",
        "MoietyError",
        "Prg",
        "Role",
        "Session",
        "open_session",
    ),
}


@pytest.mark.parametrize("name", sorted(FACES))
def test_a_face_offers_these_names(name: str) -> None:
    face = importlib.import_module(name)
    assert tuple(face.__all__) == FACES[name]
    assert all(getattr(face, each).__doc__ for each in face.__all__)


def test_the_faces_of_a_party_load_no_compiler() -> None:
    """All names of both faces taken, in a process of their own."""
    lines = [
        f"from {name} import {', '.join(FACES[name])}"
        for name in ("moiety.protocols", "moiety.runtime")
    ]
    lines += ["import sys", "print([m for m in sys.modules if m.startswith('moiety.compiler')])"]
    lines += ["print([m for m in ('onnx', 'sympy', 'torch') if m in sys.modules])"]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["[]", "[]"]
