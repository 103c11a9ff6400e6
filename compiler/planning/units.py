"""Units: the real number per integer step of every class of channels, and what follows from them:
weights from integers to integers, and thresholds. How they are chosen is in `unit_choice`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from moiety.compiler.ir.graph import Graph, Node
from moiety.compiler.ir.ops import OPS
from moiety.compiler.ir.scale_fields import ScaleMap
from moiety.protocols.arrays import F64, I64


@dataclass(frozen=True, eq=False)
class Units:
    """By class id: `reach`, the largest distance from the zero that there is room for; `room`, 1 or
    2, the factor that is needed beyond it, or less than 1 where the unit is to be finer; `unit`;
    `zero`, the real number that integer 0 stands for; `filled`, the signed bits that the calibrated
    range fills, about; `bits`, the ring that holds the integers.

    shifts: by product of two values, the bits dropped after it, from which its unit follows.
    """

    scales: ScaleMap
    reach: F64
    room: F64
    unit: F64
    zero: F64
    filled: I64
    bits: I64
    shifts: Mapping[str, int] = field(default_factory=dict)

    def of(self, graph: Graph, value: str) -> F64:
        """Unit of each channel of `value`, `(C,)`, with the multipliers that its ops brought; may
        be negative or 0.
        """
        spread = self.scales.fields[value]
        return _channels(self.unit[spread.ids] * spread.multiplier, graph, value)

    def bits_of(self, graph: Graph, value: str) -> I64:
        """Ring that holds each channel of `value`, `(C,)`; of channels of several
        classes, the widest.
        """
        return self._widest(self.bits, graph, value)

    def roomy_bits_of(self, graph: Graph, value: str) -> I64:
        """Likewise, with a headroom bit: there is one where there is room for twice the reach."""
        return self._widest(self.bits + (self.room < 2), graph, value)

    def reached_of(self, graph: Graph, value: str) -> I64:
        """Signed bits that the calibrated range of each channel of `value` takes at most, `(C,)`:
        those that are filled, without the room.
        """
        room = np.log2(self.room).astype(np.int64)
        return self._widest(self.filled - room, graph, value)

    def held_bits(self, margin_bits: int) -> I64:
        """See there."""
        return held_bits(self.filled, self.room, margin_bits)

    def margin_of(self, graph: Graph, value: str) -> I64:
        """Bits of the ring beyond those that each channel of `value` fills, `(C,)`."""
        return self._widest(self.bits - self.filled, graph, value)

    def _widest(self, bits: I64, graph: Graph, value: str) -> I64:
        of_ids = bits[self.scales.fields[value].ids]
        others = tuple(axis for axis in range(of_ids.ndim) if axis != 1)
        widest = of_ids.max(axis=others, keepdims=True)
        return np.broadcast_to(widest.reshape(-1), (graph.shapes[value][1],))

    def zero_of(self, graph: Graph, value: str) -> F64:
        """Zero of each channel of `value`, a linear layer's result or a gate's operand, `(C,)`."""
        return _channels(self.zero[self.scales.fields[value].ids], graph, value)


def held_bits(filled: I64, room: F64, margin_bits: int) -> I64:
    """The signed bits that reach and room fill at the unit of a class that is not finer: margins
    are beyond the bits that the calibrated range fills, and twice as many of what has the size of a
    square.
    """
    return filled + margin_bits * np.where(room < 1, 2, 1)


def finer_bits(room: F64) -> I64:
    """Bits that a class has beyond those it fills, for the sake of a finer unit."""
    return np.maximum(-np.log2(room), 0).astype(np.int64)


def _channels(array: F64, graph: Graph, value: str) -> F64:
    flat = array.reshape(*array.shape[:2], -1)[0, :, 0]
    return np.array(np.broadcast_to(flat, (graph.shapes[value][1],)))


def ideal_weights(graph: Graph, units: Units, node: Node) -> F64:
    """Weights from integers to integers, before scaling by 2^shift and rounding:
    float64 `(M, C/groups, kh, kw)`.
    """
    convolution = OPS[node.op].convolution(node)
    unit_in, unit_out = units.of(graph, node.inputs[0]), units.of(graph, node.output)
    ratio = unit_in[convolution.input_channels] / unit_out[:, None]
    return np.asarray(convolution.weight * ratio[:, :, None, None])


def gate_ids(scales: ScaleMap, node: Node) -> I64:
    """Class id of each channel of an AffineRelu's operand, `(C,)`."""
    ids = scales.fields[node.inputs[0]].ids.reshape(-1)
    return np.broadcast_to(ids, node.consts["scale"].shape)


def gate_thresholds(scales: ScaleMap, zero: F64, node: Node) -> F64:
    """c of `gate(x + c)`, x counted from its zero, `(C,)`; 0 where g = 0: the gate does not matter.
    May be infinite.
    """
    gain = node.consts["scale"].astype(np.float64)
    shift = node.consts["shift"].astype(np.float64) + gain * zero[gate_ids(scales, node)]
    with np.errstate(over="ignore"):
        return np.where(gain != 0, shift / np.where(gain != 0, gain, 1.0), 0.0)
