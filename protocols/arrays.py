"""The array types of the package, each declared once: `U8` is an array of uint8, and so on.

A docstring says what an array holds and its shape, as `uint8 (n, 16)`; a type only says the dtype.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BOOL = npt.NDArray[np.bool_]
I8 = npt.NDArray[np.int8]
I16 = npt.NDArray[np.int16]
U8 = npt.NDArray[np.uint8]
U16 = npt.NDArray[np.uint16]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
