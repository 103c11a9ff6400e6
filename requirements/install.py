"""Install this checkout in a virtual environment, with locked distributions where the lock fits.

    python requirements/install.py VENV LOCK --build-dir FOLDER

LOCK is a file of this folder without its suffix, and the extra that it is for. On CPython 3.11 for
x86-64 Linux its versions are installed, and pip compares every file with the lock's hashes; the
package itself is built with the locked tools. Elsewhere, and where an index lacks a version, the
ranges of pyproject.toml are installed, which is said. The environment variable LOCK decides
otherwise: `no` always takes the ranges, `require` never does.

Standard library alone: it runs before there is an environment.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
LOCKED_FOR = ("CPython", "3.11", "Linux", "x86_64", "glibc")
MISMATCH = "DO NOT MATCH THE HASHES"
"""What pip says of a file that is not the locked one."""


def here(python: Path) -> tuple[str, ...]:
    """What `LOCKED_FOR` is to be compared with, of that interpreter."""
    code = (
        "import platform as p; print(p.python_implementation(), "
        "'.'.join(p.python_version_tuple()[:2]), p.system(), p.machine(), p.libc_ver()[0] or '-')"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return tuple(done.stdout.split())


def chosen(wish: str, found: tuple[str, ...]) -> tuple[bool, str]:
    """Whether to install what is locked, and what to say of it. Raises SystemExit where the wish
    cannot be met.
    """
    if wish not in ("", "no", "require"):
        raise SystemExit(f"LOCK={wish}: no, require, or nothing")
    if found == LOCKED_FOR:
        return wish != "no", "LOCK=no: ranges of pyproject.toml" if wish == "no" else ""
    words = f"the lock is for {' '.join(LOCKED_FOR)}, this is {' '.join(found)}"
    if wish == "require":
        raise SystemExit(f"LOCK=require: {words}")
    return False, f"{words}: ranges of pyproject.toml, without hashes"


def pip(venv: Path, *arguments: str | Path) -> None:
    """Raises CalledProcessError with what pip said as `stderr`."""
    command = [venv / "bin" / "pip", "install", "-q", *arguments]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    sys.stderr.write(done.stderr)
    done.check_returncode()


def install_locked(venv: Path, lock: str, required: bool) -> bool:
    """Whether it was done. Raises SystemExit for a file that is not the locked one, and, where the
    lock is required, for anything else, too; otherwise an index may lack a version.
    """
    file = FOLDER / f"{lock}.lock"
    try:
        pip(venv, "--require-hashes", "--only-binary", ":all:", "-r", file)
    except subprocess.CalledProcessError as error:
        if required or MISMATCH in error.stderr:
            raise SystemExit(f"{file.name} cannot be installed; nothing else was") from None
        print(
            f"{file.name} cannot be had here: ranges of pyproject.toml, without hashes",
            file=sys.stderr,
        )
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(
        description=str(__doc__), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("venv", type=Path)
    parser.add_argument("lock", choices=sorted(path.stem for path in FOLDER.glob("*.lock")))
    parser.add_argument("--build-dir", type=Path)
    options = parser.parse_args()
    wish = os.environ.get("LOCK", "")
    locked, said = chosen(wish, here(options.venv / "bin" / "python"))
    if said:
        print(said, file=sys.stderr)
    build = ["-C", f"build-dir={options.build_dir}"] if options.build_dir else []
    try:
        if locked and install_locked(options.venv, options.lock, wish == "require"):
            pip(options.venv, "--no-deps", "--no-build-isolation", *build, ROOT)
        else:
            pip(options.venv, *build, f"{ROOT}[{options.lock}]")
    except subprocess.CalledProcessError as error:
        raise SystemExit(error.returncode) from None


if __name__ == "__main__":
    main()
