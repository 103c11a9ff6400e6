"""The faces: the names that each package offers, pinned, and what it costs to look at one. Another
name here is another promise.
"""

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
        "Revealing",
        "compile_graph",
        "compile_model",
        "import_onnx",
        "optimise",
    ),
    "moiety.runtime": (
        "CleartextExecutor",
        "Client",
        "Listener",
        "Program",
        "Server",
        "ServerOptions",
        "Weights",
        "connect",
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
NOT_IN_A_PARTY = ("moiety.compiler", "onnx", "onnxruntime", "sympy", "torch")


def loaded_by(*statements: str) -> set[str]:
    """The modules that a process of its own has loaded when it has run these."""
    lines = (*statements, "import sys", "print(*sys.modules)")
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def everything_of(face: str) -> str:
    return f"from {face} import {', '.join(FACES[face])}"


@pytest.mark.parametrize("name", FACES)
def test_a_face_offers_these_names(name: str) -> None:
    face = importlib.import_module(name)
    assert tuple(face.__all__) == tuple(dir(face)) == FACES[name]
    for each in face.__all__:
        assert getattr(face, each).__name__ == each
        assert getattr(face, each).__doc__, f"{each} does not say what it is"
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'Sesion'"):
        getattr(face, "Sesion")  # noqa: B009 - as a misspelt import would


@pytest.mark.parametrize("name", FACES)
def test_a_face_costs_nothing_until_it_is_used(name: str) -> None:
    """Not even NumPy is loaded."""
    loaded = loaded_by(f"import {name}")
    assert {each for each in loaded if each.startswith("moiety.")} == {name}
    assert not loaded & {"numpy", "msgspec"}


def test_the_faces_of_a_party_load_no_compiler() -> None:
    """Nor do all of their names."""
    loaded = loaded_by(everything_of("moiety.protocols"), everything_of("moiety.runtime"))
    assert not loaded & {*NOT_IN_A_PARTY}


def test_the_face_of_the_compiler_loads_no_party() -> None:
    loaded = loaded_by(everything_of("moiety.compiler"))
    assert not {
        each for each in loaded if each.startswith(("moiety.runtime.party", "moiety.models"))
    }
    assert not loaded & {"nacl", "torch"}


def test_declared_costs_load_no_public_key_library_and_no_sockets() -> None:
    """The compiler, too, may ask what a protocol costs."""
    cost = "from moiety.protocols.compare.relu import relu_cost"
    assert not loaded_by(cost, "relu_cost(100, 16, 28)") & {"nacl", "socket"}
