"""What can be told of an input tensor by looking at it: does the Program's range hold it, is there
anything in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moiety.protocols.arrays import F32
from moiety.protocols.errors import BadInput
from moiety.runtime.intake.picture import Warned
from moiety.runtime.program import Input, picture_shape

SATURATED = 0.001
"""Fraction of a picture's values that may leave the Program's input range unsaid."""


def check_range(tensor: F32, step: Input) -> None:
    """BadInput where a value is outside the range that the Program was made for: the client would
    clip it, and nobody else could know.
    """
    if step.clipped(tensor).any():
        low, high = step.limits()
        raise BadInput(
            f"values from {tensor.min():.4g} to {tensor.max():.4g}, outside the model's input "
            f"range of {low:.4g} to {high:.4g}: prepare the tensor as in training"
        )


def saturation(tensor: F32, step: Input) -> tuple[Warned, ...]:
    """A warning where many values of a preprocessed picture are clipped."""
    part = float(step.clipped(tensor).mean())
    if part <= SATURATED:
        return ()
    low, high = step.limits()
    text = f"{part:.1%} of the input is outside the model's range of {low:.4g} to {high:.4g}"
    return (Warned("saturated", f"{text} and is clipped to it"),)


def emptiness(tensor: F32, shape: Sequence[int]) -> tuple[Warned, ...]:
    """A warning where every channel of the input is one value throughout."""
    is_picture = len(shape) == 3
    last = is_picture and picture_shape(shape) != tuple(shape)
    channels = np.moveaxis(tensor, -1, 0) if last else tensor
    rows = channels.reshape(channels.shape[0] if is_picture else 1, -1)
    if np.ptp(rows, axis=1).any():
        return ()
    return (Warned("constant", "the whole input is one value: there is nothing to see"),)
