"""What a party's process really loads, seen from inside a whole inference."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.runnable import save_small

FORBIDDEN = (
    "moiety.compiler",
    "moiety.models",
    "networkx",
    "onnx",
    "onnxruntime",
    "ray",
    "scipy",
    "sklearn",
    "sympy",
    "torch",
)
PROBE = f"""
import sys
from moiety.runtime.cli.app import app
try:
    app(sys.argv[1:], standalone_mode=False)
finally:
    print("LOADED", [name for name in {FORBIDDEN!r} if name in sys.modules])
"""


@pytest.mark.parametrize("probed", ["serve", "infer"])
def test_a_party_process_loads_no_compiler(probed: str, tmp_path: Path) -> None:
    """The two processes of an inference; one of them says at its end what it has loaded."""
    save_small(tmp_path / "compiled")
    np.save(tmp_path / "x.npy", np.zeros((2, 8, 8), np.float32))

    def party(command: str, *arguments: str) -> list[str]:
        start = ["-c", PROBE] if command == probed else ["-m", "moiety.runtime.cli"]
        return [sys.executable, *start, command, *arguments]

    serve = party("serve", str(tmp_path / "compiled"), "--listen", "127.0.0.1:0", "--once")
    with subprocess.Popen(
        serve, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        address = server.stdout.readline().removeprefix("listening ").strip()
        infer = party(
            "infer",
            str(tmp_path / "compiled"),
            str(tmp_path / "x.npy"),
            "--connect",
            address,
            "-o",
            str(tmp_path / "r.json"),
        )
        done = subprocess.run(infer, capture_output=True, text=True, timeout=60, check=True)
        said = server.stdout.read() if probed == "serve" else done.stdout
    assert "LOADED []" in said, said
