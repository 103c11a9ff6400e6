"""The weights of a resized axis: where each output is taken, and which pixels it is a mean of."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from moiety.compiler.ir.graph import Array
from moiety.protocols.arrays import F64


@dataclass(frozen=True)
class Axis:
    """An axis of `size` pixels that becomes one of `result`. coordinates: ONNX's
    coordinate_transformation_mode; crop: of tf_crop_and_resize, in parts of the axis.
    """

    size: int
    result: int
    scale: float
    coordinates: str
    crop: tuple[float, float] = (0.0, 1.0)

    def sources(self, real: type[np.floating[Any]]) -> Array | None:
        """Where in the image, in pixels, each output is taken, in that precision; None for unknown
        coordinates.
        """
        o: Array = np.arange(self.result, dtype=real)
        scale: Array = np.asarray(self.scale, real)
        half: Array = np.asarray(0.5, real)
        match self.coordinates:
            case "half_pixel":
                return (o + half) / scale - half
            case "pytorch_half_pixel":
                return (o + half) / scale - half if self.result > 1 else o * 0
            case "asymmetric":
                return o / scale
            case "align_corners":
                return o * (self.size - 1) / np.asarray(max(self.result - 1, 1), real)
            case "half_pixel_symmetric":
                cut = 1 - self.result / (self.scale * self.size)
                offset: Array = np.asarray(self.size / 2 * cut, real)
                return offset + (o + half) / scale - half
            case "tf_crop_and_resize":
                first, last = (np.asarray(end * (self.size - 1), real) for end in self.crop)
                if self.result == 1:
                    return o + half * (first + last)
                return first + o * (last - first) / (self.result - 1)
        return None

    def beyond(self, sources: Array) -> npt.NDArray[np.bool_]:
        """Which outputs lie outside the image, where the coordinates extrapolate."""
        if self.coordinates != "tf_crop_and_resize":
            return np.zeros(len(sources), bool)
        return np.asarray((sources < 0) | (sources > self.size - 1))


@dataclass(frozen=True)
class Kernel:
    """The weight of a pixel by its distance from where the output is taken. reach: it is zero from
    there on. antialias: it is as much wider as the image becomes smaller. exclude_outside: pixels
    beyond the image have no weight; else they are those of its border.
    """

    weight: Callable[[F64], F64]
    reach: int
    antialias: bool = False
    exclude_outside: bool = False

    def _narrow(self, axis: Axis) -> float:
        return min(1.0, axis.scale) if self.antialias else 1.0

    def reached(self, axis: Axis) -> int:
        """How many pixels to each side may have a weight."""
        return math.ceil(self.reach / self._narrow(axis))

    def matrix(self, axis: Axis, sources: F64) -> F64:
        """Rows that sum to one, `(result, size)`; zero rows for outputs beyond the image."""
        narrow, reach = self._narrow(axis), self.reached(axis)
        pixels = np.floor(sources)[:, None] + np.arange(-reach, reach + 2)
        weights = self.weight((pixels - sources[:, None]) * narrow)
        inside = (pixels >= 0) & (pixels < axis.size)
        if self.exclude_outside:
            weights = np.where(inside, weights, 0.0)
        weights /= weights.sum(axis=1, keepdims=True)
        weights[axis.beyond(sources)] = 0.0
        full = np.zeros((axis.result, axis.size))
        columns = np.clip(pixels, 0, axis.size - 1).astype(np.int64)
        np.add.at(full, (np.arange(axis.result)[:, None], columns), weights)
        full[np.abs(full) < 1e-9] = 0.0  # what the kernel's zeros leave
        return full


def linear(antialias: bool, exclude_outside: bool) -> Kernel:
    """The two nearest pixels."""
    return Kernel(lambda x: np.maximum(1 - np.abs(x), 0.0), 1, antialias, exclude_outside)


def cubic(a: float, antialias: bool, exclude_outside: bool) -> Kernel:
    """Cubic convolution over the four nearest pixels (Keys 1981) with parameter `a`."""

    def weight(x: F64) -> F64:
        x = np.abs(x)
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = ((x - 5) * x + 8) * x * a - 4 * a
        return np.where(x <= 1, near, np.where(x < 2, far, 0.0))

    return Kernel(weight, 2, antialias, exclude_outside)
