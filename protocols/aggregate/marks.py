"""The client's labels, as protocols take them: a mark for every image and label."""

from __future__ import annotations

from typing import Final

import numpy as np

from moiety.protocols.arrays import BOOL, U8

UNKNOWN: Final = 0
POSITIVE: Final = 1
NEGATIVE: Final = 2


def marks_of(positives: BOOL, negatives: BOOL) -> U8:
    """One mark for what is positive, for what is negative and for what is neither, of their
    shape.
    """
    return np.where(positives, POSITIVE, np.where(negatives, NEGATIVE, UNKNOWN)).astype(np.uint8)
