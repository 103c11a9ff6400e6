"""What works with the base install, which is what a party needs, and what says which extra it is
that is missing.
"""

from __future__ import annotations

import functools
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from moiety.runtime.cli.app import find_commands
from moiety.runtime.intake.extras import EXTRAS
from tests.support.imports import this_checkout
from tests.support.runnable import save_small

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OPTIONAL = PROJECT["optional-dependencies"]
HOUSE = this_checkout()
HIDE = f"""
import sys
sys.modules.update(dict.fromkeys({tuple(EXTRAS)!r}))
"""
"""Runs before a process's own code: what only an extra installs cannot be imported."""
COMMAND = f"{HIDE}\nfrom moiety.runtime.cli.app import main\nmain()\n"
PARTY = ("serve", "infer", "evaluate", "inspect", "keys", "access", "audit", "calibrate-machine")


@functools.cache
def owners() -> dict[str, set[str]]:
    """Top-level module -> the installed distributions that it is of."""
    found = metadata.packages_distributions()
    return {module: set(map(canonicalize_name, each)) for module, each in found.items()}


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in requirements}


def libraries(requirements: list[str]) -> set[str]:
    """The top-level modules of these distributions, without those that they need."""
    wanted = names(requirements)
    return {module for module, found in owners().items() if wanted & found}


def foreign(roots: list[str]) -> set[str]:
    """What these modules and all that they import load from outside."""
    found = {library for module in HOUSE.closure(roots) for library in HOUSE.foreign(module)}
    return found - set(sys.stdlib_module_names) - {"__future__", "moiety"}


def later(modules: list[str]) -> list[str]:
    """What commands load when they run (`extras.Later`)."""
    sources = (HOUSE.paths[module].read_text(encoding="utf-8") for module in modules)
    found = [name for text in sources for name in re.findall(r'extras\.Later\("([\w.]+)"', text)]
    assert found
    return found


def base(*arguments: str | Path) -> list[str]:
    """`moiety` with these, as the base install has it."""
    return [sys.executable, "-c", COMMAND, *map(str, arguments)]


def ran(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(base(*arguments), capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("command", find_commands())
def test_every_command_explains_itself(command: str) -> None:
    """Whatever it needs when it runs."""
    shown = ran(command, "--help")
    assert shown.returncode == 0, shown.stderr
    assert f" {command} " in shown.stdout.splitlines()[1], shown.stdout


@pytest.mark.parametrize("command", PARTY)
def test_a_partys_command_imports_the_base_alone(command: str) -> None:
    module, _ = find_commands()[command]
    used = foreign([module, "moiety.runtime.cli.app"])
    assert used
    assert used <= libraries(PROJECT["dependencies"])


def test_the_compiler_imports_what_its_extra_installs() -> None:
    commands = find_commands()
    roots = [commands[name][0] for name in ("compile", "simulate", "sweep", "demo")]
    roots += later(roots)
    declared = libraries([*PROJECT["dependencies"], *OPTIONAL["compiler"]])
    assert foreign(roots) <= declared


def test_every_base_dependency_is_imported_by_a_party() -> None:
    used = foreign([f"moiety.runtime.cli.commands.{c.replace('-', '_')}" for c in PARTY])
    used |= foreign(["moiety.protocols.kernels.reference.blocks"])
    idle = {name for name in PROJECT["dependencies"] if not libraries([name]) & used}
    assert not idle


def test_every_extra_that_a_message_names_installs_the_library() -> None:
    for library, extra in EXTRAS.items():
        if library in owners():
            assert owners()[library] & names(OPTIONAL[extra]), library


def test_two_parties_and_the_public_file_need_the_base_alone(tmp_path: Path) -> None:
    save_small(tmp_path / "compiled")
    np.save(tmp_path / "x.npy", np.zeros((2, 8, 8), np.float32))
    shown = ran("inspect", tmp_path / "compiled", "--html", tmp_path / "program.html")
    assert shown.returncode == 0, shown.stderr
    serve = base("serve", tmp_path / "compiled", "--listen", "127.0.0.1:0", "--once", "--insecure")
    with subprocess.Popen(
        serve, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        address = server.stdout.readline().removeprefix("listening ").strip()
        files = ("infer", tmp_path / "compiled", tmp_path / "x.npy", "-o", tmp_path / "r.json")
        done = ran(*files, "--connect", address, "--insecure")
        if done.returncode:
            server.terminate()
        assert done.returncode == 0, done.stderr + server.stderr.read()
    assert (tmp_path / "r.json").stat().st_size


@pytest.mark.parametrize(
    ("arguments", "library", "extra"),
    [
        (("compile", "m.onnx", "--calibration", "x", "-o", "out"), "onnx", "compiler"),
        (("simulate", "compiled", "images", "--model", "m.onnx"), "onnx", "compiler"),
        (
            ("sweep", "m.onnx", "--calibration", "x", "--images", "y", "-o", "out"),
            *("onnx", "compiler"),
        ),
        (("demo",), "onnx", "compiler"),
        (("receive", "--port", "0", "--calling", "A", "-o", "x"), "pynetdicom", "net"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else value,
)
def test_what_is_missing_is_named_with_its_extra(
    arguments: tuple[str, ...], library: str, extra: str
) -> None:
    done = ran(*arguments)
    assert done.returncode == 5
    assert "Traceback" not in done.stderr
    said = " ".join(done.stderr.split())
    assert f"needs {library}" in said
    assert f"pip install 'moiety[{extra}]'" in said


def test_formulas_alone_need_sympy(tmp_path: Path) -> None:
    save_small(tmp_path / "compiled")
    done = ran("inspect", tmp_path / "compiled", "--cost")
    assert done.returncode == 5
    assert "--cost needs sympy" in " ".join(done.stderr.split())
    assert "pip install 'moiety[compiler]'" in " ".join(done.stderr.split())


def test_from_python_the_compiler_says_it_too() -> None:
    code = f"{HIDE}\nfrom moiety.compiler import compile_model\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "BadInput: moiety.compiler.compile_model needs" in done.stderr
    assert "pip install 'moiety[compiler]'" in done.stderr


def test_a_missing_onnx_is_named_with_its_extra() -> None:
    """Whatever is imported first."""
    code = (
        "from moiety.runtime.intake import extras\n"
        "for library in ('onnx', 'onnxruntime', 'networkx', 'sympy', 'google.protobuf'):\n"
        "    print(extras.missing('it', ModuleNotFoundError(name=library)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    assert all(line.endswith("pip install 'moiety[compiler]'") for line in lines)
