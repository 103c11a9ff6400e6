"""The Python example of the README, run as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx

from tests.support.nets import random_images, small_densenet

ROOT = Path(__file__).resolve().parents[2]


def test_the_example_of_the_readme_runs(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    onnx.save(small_densenet(), tmp_path / "model.onnx")
    np.save(tmp_path / "images.npy", random_images((3, 16, 16), n=8, seed=1))
    done = subprocess.run(
        [sys.executable, "-c", example],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\[.*\] \d+\.\d MB\n", done.stdout)
