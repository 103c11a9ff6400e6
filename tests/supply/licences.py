"""Licences of all locked distributions: each is in a list of what is allowed, or judged by name.

    python -m tests.supply.licences             # the check
    python -m tests.supply.licences --write     # requirements/licences.toml, of what is installed

An installed distribution's own metadata decide; `requirements/licences.toml` has what they said for
those that are not installed where the check runs.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from importlib import metadata

from packaging.utils import canonicalize_name

from tests.supply.declared import FOLDER, LOCKS, Pin, pins

FILE = FOLDER / "licences.toml"
HEADER = (
    "# Made by `python -m tests.supply.licences --write` from the distributions' own metadata.\n\n"
)
ALLOWED = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "Apache-2.0 WITH LLVM-exception",
        "BSD",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "CC0-1.0",
        "ISC",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "MPL-2.0",
        "PSF-2.0",
        "Unlicense",
        "Zlib",
    }
)
"""MPL-2.0 asks for the source of its own files where they are changed; none is here."""

JUDGED = {
    "atheris": ("Apache-2.0", "its metadata name none; its source's LICENSE does"),
    "python-flint": (
        "MIT AND LGPL-3.0-or-later",
        "arithmetic to compare with, in tests alone: no part of Moiety, and nothing of it is "
        "given on",
    ),
}
"""Distributions whose metadata say nothing, or what is not allowed in general: licence, why."""

UNLOCKED = {
    "clang-format": "Apache-2.0 WITH LLVM-exception",
    "mypy": "MIT",
    "pip-tools": "BSD-3-Clause",
    "pre-commit": "MIT",
    "ruff": "MIT",
    "torch": "BSD-3-Clause",
}
"""Direct dependencies that no lock file has: the checkers', which judge the tree and are no part of
it, and training's.
"""

CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
WORDS = {
    "2-clause BSD": "BSD-2-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "MIT License": "MIT",
    "Public domain": "Unlicense",
}


def said_by(found: metadata.PackageMetadata) -> str:
    """A distribution's licence as its metadata say it: by expression, else by all its classifiers,
    else in the first line of their text; "" where they say nothing.
    """
    if expressions := found.get_all("License-Expression"):
        return str(expressions[0])
    labels = [each.split(" :: ") for each in found.get_all("Classifier") or ()]
    names = [label[-1] for label in labels if label[0] == "License" and len(label) > 2]
    if names:
        return " AND ".join(CLASSIFIERS.get(name, name) for name in sorted(names))
    first = "".join(found.get_all("License") or ()).strip().partition("\n")[0]
    return WORDS.get(first, first)


def allowed(licence: str) -> bool:
    """Whether each part of an expression is in the list; of alternatives, one."""
    alternatives = re.split(r"\s+OR\s+", licence.replace("(", " ").replace(")", " "))
    return any(
        all(part.strip() in ALLOWED for part in re.split(r"\s+AND\s+", alternative))
        for alternative in alternatives
    )


def all_pins() -> dict[str, Pin]:
    """Of all lock files, which agree on versions."""
    return {name: pin for lock in LOCKS for name, pin in pins(lock).items()}


def installed(pin: Pin) -> str | None:
    """The licence that the installed distribution names; None where another version is installed,
    or none.
    """
    try:
        found = metadata.distribution(pin.name)
    except metadata.PackageNotFoundError:
        return None
    return said_by(found.metadata) if found.version == pin.version else None


def recorded() -> dict[str, str]:
    """What the file says."""
    return dict(tomllib.loads(FILE.read_text(encoding="utf-8"))) if FILE.exists() else {}


def licence_of(name: str, said: str) -> str:
    """The judged one, where there is one."""
    return JUDGED[name][0] if name in JUDGED else said


def faults(record: dict[str, str], locked: dict[str, Pin]) -> list[str]:
    """What is wrong, in words."""
    wrong = [f"{name} is in no lock file any more" for name in sorted(record.keys() - locked)]
    for name, pin in sorted(locked.items()):
        said = record.get(name)
        here = installed(pin)
        if said is None:
            wrong.append(f"{name} has no entry in {FILE.name}: install it and --write")
        elif here is not None and here != said:
            wrong.append(f"{name} says {here!r}, {FILE.name} has {said!r}")
        elif not allowed(licence_of(name, said)) and name not in JUDGED:
            wrong.append(f"{name}: {said or 'no licence named'} is not in the list")
    return wrong


def write() -> None:
    """What is installed here, and what was there before of the rest."""
    before, locked = recorded(), all_pins()
    found = {name: installed(pin) for name, pin in locked.items()}
    lines = [
        f'"{canonicalize_name(name)}" = "{before.get(name) if said is None else said}"'
        for name, said in sorted(found.items())
        if said is not None or name in before
    ]
    FILE.write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=str(__doc__), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        write()
    locked = all_pins()
    wrong = faults(recorded(), locked)
    print("\n".join(wrong))
    here = sum(installed(pin) is not None for pin in locked.values())
    if not wrong:
        judged = sorted(JUDGED.keys() & locked.keys())
        print(
            f"{len(locked)} locked distributions have an allowed licence, {here} of them read from "
            f"their own metadata; judged by name: {', '.join(judged) or 'none'}"
        )
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
