"""The one way from a file to a model's input: for calibration, simulation and inference alike."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from moiety.protocols.arrays import F32
from moiety.protocols.errors import BadInput
from moiety.runtime.intake import dicom
from moiety.runtime.intake.beside import Row, Rows, Word
from moiety.runtime.intake.checks import check_range, emptiness, saturation
from moiety.runtime.intake.contents import HEAD, READABLE, SUFFIXES, format_of, read_contents
from moiety.runtime.intake.picture import Identity, Picture, Warned, pixel_hash, tensors_hash
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
    its range is checked. bit_depth: of pictures deeper than 8 bits, where the user states it. name:
    the input's; needed where others, which are given beside the file, in `rows`, make the case.
    """

    shape: tuple[int, ...]
    preprocessing: Preprocessing | None
    input: Input | None = None
    bit_depth: int | None = None
    name: str = ""
    others: tuple[Reader, ...] = ()
    rows: Rows = field(default_factory=dict)

    @classmethod
    def of(cls, program: Program, bit_depth: int | None = None, rows: Rows | None = None) -> Reader:
        """As a Program says. bit_depth, rows: as the fields."""

        def of_input(step: Input) -> Reader:
            pictured = step is program.input or step.name in program.pictures
            how = program.preprocessing if pictured else None
            return cls(step.shape, how, step, bit_depth, step.name)

        first, *others = map(of_input, program.inputs)
        return replace(first, others=tuple(others), rows=rows or {})

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
    """The input made of a file, finite and inside the Program's range, with what is given beside
    it, and what to warn of. Raises `BadInput`, which begins with the file's name and gives one
    reason.
    """
    with _named(path):
        tensor, identity, warnings = _read(path, reader)
        beside, warnings_beside = _beside(path, reader)
    if beside:
        identity = msgspec.structs.replace(identity, inputs_sha256=tensors_hash(beside))
    return Taken(
        path=path,
        case={reader.name: tensor, **beside} if beside else tensor,
        tensor=tensor,
        identity=identity,
        warnings=(*warnings, *emptiness(tensor, reader.shape), *warnings_beside),
    )


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """A `BadInput` begins with the file's name."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{printable(path)}: {without_name(path, str(error))}") from error


def _beside(path: Path, reader: Reader) -> tuple[dict[str, F32], tuple[Warned, ...]]:
    """The tensors of the further inputs, by name, and what to warn of."""
    rows, tensors, warnings = reader.rows.get(path, []), {}, []
    for row in rows:
        row.check_columns(other.name for other in reader.others)
    for other in reader.others:
        word = _word(other, rows)
        try:
            tensors[other.name], found = _of_word(word, other)
        except BadInput as error:
            raise BadInput(f"input {other.name!r}: {error}") from error
        warnings += [Warned(w.code, f"input {other.name!r}: {w.text}", w.note) for w in found]
    return tensors, tuple(warnings)


def _word(other: Reader, rows: Sequence[Row]) -> Word:
    """What the rows of a file say of an input: one thing."""
    words = {row.word(other.name, math.prod(other.shape)): row.place for row in rows}
    words.pop(None, None)
    if len(words) > 1:
        raise BadInput(f"input {other.name!r}: {' and '.join(words.values())} do not say the same")
    for word in words:
        if word is not None:
            return word
    raise BadInput(
        f"no value for the input {other.name!r} of shape {other.shape}: give it in a column of "
        "this name of a CSV list, or for a single image as --input NAME=VALUE"
    )


def _of_word(word: Word, reader: Reader) -> tuple[F32, tuple[Warned, ...]]:
    if isinstance(word, Path):
        with _named(word):
            tensor, _, warnings = _read(word, reader)
        pictured = len(reader.shape) == 3
        return tensor, (*warnings, *(emptiness(tensor, reader.shape) if pictured else ()))
    count = math.prod(reader.shape)
    if len(word) != count:
        raise BadInput(f"takes {count} numbers, not {len(word)}")
    return _checked(np.reshape(word, reader.shape), reader), ()


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
    identity = Identity(file_sha256=digest, pixel_sha256=pixel_hash(array))
    return _checked(array, reader), identity, ()


def _checked(array: npt.NDArray[Any], reader: Reader) -> F32:
    """The input itself, finite and inside the range."""
    tensor = as_tensor(array, reader.shape)
    if reader.input is not None:
        check_range(tensor, reader.input)
    return tensor


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
