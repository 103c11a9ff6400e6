"""What a unit of local work takes on a machine: the figures that predicted times are made of, and
where they are kept.

The figures are those of the table of prices (protocols/prices). `moiety calibrate-machine` measures
them (runtime/measure); where nobody has, the reference machine's column of that table stands in.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import msgspec

from moiety.protocols import prices
from moiety.protocols.errors import BadInput
from moiety.runtime.program import write_atomically
from moiety.runtime.program.decoding import UNREADABLE


class Machine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Figures in nanoseconds per unit, one for each of `prices.REFERENCE`, and where they are from.
    Raises `BadInput` if one is missing or no duration.
    """

    description: dict[str, str]
    figures: dict[str, float]

    def __post_init__(self) -> None:
        missing = [name for name in prices.REFERENCE if name not in self.figures]
        if missing:
            raise BadInput(
                f"it lacks {len(missing)} of {len(prices.REFERENCE)} figures ({missing[0]}, ...), "
                "as one of another release does; measure the machine with moiety calibrate-machine"
            )
        if not all(0 <= value < 1e9 for value in self.figures.values()):
            raise BadInput(
                "the machine's figures must be nanoseconds, "
                "none of them negative or a second or more"
            )

    def save(self, path: Path) -> None:
        """Writes indented JSON. Raises `BadInput` if it cannot."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")
        except OSError as error:
            raise BadInput(f"cannot write {path}: {error.strerror or error}") from None

    @classmethod
    def load(cls, path: Path) -> Machine:
        """Raises `BadInput` for a file that is no machine's."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except OSError as error:
            raise BadInput(f"cannot read {path}: {error.strerror or error}") from None
        except (*UNREADABLE, BadInput) as error:
            raise BadInput(f"{path} holds no machine's figures: {error}") from None


REFERENCE_MACHINE: Final = Machine(
    description={"machine": "reference: one 2.6 GHz core, AVX-512, VAES and GFNI"},
    figures=dict(prices.REFERENCE),
)


def default_path() -> Path:
    """Where calibrate-machine writes: the user's cache folder."""
    if sys.platform == "darwin":
        cache = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        cache = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "moiety" / "machine.json"


def find_machine(path: Path | None = None) -> tuple[Machine, str]:
    """The machine of this file, else of the default one, else the reference machine; and where it
    is from, in words. Raises `BadInput` for a file that is no machine's.
    """
    chosen = path or default_path()
    if path is None and not chosen.exists():
        source = "figures of the reference machine (moiety calibrate-machine measures this one)"
        return REFERENCE_MACHINE, source
    return Machine.load(chosen), f"figures of {chosen}"
