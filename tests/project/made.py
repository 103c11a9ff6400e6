"""Files of the documentation that are made from the sources: named where they are out of date, or
written anew.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path


def bring_up_to_date(what: str, files: Iterable[tuple[Path, str]]) -> None:
    """A command line, described by `what`: each file that is not what it should be is printed, and
    with `--write` made so.
    """
    parser = argparse.ArgumentParser(description=what.split("\n\n")[0])
    parser.add_argument("--write", action="store_true", help="change the files")
    write = parser.parse_args().write
    for path, text in files:
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            print(path.name)
            if write:
                path.write_text(text, encoding="utf-8")
