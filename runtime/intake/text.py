"""Names and words from outside (file names, labels, reasons) as text that every file and every
terminal can hold.
"""

from __future__ import annotations

import re
from pathlib import Path

_SURROGATE = re.compile("[\ud800-\udfff]")


def legible(text: str | Path) -> str:
    """Text that can be encoded: bytes of a file name that are not text become `\\xff`."""

    def escaped(found: re.Match[str]) -> str:
        code = ord(found[0])
        return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"

    return _SURROGATE.sub(escaped, str(text))


def printable(text: str | Path) -> str:
    """`legible`, and nothing in it moves a cursor, ends a line or rings a bell."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in legible(text)
    )
