"""How much memory one thing that a stranger hands in may take: a run of a Program, a picture, a
DICOM file, an ONNX model. One limit, and one check, which comes before anything is allocated and
goes by public shapes alone.

A file of a kilobyte can ask for all memory of a machine. What it would take is predicted where it
is read, in bytes, a little too high rather than too low, and compared here; what stays below the
limit may be taken for granted by all code behind the check.

| what | predicted by |
|---|---|
| an image's run of a Program | runtime/cost/memory |
| a picture, a DICOM image | runtime/intake/room |
| constants, values and tables of an ONNX model | compiler/onnx_import/room |

Some limits are of shape, not of memory, and cannot be raised: they stand beside what they limit
(`MAX_STEPS`, `MAX_ELEMENTS`, `MAX_TILES`).
"""

from __future__ import annotations

import math
import os
import re
from typing import Final

from moiety.protocols.errors import BadInput, MoietyError

VARIABLE: Final = "MOIETY_MEMORY"
"""Of the environment: another limit, as `8G`; processes that are started get it, too."""

DEFAULT: Final = 2 << 30

_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def memory_limit() -> int:
    """Bytes. Raises `BadInput` where the environment says something else than a size."""
    said = os.environ.get(VARIABLE, "").strip()
    if not said:
        return DEFAULT
    found = re.fullmatch(r"([1-9][0-9]{0,14})([KMGT]?)(?:i?B)?", said)
    if found is None:
        raise BadInput(f"{VARIABLE}={said[:40]!r} is no size; write for example {VARIABLE}=8G")
    return int(found[1]) * _UNITS[found[2]]


def check_memory(what: str, nbytes: int, error: type[MoietyError] = BadInput) -> None:
    """Raises `error`, which says how large `what` is and how to allow it, if it is beyond the
    limit.
    """
    limit = memory_limit()
    if nbytes > limit:
        raise error(
            f"{what} would take about {in_words(nbytes)} of memory, and the limit is "
            f"{in_words(limit)}; if it is what you want, allow it with {VARIABLE}={_enough(nbytes)}"
        )


def in_words(nbytes: int) -> str:
    """`3.1 GiB`."""
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if nbytes < 1 << 10 or unit == "TiB":
            break
        nbytes /= 1 << 10  # type: ignore[assignment]
    return f"{nbytes:,.3g} {unit}" if nbytes < 1000 else f"{nbytes:,.0f} {unit}"


def _enough(nbytes: int) -> str:
    """A value of the variable that allows it."""
    return f"{math.ceil(nbytes / _UNITS['G'])}G"
