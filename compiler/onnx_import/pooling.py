"""Importers of pools."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moiety.compiler.ir.axis_map import AxisMap
from moiety.compiler.ir.ops.pooling import MAX_FACTOR
from moiety.compiler.ir.ops.windows import positions
from moiety.compiler.onnx_import.axes import mapped, taken
from moiety.compiler.onnx_import.call import Call, importer
from moiety.compiler.onnx_import.volumes import volumetric
from moiety.compiler.onnx_import.windows import NO_PADS, image_shape, planar, two, window_pads
from moiety.protocols.arrays import F64, I64


@dataclass(frozen=True)
class _Windows:
    """The windows of a pool along one axis of `size` elements. after: the pads at the end; added:
    what ceil_mode adds to them, which never counts.
    """

    size: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int
    added: int

    @property
    def count(self) -> int:
        """How many there are."""
        pads = (self.before, self.after + self.added)
        return max(0, positions(self.size, self.kernel, self.stride, *pads, self.dilation))

    @property
    def taps(self) -> I64:
        """The position of each tap of each window, `(windows, kernel)`; outside in the padding."""
        starts = np.arange(self.count) * self.stride - self.before
        return starts[:, None] + np.arange(self.kernel) * self.dilation

    def inside(self, padding: bool = False) -> npt.NDArray[np.bool_]:
        """Which taps are in the image, or in its written padding."""
        before, after = (self.before, self.after) if padding else (0, 0)
        return np.asarray((self.taps >= -before) & (self.taps < self.size + after))

    def counts(self, padding: bool) -> list[int]:
        """How many elements each window averages."""
        return [int(count) for count in self.inside(padding).sum(axis=1)]

    def means(self, padding: bool) -> F64:
        """Its means as a matrix `(windows, size)`."""
        matrix, inside = np.zeros((len(self.taps), self.size)), self.inside()
        rows, taps = np.nonzero(inside)
        weights = 1 / np.array(self.counts(padding), np.float64)
        np.add.at(matrix, (rows, self.taps[rows, taps]), weights[rows])
        return matrix


def _windows(call: Call) -> tuple[_Windows, _Windows]:
    """Of height and width."""
    names = ("kernel_shape", "strides", "dilations")
    kernel, strides, dilations = (two(call, name) for name in names)
    if min(*kernel, *strides, *dilations) < 1:
        call.fail(f"kernel {kernel}, strides {strides}, dilations {dilations} must be positive")
    pads, added = window_pads(call, kernel, strides, dilations)
    rows, columns = (
        _Windows(
            size=image_shape(call)[i],
            kernel=kernel[i],
            stride=strides[i],
            dilation=dilations[i],
            before=pads[i],
            after=pads[i + 2],
            added=added[i],
        )
        for i in range(2)
    )
    for axis in (rows, columns):
        call.make_room(axis.count, axis.kernel)
        if not axis.count or not axis.inside().any(axis=1).all():
            call.fail(f"has windows without an element of {call.shape()}", "use smaller pads")
    return rows, columns


def _pool(rows: _Windows, columns: _Windows) -> dict[str, tuple[int, ...]]:
    """Attributes of a pool of the Graph, whose pads are all alike."""
    return {
        "kernel": (rows.kernel, columns.kernel),
        "strides": (rows.stride, columns.stride),
        "pads": (
            rows.before,
            columns.before,
            rows.after + rows.added,
            columns.after + columns.added,
        ),
    }


@importer("MaxPool")
@volumetric
@planar
def _maxpool(call: Call) -> Sequence[str]:
    """1-D to 3-D; strides, pads, dilations, auto_pad, ceil_mode; one output."""
    call.only_first_output()
    rows, columns = _windows(call)
    if rows.dilation == columns.dilation == 1:
        return [call.emit("MaxPool", [call.value()], **_pool(rows, columns))]
    return [_largest(call, _largest(call, call.value(), 2, rows), 3, columns)]


def _largest(call: Call, value: str, axis: int, windows: _Windows) -> str:
    """Maxima along one axis: its taps, as a tensor each, are what one pool compares. A tap in the
    padding is another one of its window, which changes no maximum.
    """
    inside, taps = windows.inside(), windows.taps
    first = taps[np.arange(len(taps)), inside.argmax(axis=1)]
    last = taps[np.arange(len(taps)), -1 - inside[:, ::-1].argmax(axis=1)]
    within = np.clip(taps, first[:, None], last[:, None])
    chosen = [taken(call, value, axis, within[:, tap]) for tap in range(windows.kernel)]
    if len(chosen) == 1:
        return chosen[0]
    shape = call.builder.shapes[chosen[0]]
    joined = call.emit("Concat", chosen, axis=2)
    stacked = call.reshape(joined, (*shape[:2], windows.kernel, math.prod(shape[2:])))
    attrs = {"kernel": (windows.kernel, 1), "strides": (1, 1), "pads": NO_PADS}
    return call.reshape(call.emit("MaxPool", [stacked], **attrs), shape)


@importer("AveragePool")
@volumetric
@planar
def _averagepool(call: Call) -> Sequence[str]:
    """1-D to 3-D; strides, pads, dilations, auto_pad, ceil_mode, count_include_pad."""
    axes, counted = _windows(call), call.flag("count_include_pad")
    dilated = any(windows.dilation > 1 for windows in axes)
    if dilated or any(_uneven(windows, counted) for windows in axes):
        value = call.value()
        for axis, windows in enumerate(axes, start=2):
            call.make_room(windows.count, windows.size)
            value = mapped(call, value, axis, AxisMap.of(windows.means(counted)))
        return [value]
    return [_evenly_averaged(call, *axes, counted)]


def _uneven(windows: _Windows, counted: bool) -> bool:
    """Have its windows too many different numbers of elements for one sum?"""
    counts = windows.counts(counted)
    return math.lcm(*counts) // min(counts) > MAX_FACTOR


def _evenly_averaged(call: Call, rows: _Windows, columns: _Windows, counted: bool) -> str:
    value, attrs = call.value(), _pool(rows, columns)
    if counted and rows.added + columns.added > 0:
        # What ceil_mode adds never counts, the written pads do: those become zeros of the image.
        written = ((rows.before, rows.after), (columns.before, columns.after))
        value = call.emit("Pad", [value], pads=((0, 0), (0, 0), *written))
        attrs["pads"], counted = (0, 0, rows.added, columns.added), False
    counted = counted and any(attrs["pads"])
    return call.emit("AvgPool", [value], **attrs, count_include_pad=counted)


@importer("GlobalAveragePool")
@volumetric
@planar
def _globalaveragepool(call: Call) -> Sequence[str]:
    """1-D to 3-D."""
    attrs = {"kernel": image_shape(call), "strides": (1, 1), "pads": NO_PADS}
    return [call.emit("AvgPool", [call.value()], **attrs, count_include_pad=False)]


@importer("GlobalMaxPool")
@volumetric
@planar
def _globalmaxpool(call: Call) -> Sequence[str]:
    """1-D to 3-D."""
    attrs = {"kernel": image_shape(call), "strides": (1, 1), "pads": NO_PADS}
    return [call.emit("MaxPool", [call.value()], **attrs)]
