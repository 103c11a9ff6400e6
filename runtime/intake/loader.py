"""The one way from a file to a model's input: for calibration, simulation and inference alike."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from moiety.protocols.arrays import F32
from moiety.protocols.errors import BadInput
from moiety.runtime.intake import dicom
from moiety.runtime.intake.checks import check_range, emptiness, saturation
from moiety.runtime.intake.contents import HEAD, READABLE, SUFFIXES, format_of, read_contents
from moiety.runtime.intake.picture import Identity, Picture, Warned, pixel_hash
from moiety.runtime.intake.pictures import read_picture
from moiety.runtime.intake.preprocess import preprocess
from moiety.runtime.intake.tensors import as_picture, as_tensor, read_npy
from moiety.runtime.intake.text import printable
from moiety.runtime.intake.verdicts import Taken, without_name
from moiety.runtime.program import Input, Preprocessing, Program, picture_shape
from moiety.runtime.program.preprocessing import GreyValue


@dataclass(frozen=True)
class Reader:
    """How files become a model's input.

    shape: (C,H,W), or (H,W,C), or what a model takes that sees no pictures. preprocessing: of
    pictures; None: tensors only. input: the Program's input step, where there is a Program; then
    its range is checked. bit_depth: of pictures deeper than 8 bits, where the user states it.
    """

    shape: tuple[int, ...]
    preprocessing: Preprocessing | None
    input: Input | None = None
    bit_depth: int | None = None

    @classmethod
    def of(cls, program: Program, bit_depth: int | None = None) -> Reader:
        return cls(program.input.shape, program.preprocessing, program.input, bit_depth)

    @property
    def depth(self) -> int | None:
        """Of deep pictures: as the user states it, else as the Program does."""
        stated = self.preprocessing.bit_depth if self.preprocessing else None
        return self.bit_depth or stated

    @property
    def grey_value(self) -> GreyValue:
        """Of DICOM, as the Program says; without pictures none is made."""
        return self.preprocessing.grey_value if self.preprocessing else "voi"


def load(path: Path, reader: Reader) -> Taken:
    """The input made of a file, finite and inside the Program's range, and what to warn of. Raises
    `BadInput`, which begins with the file's name and gives one reason.
    """
    try:
        tensor, identity, warnings = _read(path, reader)
    except BadInput as error:
        raise BadInput(f"{printable(path)}: {without_name(path, str(error))}") from error
    warnings = (*warnings, *emptiness(tensor, reader.shape))
    return Taken(path=path, tensor=tensor, identity=identity, warnings=warnings)


def _read(path: Path, reader: Reader) -> tuple[F32, Identity, tuple[Warned, ...]]:
    data = read_contents(path)
    found, named = format_of(data[:HEAD]), SUFFIXES.get(path.suffix.lower())
    if found == "DICOM" or (found is None and named == "DICOM"):
        return _prepared(dicom.read_dicom(path, reader.grey_value), reader)
    if found not in READABLE:
        raise BadInput(
            f"{f'is {found}' if found else 'not a picture or tensor'}, whatever its name says; "
            f"{', '.join(READABLE)} are read"
        )
    digest = hashlib.sha256(data).hexdigest()
    if found != "NPY":
        picture = read_picture(data, digest, reader.depth)
    elif (array := read_npy(data)).dtype.kind == "u":
        picture = as_picture(array, digest, reader.depth)
    else:
        return _given(array, digest, reader)
    tensor, identity, warnings = _prepared(picture, reader)
    return tensor, identity, (*_misnamed(found, named), *warnings)


def _given(
    array: npt.NDArray[Any], digest: str, reader: Reader
) -> tuple[F32, Identity, tuple[Warned, ...]]:
    """A float array that is the input itself."""
    tensor = as_tensor(array, reader.shape)
    if reader.input is not None:
        check_range(tensor, reader.input)
    return tensor, Identity(file_sha256=digest, pixel_sha256=pixel_hash(array)), ()


def _prepared(picture: Picture, reader: Reader) -> tuple[F32, Identity, tuple[Warned, ...]]:
    """The input made of a picture, its axes as the model has them."""
    if reader.preprocessing is None:
        raise BadInput(
            "this Program has no preprocessing for pictures; give the input tensor as NPY, float32 "
            f"of shape {reader.shape}"
        )
    tensor, warnings = preprocess(picture, reader.preprocessing)
    if picture_shape(reader.shape) != tuple(reader.shape):
        tensor = np.ascontiguousarray(tensor.transpose(1, 2, 0))
    if reader.input is not None:
        warnings = (*warnings, *saturation(tensor, reader.input))
    return tensor, picture.identity, (*picture.warnings, *warnings)


def _misnamed(found: str | None, named: str | None) -> tuple[Warned, ...]:
    if found is None or named in (found, None):
        return ()
    return (Warned("wrong-suffix", f"the name says {named}, the file is {found} and read as that"),)
