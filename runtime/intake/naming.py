"""What a log calls a file of the hospital's. Its name may name a patient; its hash does not, and
finds it again in the results, which have both.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

DIGITS = 16


def log_name(path: Path, *, paths: bool = False) -> str:
    """The path where logs may have paths (`--log-paths`), else the begin of the file's SHA-256."""
    if paths:
        return str(path)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return "a file that cannot be read"
    return f"sha256:{digest[:DIGITS]}"


def for_log(message: str, path: Path, *, paths: bool = False) -> str:
    """A message about a file as a log may have it."""
    return message.replace(str(path), log_name(path, paths=paths))
