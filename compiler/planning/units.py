"""Units: the real number per integer step of every class of channels, and what follows from them:
weights from integers to integers, and thresholds. How they are chosen is in `unit_choice`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moiety.compiler.ir.graph import Graph, Node
from moiety.compiler.ir.ops import OPS
from moiety.compiler.ir.scale_fields import ScaleMap
from moiety.protocols.arrays import F64, I64


@dataclass(frozen=True, eq=False)
class Units:
    """By class id: `reach`, the largest distance from the zero that there is room for; `unit`;
    `zero`, the real number that integer 0 stands for; `bits`, the ring that holds the integers.
    """

    scales: ScaleMap
    reach: F64
    unit: F64
    zero: F64
    bits: I64

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
        bits = self.bits[self.scales.fields[value].ids]
        widest = bits.max(axis=tuple(axis for axis in range(bits.ndim) if axis != 1), keepdims=True)
        return np.broadcast_to(widest.reshape(-1), (graph.shapes[value][1],))

    def zero_of(self, graph: Graph, value: str) -> F64:
        """Zero of each channel of `value`, a linear layer's result or a gate's operand, `(C,)`."""
        return _channels(self.zero[self.scales.fields[value].ids], graph, value)


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
