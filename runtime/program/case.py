"""A case: what the client brings for one result, a tensor for each of the Program's inputs.

Of a Program of one input the case is its tensor, the image; of several it is a mapping from their
names to their tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from moiety.protocols.errors import BadInput

Case = npt.ArrayLike | Mapping[str, npt.ArrayLike]


def tensors_of(case: Case, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """The tensors of a case by the names of the inputs, in that order. BadInput unless there is one
    for each and no other.
    """
    if not isinstance(case, Mapping):
        if len(names) != 1:
            raise BadInput(
                f"one tensor for {len(names)} inputs ({', '.join(names)}): give one for each, by "
                "name"
            )
        return {names[0]: np.asarray(case)}
    missing = [name for name in names if name not in case]
    if missing:
        raise BadInput(f"no tensor for the input {missing[0]!r}")
    unknown = [name for name in case if name not in names]
    if unknown:
        raise BadInput(f"there is no input {unknown[0]!r}, only {', '.join(map(repr, names))}")
    return {name: np.asarray(case[name]) for name in names}
