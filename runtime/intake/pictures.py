"""The client's images: PNG, JPEG and NPY files to the model's input tensor, as the Program's public
`preprocessing` says.

A picture (PNG, JPEG, or an NPY file of uint8, `(H,W)` or `(H,W,3)`) is brought to the size asked
for and normalised by `preprocess`. An NPY file of floating-point
numbers, `(C,H,W)`, `(1,C,H,W)`, or `(H,W)` for a model of one channel, is the model's input itself,
already preprocessed: only its shape is checked.

Everything that is wrong with a file is a `BadInput` that names the file and what to do.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from moiety.protocols.arrays import F32
from moiety.protocols.errors import BadInput
from moiety.runtime.intake.picture import Identity, Picture
from moiety.runtime.intake.preprocess import preprocess
from moiety.runtime.program import Preprocessing, picture_shape

PICTURES = frozenset({".png", ".jpg", ".jpeg"})
SUFFIXES = PICTURES | {".npy"}


def collect(paths: Iterable[Path]) -> list[Path]:
    """Image files named by `paths`: files, folders (their image files, sorted by name) and
    CSV lists.

    A CSV list has a column `file` or `image` or `path` (else its first column is taken), relative
    to the list's own folder. Raises `BadInput` when a path does not exist, holds nothing usable, or
    has another type.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            if not inside:
                raise BadInput(
                    f"no image in the folder {path}: expected files ending in "
                    f"{', '.join(sorted(SUFFIXES))}"
                )
            found += inside
        elif not path.exists():
            raise BadInput(f"{path} does not exist")
        elif path.suffix.lower() == ".csv":
            found += _from_list(path)
        elif path.suffix.lower() in SUFFIXES:
            found.append(path)
        else:
            raise BadInput(
                f"{path}: not a type read here; convert it to PNG, JPEG or NPY (DICOM and TIFF too)"
            )
    if not found:
        raise BadInput("no image given")
    return found


def _from_list(path: Path) -> list[Path]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path}: cannot be read as a CSV list of images ({error})") from error
    if not rows:
        raise BadInput(f"{path}: the list is empty")
    header = [cell.strip().lower() for cell in rows[0]]
    column = next(
        (header.index(name) for name in ("file", "image", "path") if name in header), None
    )
    entries = rows[1:] if column is not None else rows
    files = []
    for number, row in enumerate(entries, start=1 + (column is not None)):
        if len(row) <= (column or 0):
            raise BadInput(f"{path}, line {number}: no cell in column {(column or 0) + 1}")
        file_path = path.parent / row[column or 0].strip()
        if file_path.suffix.lower() not in SUFFIXES or not file_path.is_file():
            raise BadInput(
                f"{path}, line {number}: '{row[column or 0].strip()}' is not an image file "
                "(relative to the list's folder)"
            )
        files.append(file_path)
    if not files:
        raise BadInput(f"{path}: the list has a header and no image")
    return files


def load(path: Path, shape: tuple[int, ...], preprocessing: Preprocessing | None) -> F32:
    """The input tensor, float32 of `shape`, (C,H,W) or (H,W,C), finite. Raises `BadInput`."""
    if path.suffix.lower() == ".npy":
        array = _read_npy(path)
        if array.dtype != np.uint8:
            return _as_tensor(path, array, shape)
        picture = _as_picture(path, array)
    else:
        picture = _read_picture(path)
    if preprocessing is None:
        raise BadInput(
            f"{path}: this Program has no preprocessing for pictures; give the input tensor as "
            f"NPY, float32 of shape {shape}"
        )
    try:
        tensor, _ = preprocess(_held(picture), preprocessing)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None
    return (
        tensor
        if picture_shape(shape) == tuple(shape)
        else np.ascontiguousarray(tensor.transpose(1, 2, 0))
    )


def _read_npy(path: Path) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise BadInput(f"{path}: damaged, or not an NPY file of numbers ({error})") from error
    if not isinstance(array, np.ndarray):
        raise BadInput(f"{path}: an NPZ archive; save one array with numpy.save")
    if array.dtype != np.uint8 and not np.issubdtype(array.dtype, np.floating):
        raise BadInput(
            f"{path}: holds {array.dtype}; save uint8 for a picture, or float32 for a preprocessed "
            "input tensor"
        )
    return array


def _as_tensor(path: Path, array: npt.NDArray[Any], shape: tuple[int, ...]) -> F32:
    found = array.shape
    if array.ndim == len(shape) + 1 and array.shape[0] == 1:
        array = array[0]
    elif array.ndim + 1 == len(shape) and shape[0] == 1:
        array = array[None]
    if array.shape != shape:
        raise BadInput(
            f"{path}: float tensor of shape {found}, the model's input is {shape} (channels, "
            "height, width)"
        )
    if not np.isfinite(array).all():
        raise BadInput(f"{path}: contains NaN or infinite numbers")
    return np.ascontiguousarray(array, np.float32)


def _as_picture(path: Path, array: npt.NDArray[Any]) -> Image.Image:
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise BadInput(
            f"{path}: uint8 of shape {array.shape}; a picture is (height, width) or (height, "
            "width, 3)"
        )
    return Image.fromarray(array)


def _read_picture(path: Path) -> Image.Image:
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as picture:
            picture.load()
            return picture
    except UnidentifiedImageError as error:
        raise BadInput(f"{path}: not a PNG or JPEG picture, whatever its name says") from error
    except Image.DecompressionBombError as error:
        raise BadInput(f"{path}: too many pixels ({error})") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise BadInput(f"{path}: damaged picture ({error})") from error


def _held(picture: Image.Image) -> Picture:
    """Its values and nothing of its identity."""
    nothing = Identity(file_sha256="", pixel_sha256="")
    if picture.mode.startswith("I"):
        return Picture(np.asarray(picture).astype(np.float64) / 65535, nothing)
    mode = "L" if picture.mode in ("1", "L", "LA") else "RGB"
    return Picture(np.asarray(picture.convert(mode)), nothing)
