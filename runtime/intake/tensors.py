"""NPY files: pictures of uint8 or uint16, and float tensors that are the model's input itself."""

from __future__ import annotations

import io
import math
import tokenize
from typing import Any

import numpy as np
import numpy.lib.format as npy
import numpy.typing as npt

from moiety.protocols.arrays import F32
from moiety.protocols.errors import BadInput
from moiety.runtime.intake.depth import picture_of
from moiety.runtime.intake.picture import Picture

HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npy(data: bytes) -> npt.NDArray[Any]:
    """The one array of an NPY file: uint8, uint16 or floating-point numbers. Raises `BadInput`."""
    file = io.BytesIO(data)
    try:
        version = npy.read_magic(file)
        if version not in HEADERS:
            raise BadInput(f"an NPY file of version {'.'.join(map(str, version))}, not read here")
        shape, fortran, dtype = HEADERS[version](file)
    except (ValueError, SyntaxError, EOFError, TypeError, tokenize.TokenError) as error:
        raise BadInput(f"damaged, or not an NPY file of numbers ({error})") from error
    if dtype.hasobject:
        raise BadInput("holds Python objects, which are never read; save numbers")
    if dtype.kind != "f" and not (dtype.kind == "u" and dtype.itemsize <= 2):
        raise BadInput(
            f"holds {dtype}; save uint8 or uint16 for a picture, or float32 for a preprocessed "
            "input tensor"
        )
    wanted, found = math.prod(shape) * dtype.itemsize, len(data) - file.tell()
    if wanted != found or min(shape, default=0) < 0:
        raise BadInput(
            f"damaged: {dtype} of shape {shape} takes {wanted} bytes, the file has {found}"
        )
    flat = np.frombuffer(data, dtype, offset=file.tell())
    return flat.reshape(shape, order="F" if fortran else "C")


def as_picture(array: npt.NDArray[Any], file_sha256: str, bit_depth: int | None) -> Picture:
    """A picture of uint8 `(H,W)` or `(H,W,3)`, or of uint16 `(H,W)`. Raises `BadInput`."""
    deep = array.dtype != np.uint8
    if array.size == 0 or not (array.ndim == 2 or (array.shape[2:] == (3,) and not deep)):
        raise BadInput(
            f"{array.dtype.name} of shape {array.shape}; a picture is (height, width)"
            + ("" if deep else " or (height, width, 3)")
        )
    return picture_of(array, file_sha256, bit_depth)


def as_tensor(array: npt.NDArray[Any], shape: tuple[int, ...]) -> F32:
    """A float array as the input of `shape`: a leading 1 may be too many, or missing. Raises
    `BadInput`.
    """
    found = array.shape
    if array.ndim == len(shape) + 1 and array.shape[0] == 1:
        array = array[0]
    elif array.ndim + 1 == len(shape) and shape[0] == 1:
        array = array[None]
    if array.shape != shape:
        raise BadInput(
            f"float tensor of shape {found}, the model's input is {shape}"
            + (" (channels, height, width)" if len(shape) == 3 else "")
        )
    with np.errstate(over="ignore"):
        tensor = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(tensor).all():
        raise BadInput("contains NaN or infinite numbers")
    return tensor
