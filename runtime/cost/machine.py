"""What a unit of local work takes on a machine: the figures that predicted times are
made of, and where they are kept.

`moiety calibrate-machine` measures them (runtime/measure/figures); where nobody has, those of
the reference machine stand in.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import msgspec

from moiety.protocols.errors import BadInput
from moiety.runtime.program import write_atomically

_WIDTHS = (1, 2, 3, 4)
FIGURES: Final[dict[str, str]] = {
    **{f"vole_recv_{k}": f"SoftSpoken correlation of {k} bits, receiver" for k in _WIDTHS},
    **{f"vole_send_{k}": f"SoftSpoken correlation of {k} bits, sender" for k in _WIDTHS},
    "silent_seeds": "silent correlation, receiver, before the shifts leave",
    "silent_nibbles": "silent correlation, receiver, while the sender works",
    "silent_send": "silent correlation, sender",
    "silent_recv": "silent correlation, receiver, after the answer",
    "silent_cut": "bits of a silent correlation that a narrow choice does not need, either party",
    "choose": "choice made and packed",
    "accept": "choice unpacked",
    **{f"leaf_send_{k}": f"digit of {k} bits against one threshold, sender" for k in _WIDTHS},
    **{f"leaf_recv_{k}": f"digit of {k} bits against one threshold, receiver" for k in _WIDTHS},
    **{
        f"leaves_send_{k}": f"digit of {k} bits against several thresholds, sender" for k in _WIDTHS
    },
    **{
        f"leaves_recv_{k}": f"digit of {k} bits against several thresholds, receiver"
        for k in _WIDTHS
    },
    **{
        f"field_send_{k}": f"one of its answer bits (lt or eq of a threshold), sender, {k} bits"
        for k in _WIDTHS
    },
    **{f"field_recv_{k}": f"one of its answer bits, receiver, {k} bits" for k in _WIDTHS},
    **{f"join_send_{k}": f"lookup of shared bits on {k} bits, sender" for k in _WIDTHS},
    **{f"join_recv_{k}": f"lookup of shared bits on {k} bits, receiver" for k in _WIDTHS},
    "mux_server": "multiplexer, server's transfer",
    "mux_client": "multiplexer, client's transfer",
    "arith_send_1": "additive 1-of-2 transfer, sender",
    "open_1": "additive 1-of-2 transfer, receiver",
    "open_2": "additive 1-of-4 transfer, receiver",
    "bit_table": "table of a bit conversion",
    "digit": "digit cut from a value",
    "join_choice": "shares of one more digit put into a choice",
    "pass": "element of one pass over an array of ring elements",
    "bit_pass": "element of one pass over an array of bits",
    "expand_residue": "public polynomial expanded, per residue",
    "mask_residue": "encryption of zero under the secret, per residue",
    "encode_residue": "message put into a ciphertext, per residue",
    "zero_residue": "encryption of zero under the public key, per residue of one of its two parts",
    "torus_residue": "residues rounded to a power of two, per residue",
    "phase_residue": "product of an answer and the secret, per residue of the working modulus",
    "product": "multiply-add of a convolution",
    "row": "coefficient of a row copied for a convolution",
    "sum": "product added to a sum",
    "flood_residue": "flooding noise, per residue",
    "word": "ring element or residue packed to its bits, or unpacked",
    "send_byte": "byte given to the network",
    "receive_byte": "byte taken from the network",
    "message": "one message, either party: calls, headers, waking up",
    "step": "one step of a Program, either party",
    "layer": "one tile of a homomorphic layer, either party",
}
"""Name of a figure -> what one unit of it is. All are nanoseconds of one core."""


class Machine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Figures in nanoseconds per unit, and where they are from."""

    description: dict[str, str]
    figures: dict[str, float]

    def __post_init__(self) -> None:
        missing = [name for name in FIGURES if name not in self.figures]
        if missing:
            raise BadInput(
                f"the machine's figures lack {', '.join(missing)}; measure it with moiety calibrate-machine"
            )
        if not all(0 <= value < 1e9 for value in self.figures.values()):
            raise BadInput(
                "the machine's figures must be nanoseconds, none of them negative or a second or more"
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
        except (msgspec.MsgspecError, BadInput) as error:
            raise BadInput(f"{path} holds no machine's figures: {error}") from None


def default_path() -> Path:
    """Where calibrate-machine writes: the user's cache folder."""
    if sys.platform == "darwin":
        cache = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        cache = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "moiety" / "machine.json"


def find(path: Path | None = None) -> tuple[Machine, str]:
    """The machine of this file, else of the default one, else the reference machine;
    and where it is from, in words.
    """
    if path is None and not default_path().exists():
        return (
            REFERENCE,
            "figures of the reference machine (moiety calibrate-machine measures this one)",
        )
    chosen = path or default_path()
    return Machine.load(chosen), f"figures of {chosen}"


REFERENCE: Final = Machine(
    description={"machine": "reference: one 2.6 GHz core, AVX-512, VAES and GFNI"},
    figures={
        "vole_recv_1": 4.79,
        "vole_recv_2": 8.47,
        "vole_recv_3": 11.9,
        "vole_recv_4": 16.1,
        "vole_send_1": 4.53,
        "vole_send_2": 7.82,
        "vole_send_3": 13.3,
        "vole_send_4": 22.2,
        "silent_seeds": 0.75,
        "silent_nibbles": 6.73,
        "silent_send": 14.7,
        "silent_recv": 19.2,
        "silent_cut": 0.479,
        "choose": 0.424,
        "accept": 0.256,
        "leaf_send_1": 4.37,
        "leaf_send_2": 8.54,
        "leaf_send_3": 16.5,
        "leaf_send_4": 32.7,
        "leaf_recv_1": 2.33,
        "leaf_recv_2": 3.76,
        "leaf_recv_3": 3.3,
        "leaf_recv_4": 5.24,
        "leaves_send_1": 5.33,
        "leaves_send_2": 12.2,
        "leaves_send_3": 20.8,
        "leaves_send_4": 50.9,
        "leaves_recv_1": 2.65,
        "leaves_recv_2": 5.35,
        "leaves_recv_3": 8.01,
        "leaves_recv_4": 14.3,
        "field_send_1": 0.917,
        "field_send_2": 1.41,
        "field_send_3": 2.48,
        "field_send_4": 3.82,
        "field_recv_1": 0.53,
        "field_recv_2": 0.586,
        "field_recv_3": 0.884,
        "field_recv_4": 1.41,
        "join_send_1": 4.79,
        "join_send_2": 8.7,
        "join_send_3": 17.7,
        "join_send_4": 33.7,
        "join_recv_1": 2.33,
        "join_recv_2": 3.66,
        "join_recv_3": 3.38,
        "join_recv_4": 5.21,
        "mux_server": 14.1,
        "mux_client": 6.37,
        "arith_send_1": 5.91,
        "open_1": 3.2,
        "open_2": 5.89,
        "bit_table": 9.28,
        "digit": 0.831,
        "join_choice": 0.474,
        "pass": 0.485,
        "bit_pass": 0.0417,
        "expand_residue": 1.17,
        "mask_residue": 4.06,
        "encode_residue": 2.04,
        "zero_residue": 5.19,
        "torus_residue": 5.89,
        "phase_residue": 7.6,
        "product": 0.0528,
        "row": 0.434,
        "sum": 0.277,
        "flood_residue": 2.11,
        "word": 1.1,
        "send_byte": 0.19,
        "receive_byte": 0.19,
        "message": 38000,
        "step": 12400,
        "layer": 191_000,
    },
)
