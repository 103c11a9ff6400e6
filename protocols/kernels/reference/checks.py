"""Checks of the arguments of the NumPy twins. All raise TypeError for a wrong dtype and ValueError
for a wrong shape or range; the compiled twins check the same (native/arguments.hpp).
"""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np
import numpy.typing as npt

from moiety.protocols.arrays import U8


def check_range(name: str, value: int, low: int, high: int) -> None:
    """`low <= value <= high`, an integer."""
    if not low <= index(value) <= high:
        raise ValueError(f"{name} must be in {low}..{high}, got {value}")


def check_width(k: int) -> None:
    """A correlation has 1 to 4 bits."""
    check_range("k", k, 1, 4)


def check_array(
    name: str, array: npt.NDArray[Any], dtype: npt.DTypeLike, *shape: int | None
) -> None:
    """An array of exactly this dtype and shape; None is any extent."""
    check_dtype(name, array, dtype)
    if array.ndim != len(shape) or any(
        want not in (None, have) for have, want in zip(array.shape, shape, strict=True)
    ):
        wanted = ", ".join("n" if want is None else str(want) for want in shape)
        raise ValueError(f"{name} must have shape ({wanted}), got {array.shape}")


def check_dtype(name: str, array: npt.NDArray[Any], dtype: npt.DTypeLike) -> None:
    """An array of exactly this dtype, of any shape."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} must be an array, not {type(array).__name__}")
    if array.dtype != dtype:
        raise TypeError(f"{name} must be {np.dtype(dtype)}, got {array.dtype}")
    if array.flags.c_contiguous and not array.flags.aligned:
        raise ValueError(f"{name} must be aligned in memory: copy it")


def check_bytes(name: str, array: U8, *shape: int | None) -> None:
    """An array of uint8."""
    check_array(name, array, np.uint8, *shape)


def check_target(
    name: str,
    array: npt.NDArray[Any],
    dtype: npt.DTypeLike,
    shape: tuple[int | None, ...],
    *others: npt.NDArray[Any],
) -> None:
    """An array that is written to, while `others` are read: a copy would lose what is written, and
    shared memory would change under the reader. (Strided arrays are copied before.)
    """
    check_array(name, array, dtype, *shape)
    if not array.flags.c_contiguous or not array.flags.writeable:
        raise ValueError(f"{name} must be contiguous and writeable")
    for other in others:
        if other.flags.c_contiguous and np.may_share_memory(array, other):
            raise ValueError(f"{name} must share no memory with other arguments")
