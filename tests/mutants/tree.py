"""A copy of the tree in which code can be broken, and tests run against it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from moiety.protocols import kernels
from tests.mutants.mutant import ROOT, Mutant
from tests.support.children import Children

PACKAGES = ("compiler", "runtime", "protocols", "models")
SKIPPED = (".git", ".venv*", "build", "__pycache__", ".*_cache", ".hypothesis", "out", "*.so")


class Tree:
    """The tree of this checkout, copied to `folder`, with the compiled kernels of the package that
    runs this.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._children = Children()
        self._runner: subprocess.Popen[str] | None = None
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*SKIPPED))
        # Both names of a package's folder: the tree's, which documents and tests read, and the
        # installed one, which is what is imported.
        (folder / "moiety").mkdir()
        for package in PACKAGES:
            (folder / "moiety" / package).symlink_to(Path("..") / package)
        self.module = folder / "protocols" / "kernels" / native_module().name
        shutil.copy(native_module(), self.module)

    def write(self, mutant: Mutant) -> None:
        """Break the code."""
        self._replace(mutant.file, (ROOT / mutant.file).read_text(encoding="utf-8"), mutant)

    def restore(self, mutant: Mutant) -> None:
        """Make it whole again."""
        self._replace(mutant.file, (ROOT / mutant.file).read_text(encoding="utf-8"), None)

    def _replace(self, file: str, text: str, mutant: Mutant | None) -> None:
        path = self.folder / file
        path.write_text(text if mutant is None else text.replace(mutant.old, mutant.new), "utf-8")
        # Python compares compiled files by size and second of the source alone.
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            compiled.unlink()

    def run(self, tests: Sequence[str]) -> tuple[int, str]:
        """pytest's exit code (-1 where it hung) and what it printed."""
        if self._runner is None:
            data = os.environ.get("MOIETY_DATA", str(ROOT.parent / "shared" / "data"))
            self._runner = self._children.begin(
                [sys.executable, "-m", "tests.mutants.runner"],
                subprocess.PIPE,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(self.folder), "MOIETY_DATA": data},
                stdin=subprocess.PIPE,
                text=True,
            )
        assert self._runner.stdin is not None
        assert self._runner.stdout is not None
        self._runner.stdin.write(json.dumps(list(tests)) + "\n")
        self._runner.stdin.flush()
        answer = self._runner.stdout.readline()
        if not answer:
            raise RuntimeError("the process that runs tests has ended before it answered")
        code, printed = json.loads(answer)
        return code, printed

    def build(self, *command: object) -> None:
        """Run a command of the build. Raises RuntimeError with what it printed where it fails."""
        process = self._children.begin(
            [*map(str, command)], subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        printed, _ = process.communicate()
        if process.returncode:
            raise RuntimeError(printed)

    def close(self) -> None:
        """End what runs in it, or for it."""
        self._children.close()


def native_module() -> Path:
    """The file of the compiled kernels that the installed package uses."""
    folder = Path(str(kernels.__file__)).parent
    found = sorted(folder.glob(f"_native*{sysconfig.get_config_var('EXT_SUFFIX')}"))
    if not found:
        raise SystemExit(f"the compiled kernels are not in {folder}: run `make test` once")
    return found[0]
