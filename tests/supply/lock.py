"""Write the lock files: every distribution that an environment of this project takes, with its
version and the hashes of its files.

    python -m tests.supply.lock            # newest versions (make lock)
    python -m tests.supply.lock trust      # one file; the others' versions stay

Needs pip-tools, and the network. For CPython 3.11 on x86-64 Linux; `requirements/install.py` says
so where another Python installs ranges instead.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.supply.declared import FOLDER, LOCKS, file_of, pins, wanted

HEADER = """\
# Made by `make lock` for CPython 3.11 on x86-64 Linux: {names}.
# Installed by requirements/install.py with --require-hashes.
"""
COMPILE = ("-m", "piptools", "compile", "--quiet", "--no-annotate", "--no-header")
SILENT = ("--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host")
"""Where files come from is the installer's choice; what they are is the lock's."""


def resolved(requirements: Sequence[str], *options: str) -> str:
    """pip-tools' answer. Raises SystemExit with its words where there is none."""
    with tempfile.TemporaryDirectory() as folder:
        asked, found = Path(folder, "asked.in"), Path(folder, "found.txt")
        asked.write_text("\n".join(requirements) + "\n", encoding="utf-8")
        command = [sys.executable, *COMPILE, *SILENT, "--allow-unsafe", "--strip-extras", *options]
        done = subprocess.run([*command, "-o", found, asked], cwd=folder, check=False)
        if done.returncode:
            raise SystemExit(done.returncode)
        # The one platform of the lock meets all markers.
        return re.sub(r"(?m)^(\S+==\S+) ;[^\\\n]*", r"\1 ", found.read_text(encoding="utf-8"))


def common() -> list[str]:
    """One version of everything for all lock files."""
    everything = sorted({text for lock in LOCKS for text in wanted(lock)})
    return resolved(everything).splitlines()


def kept(written: Sequence[str]) -> list[str]:
    """The versions of the lock files that are not to be written."""
    others = (lock for lock in LOCKS if lock not in written and file_of(lock).exists())
    found = {pin.name: pin.version for lock in others for pin in pins(lock).values()}
    return [f"{name}=={version}" for name, version in sorted(found.items())]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=str(__doc__), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("lock", nargs="*", choices=[[], *LOCKS], help="all, if none is named")
    written = parser.parse_args().lock or list(LOCKS)
    versions = kept(written) if len(written) < len(LOCKS) else common()
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as constraints:
        constraints.write("\n".join(versions) + "\n")
        constraints.flush()
        for lock in written:
            text = resolved(wanted(lock), "--generate-hashes", "--constraint", constraints.name)
            extras = ", ".join(LOCKS[lock])
            names = f"the base and the extras {extras}" if extras else "the base"
            file_of(lock).write_text(HEADER.format(names=names) + text, encoding="utf-8")
            print(f"{file_of(lock).relative_to(FOLDER.parent)}: {len(pins(lock))} distributions")


if __name__ == "__main__":
    main()
