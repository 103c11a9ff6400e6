"""Who may import whom (docs/architecture.md), read from the source, and what
a party's process really loads.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.runnable import save_small

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("compiler", "runtime", "protocols", "models")
FORBIDDEN_IN_A_PARTY = (
    "onnx",
    "onnxruntime",
    "torch",
    "sympy",
    "networkx",
    "sklearn",
    "scipy",
    "moiety.compiler",
)

# Room -> what of the other rooms its modules may import, at the top or inside a function.
ALLOWED = {
    "compiler": (
        "moiety.runtime.program",
        "moiety.runtime.program.validate",
        "moiety.runtime.program.weights",
        "moiety.protocols.arrays",
        "moiety.protocols.compare.digits",
        "moiety.protocols.cost",
        "moiety.protocols.errors",
        "moiety.protocols.linear.parameters",
        "moiety.protocols.linear.layout",
        "moiety.protocols.linear.planner",
        "moiety.protocols.network",
    ),
    "protocols": (),
    "models": (
        "moiety.protocols.errors",
        "moiety.runtime.program",
        "moiety.runtime.intake.pictures",
    ),
}
# What `moiety compile`, `inspect --cost`, `simulate` and `demo` do. The
# commands import these when they run.
VENDOR_SIDE = (
    "moiety.compiler.CompileOptions",
    "moiety.compiler.PlanOptions",
    "moiety.compiler.building",
    "moiety.compiler.passes.DEFAULT_PIPELINE",
    "moiety.runtime.cli.cost_tables",
    "moiety.compiler.simulate",
    "moiety.models.demo",
)


def modules(*rooms: str) -> list[Path]:
    return sorted(path for room in rooms for path in (ROOT / room).rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported(tree: ast.AST) -> Iterator[str]:
    """Full names; `from a import b` counts as `a.b`, which is a module or a name in the module a.
    Type-checking imports are no imports.
    """
    for node in ast.iter_child_nodes(tree):
        if (
            isinstance(node, ast.If)
            and isinstance(node.test, ast.Name)
            and node.test.id == "TYPE_CHECKING"
        ):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from imported(node)


def imports_of(path: Path) -> list[str]:
    return list(imported(ast.parse(path.read_text(), str(path))))


def top_level_imports_of(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(), str(path))
    return list(
        imported(
            ast.Module(
                [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], []
            )
        )
    )


def within(name: str, module: str) -> bool:
    return name == module or name.startswith(module + ".")


@pytest.mark.parametrize("path", modules("compiler", "protocols", "models"), ids=name_of)
def test_room_imports_only_what_it_may(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    for name in imports_of(path):
        if within(name, "moiety") and not within(name, f"moiety.{room}"):
            assert any(within(name, allowed) for allowed in ALLOWED[room]), (
                f"{name_of(path)} imports {name}"
            )


@pytest.mark.parametrize("path", modules("protocols/kernels"), ids=name_of)
def test_kernels_know_no_protocol(path: Path) -> None:
    for name in imports_of(path):
        if within(name, "moiety"):
            allowed = (
                "moiety.protocols.kernels",
                "moiety.protocols.errors",
                "moiety.protocols._native",
            )
            assert any(within(name, each) for each in allowed), f"{name_of(path)} imports {name}"


@pytest.mark.parametrize("path", modules("runtime"), ids=name_of)
def test_only_the_vendors_side_of_the_runtime_knows_the_compiler(path: Path) -> None:
    if f"moiety.runtime.{path.stem}" in VENDOR_SIDE:
        return
    for name in imports_of(path):
        assert not any(within(name, each) for each in FORBIDDEN_IN_A_PARTY), (
            f"{name_of(path)} imports {name}"
        )
    for name in top_level_imports_of(path):
        assert not any(within(name, each) for each in VENDOR_SIDE), (
            f"{name_of(path)} imports {name} at the top"
        )


@pytest.mark.parametrize("path", modules("protocols", "runtime"), ids=name_of)
def test_sockets_are_in_one_file(path: Path) -> None:
    if name_of(path) != "runtime/party/transport.py":
        assert not any(
            within(name, each)
            for name in imports_of(path)
            for each in ("socket", "socketserver", "asyncio", "ssl")
        )


@pytest.mark.parametrize("path", modules("protocols", "runtime", "compiler"), ids=name_of)
def test_nothing_executable_is_ever_read(path: Path) -> None:
    assert not any(
        within(name, each)
        for name in imports_of(path)
        for each in ("pickle", "marshal", "shelve", "dill", "joblib")
    )


@pytest.mark.parametrize("room", ROOMS)
def test_no_file_grows_beyond_reading(room: str) -> None:
    long = {
        name_of(path): count
        for path in modules(room)
        if (count := len(path.read_text().splitlines())) > 600
    }
    assert not long


PROBE = """
import sys
from moiety.runtime.cli.app import app
try:
    app(sys.argv[1:], standalone_mode=False)
finally:
    loaded = [name for name in {forbidden!r} if name in sys.modules]
    print("LOADED", loaded)
"""


@pytest.mark.parametrize("command", ["serve", "infer"])
def test_a_party_process_loads_no_compiler(command: str, tmp_path: Path) -> None:
    """The two processes of a whole inference look at what they loaded when they end."""
    import numpy as np

    save_small(tmp_path / "compiled")
    np.save(tmp_path / "x.npy", np.zeros((2, 8, 8), np.float32))
    probe = [sys.executable, "-c", PROBE.format(forbidden=FORBIDDEN_IN_A_PARTY)]

    def party(*arguments: str, probed: bool) -> list[str]:
        return [*(probe if probed else [sys.executable, "-m", "moiety.runtime.cli"]), *arguments]

    serve = party(
        "serve",
        str(tmp_path / "compiled"),
        "--listen",
        "127.0.0.1:0",
        "--once",
        probed=command == "serve",
    )
    with subprocess.Popen(
        serve, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        address = server.stdout.readline().removeprefix("listening ").strip()
        inference = [
            "infer",
            str(tmp_path / "compiled" / "public"),
            str(tmp_path / "x.npy"),
            "--connect",
            address,
            "-o",
            str(tmp_path / "r.json"),
        ]
        done = subprocess.run(
            party(*inference, probed=command == "infer"),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        output = server.stdout.read() if command == "serve" else done.stdout
    assert "LOADED []" in output, output
