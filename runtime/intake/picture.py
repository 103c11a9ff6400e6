"""What a file of the hospital's holds before preprocessing, and what is said of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from moiety.protocols.arrays import F32, F64, U8


class Warned(msgspec.Struct, frozen=True):
    """A named warning. code: kebab-case, the same for ever (docs/intake.md lists them); text: one
    sentence for the user, without the file's name. note: recorded with the others, but no reason to
    doubt the picture: with notes alone a file is "accepted".
    """

    code: str
    text: str
    note: bool = False


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What tells a picture from all others: SHA-256, hexadecimal, of its file and of its pixels
    (`pixel_hash`), and its SOP Instance UID where it has one; and of the tensors that are given
    beside it (`tensors_hash`), where the model has further inputs. shown_sha256: of the picture's
    values, where they are not a function of its pixels alone: a DICOM header says how its pixels
    are shown.
    """

    file_sha256: str
    pixel_sha256: str
    sop_instance_uid: str | None = None
    inputs_sha256: str | None = None
    shown_sha256: str | None = None


@dataclass(frozen=True, eq=False)
class Picture:
    """values: uint8 `(H,W)` or `(H,W,3)`, 0 to 255, or, where they are finer, float64 `(H,W)`, 0
    to 1; 0 is black.
    """

    values: U8 | F64
    identity: Identity
    warnings: tuple[Warned, ...] = ()


def pixel_hash(pixels: npt.NDArray[Any]) -> str:
    """SHA-256 over shape, type and values of decoded pixels as they are stored, in C order and
    little-endian, whatever the file's order.
    """
    little = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))
    state = hashlib.sha256(f"{little.shape}{little.dtype.str}".encode())
    state.update(little.tobytes())
    return state.hexdigest()


def tensors_hash(tensors: Mapping[str, F32]) -> str:
    """SHA-256 over the names of inputs and the `pixel_hash` of their tensors."""
    lines = "".join(f"{name}\0{pixel_hash(tensor)}\n" for name, tensor in tensors.items())
    return hashlib.sha256(lines.encode()).hexdigest()
