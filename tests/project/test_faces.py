"""The faces: the names that each package offers, pinned, what is said of them, and what it costs to
look at one. Another name here is another promise.
"""

from __future__ import annotations

import ast
import importlib
import importlib.resources
import inspect
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from moiety.protocols import errors
from tests.support.imports import INSTALLED

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


def public(face: str) -> Iterator[tuple[str, Any]]:
    """Everything that a face offers: names, and the public members that its classes define."""
    for name in FACES[face]:
        offered = getattr(importlib.import_module(face), name)
        yield name, offered
        if inspect.isclass(offered):
            for member, value in vars(offered).items():
                if not member.startswith("_"):
                    yield f"{name}.{member}", unwrapped(value)


def unwrapped(member: Any) -> Any:
    """The function of a method or a property."""
    if isinstance(member, classmethod | staticmethod):
        return member.__func__
    return member.fget if isinstance(member, property) else member


def functions(face: str) -> dict[str, FunctionType]:
    """But for defaults of a dataclass's fields."""
    return {
        name: value
        for name, value in public(face)
        if isinstance(value, FunctionType) and value.__name__ != "<lambda>"
    }


def raised_by(function: Callable[..., Any]) -> set[str]:
    """The project's exceptions that a function raises in its own lines. A contract's violation is a
    bug, not a promise.
    """
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    names = {
        ast.unparse(each.exc.func if isinstance(each.exc, ast.Call) else each.exc).split(".")[-1]
        for each in ast.walk(tree)
        if isinstance(each, ast.Raise) and each.exc is not None
    }
    return {name for name in names if hasattr(errors, name)} - {"ContractViolation"}


@pytest.mark.parametrize("face", FACES)
def test_every_public_name_is_documented(face: str) -> None:
    """Also what a class offers; with types of every parameter and of the result."""
    lacking = [name for name, value in functions(face).items() if not inspect.getdoc(value)]
    assert not lacking
    untyped = [
        f"{name}: {parameter}"
        for name, value in functions(face).items()
        for parameter in (*inspect.signature(value).parameters, "return")
        if parameter not in ("self", "cls") and parameter not in value.__annotations__
    ]
    assert not untyped


@pytest.mark.parametrize("face", FACES)
def test_what_a_function_raises_stands_in_its_docstring(face: str) -> None:
    wrong = [
        f"{name} raises {error}"
        for name, value in functions(face).items()
        for error in raised_by(value)
        if error not in (said := inspect.getdoc(value) or "") and "aises as" not in said
    ]
    assert not wrong


@pytest.mark.parametrize("face", FACES)
def test_arrays_have_a_shape(face: str) -> None:
    """Where a function takes or gives arrays, its docstring says of what shape."""
    wrong = [
        name
        for name, value in functions(face).items()
        if any(array in str(value.__annotations__) for array in ("F32", "F64", "I64", "U64"))
        and not re.search(r"\(|flat|shape", inspect.getdoc(value) or "")
    ]
    assert not wrong


@pytest.mark.parametrize("face", FACES)
def test_the_page_on_python_names_every_name(face: str) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/python.md").read_text(encoding="utf-8")
    assert not [name for name in FACES[face] if f"`{name}`" not in page]


@pytest.mark.parametrize("package", INSTALLED)
def test_a_package_says_that_it_is_typed(package: str) -> None:
    """In the installed package, where a user's type checker looks (PEP 561)."""
    assert importlib.resources.files(f"moiety.{package}").joinpath("py.typed").is_file()
