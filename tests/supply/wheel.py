"""The wheel, built so that whoever builds it again gets the same file.

    python -m tests.supply.wheel             # to out/wheel (make wheel)
    python -m tests.supply.wheel --check     # twice, compared, installed, and an inference run

The build takes sources from a copy, with the locked build tools of this environment. All files in
the wheel have the time of the commit. auditwheel then reads which symbols the compiled kernels
want, and names the oldest Linux that has them: nothing is grafted into the wheel, since the kernels
need no library beyond those of every Linux.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.supply import tree
from tests.supply.trial import trial

CANNOT = 3
PASSED_ON = ("HOME", "PATH", "LANG", "TMPDIR")
"""Of the environment: a build must not depend on the rest, nor on these."""


def build(sources: Path, out: Path, epoch: int) -> Path:
    """The wheel of a tree. Raises SystemExit with the builder's words."""
    environment = {k: v for k, v in os.environ.items() if k in PASSED_ON or k.startswith("PIP_")}
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    command += ["--no-cache-dir", "-C", "build-dir=build/{wheel_tag}", "-w", str(out), "."]
    run(command, sources, {**environment, "SOURCE_DATE_EPOCH": str(epoch)})
    return next(out.glob("moiety-*.whl"))


def tagged(wheel: Path, epoch: int) -> Path:
    """The wheel under the name that says on which Linux it runs, beside its old one."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
    python = [sys.executable, "-m"]
    shown = run([*python, "auditwheel", "show", str(wheel)], wheel.parent, environment)
    tag = re.search(r'platform tag:\s+"(manylinux_\w+)"', shown)
    if tag is None:
        raise SystemExit(f"auditwheel finds no manylinux tag:\n{shown}")
    retag = [*python, "wheel", "tags", "--platform-tag", tag[1], str(wheel)]
    run(retag, wheel.parent, environment)
    return next(wheel.parent.glob(f"moiety-*{tag[1]}.whl"))


def run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    """What a command prints on standard output. Raises SystemExit with all of it."""
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def made(folder: Path) -> Path:
    """The wheel, from the copy of the sources in `folder`."""
    epoch = tree.epoch()
    return tagged(build(folder / "sources", folder, epoch), epoch)


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def check(folder: Path) -> str:
    """Two builds, and an inference with the second; returns the summary. Raises SystemExit."""
    folders = folder / "a", folder / "another place" / "with a longer name"
    for place, year in zip(folders, (1990, 2010), strict=True):
        tree.copy(place / "sources", (year - 1970) * 365 * 86400)
    first, second = map(made, folders)
    if first.name != second.name or digest(first) != digest(second):
        raise SystemExit(f"two builds differ: {digest(first)} {first.name}, {digest(second)}")
    said = trial(second, folder / "trial")
    return f"{second.name}, SHA-256 {digest(second)[:16]}..., twice; {said}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=str(__doc__), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    parser.add_argument("-o", "--output", type=Path, default=Path("out/wheel"))
    options = parser.parse_args()
    wanted = ("auditwheel", "wheel", "scikit_build_core", "nanobind")
    if missing := [name for name in wanted if importlib.util.find_spec(name) is None]:
        print(f"{', '.join(missing)}: not installed; `make wheel` makes an environment with them")
        return CANNOT
    if sys.platform != "linux":
        print(f"a manylinux wheel is not built on {sys.platform}")
        return CANNOT
    with tempfile.TemporaryDirectory(prefix="wheel-") as folder:
        if options.check:
            print(check(Path(folder)))
            return 0
        tree.copy(Path(folder, "sources"), tree.epoch())
        wheel = made(Path(folder))
        options.output.mkdir(parents=True, exist_ok=True)
        shutil.copy(wheel, options.output)
        print(f"{digest(wheel)}  {options.output / wheel.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
