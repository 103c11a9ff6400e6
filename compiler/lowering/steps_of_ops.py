"""The steps of every op: one function each, registered under the ops that it lowers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

import numpy as np

from moiety.compiler.ir.axis_map import AxisMap
from moiety.compiler.ir.graph import Node
from moiety.compiler.ir.ops.pooling import window_factors
from moiety.compiler.lowering.emitter import Emitter
from moiety.compiler.planning.guards import guarded_price
from moiety.compiler.planning.layers import layer_geometry
from moiety.protocols.compare.digits import MAX_THRESHOLDS
from moiety.protocols.errors import ContractViolation
from moiety.protocols.linear.planner import plan_linear
from moiety.protocols.network import NETWORKS
from moiety.runtime.program import (
    Add,
    AddConst,
    Combine,
    Concat,
    Gates,
    Linear,
    LinearMap,
    MaxPool,
    Pad,
    Product,
    Reduce,
    Relu,
    Reshape,
    Slice,
    Square,
    SumPool,
    Transpose,
    Truncate,
)
from moiety.runtime.program.steps.base import GATE_BITS

Lowering = Callable[[Emitter, Node], None]

LOWERINGS: dict[str, Lowering] = {}
"""Op -> how its steps are made. A test holds that every op in normal form is there."""


def lower_node(out: Emitter, node: Node) -> None:
    """Append the steps of one node. ContractViolation for an op that has none."""
    if node.op not in LOWERINGS:
        raise ContractViolation(f"{node.op} {node.name!r} has no step")
    LOWERINGS[node.op](out, node)


def lowers(*ops: str) -> Callable[[Lowering], Lowering]:
    """Registers a function as the lowering of these ops."""

    def register(function: Lowering) -> Lowering:
        LOWERINGS.update(dict.fromkeys(ops, function))
        return function

    return register


# --- layers ---------------------------------------------------------------------------------------


@lowers("Conv", "Gemm", "Scale")
def _linear(out: Emitter, node: Node) -> None:
    """A Linear from the layer's own ring, and right after it the truncation down to the ring
    between layers, which an exact Linear must have: it drops the guard bits, too.
    """
    layer, geometry = out.plan.layers[node.output], layer_geometry(out.graph, node)
    options = out.plan.options
    guard = guarded_price(
        geometry,
        layer.bits,
        layer.weight_bits,
        layer.shift,
        options.rounding,
        NETWORKS[options.network],
    ).guard
    operand = out.reshaped(out.get(node.inputs[0], layer.bits), geometry.in_shape)
    index = out.add(
        Linear(
            inputs=(operand,),
            shape=geometry.out_shape,
            bits=layer.bits + guard,
            name=node.name,
            kernel=geometry.kernel,
            pads=geometry.pads,
            dilations=geometry.dilations,
            groups=geometry.groups,
            weight_bits=layer.weight_bits,
            guard=guard,
            rlwe=plan_linear(geometry, layer.bits, layer.weight_bits, guard).rlwe,
        )
    )
    out.tensors[f"linear.{index}.weight"] = layer.weight
    out.tensors[f"linear.{index}.bias"] = layer.bias
    if layer.shift + guard:
        index = out.truncated(index, layer.shift + guard)
    out.carry(node.output, out.reshaped(index, out.shape(node.output)))


@lowers("Relu")
def _relu(out: Emitter, node: Node) -> None:
    """From the operand's ring straight into the widest that is asked for."""
    _emit_relu(out, node, affine=False)


@lowers("AffineRelu")
def _affine_relu(out: Emitter, node: Node) -> None:
    """Its factor is in the unit of its result: threshold and sign are left."""
    index, gate = _emit_relu(out, node, affine=True), out.plan.gates[node.output]
    out.tensors[f"relu.{index}.threshold"] = gate.threshold
    out.tensors[f"relu.{index}.flip"] = gate.flip


def _emit_relu(out: Emitter, node: Node, affine: bool) -> int:
    given, bits = (out.formats.bits(value) for value in (node.inputs[0], node.output))
    common = out.operands(node, min(given, bits))
    common["bits"] = max(bits, out.widest(node.output))
    return out.emit(node.output, Relu(**common, affine=affine))


@lowers("Activation", "Power")
def _activation(out: Emitter, node: Node) -> None:
    """All its ReLUs as one, of copies of the operand one after the other, from the ring that holds
    it into that of the sum.
    """
    made, bits, name = out.plan.splines[node.output], out.formats.bits(node.output), node.name
    given = out.formats.compared_bits(node.inputs[0])
    shape, wide, count = out.shape(node.output), bits + made.shift, len(made.factors)
    stacked = (count * shape[0], *shape[1:])
    operand = out.get(node.inputs[0], given)
    gates = _knot_gates(out, node, operand) if made.low or count > MAX_THRESHOLDS else ()
    copies = out.add(
        Concat(inputs=(operand,) * count, shape=stacked, bits=given, name=name, axis=0)
    )
    opened = out.add(
        Relu(inputs=(copies, *gates), shape=stacked, bits=wide, name=name, affine=True)
    )
    out.tensors[f"relu.{opened}.threshold"] = np.repeat(made.threshold, shape[0])
    out.tensors[f"relu.{opened}.flip"] = np.repeat(made.flip, shape[0])
    parts = out.reshaped(opened, (count, *shape))
    total = out.add(
        Combine(inputs=(parts,), shape=shape, bits=wide, name=name, factors=made.factors)
    )
    shifted = out.add(AddConst(inputs=(total,), shape=shape, bits=wide, name=name))
    out.tensors[f"const.{shifted}"] = made.constant.reshape(-1, *(1,) * (len(shape) - 1))
    out.emit(
        node.output,
        Truncate(
            inputs=(shifted,),
            shape=shape,
            bits=bits,
            name=name,
            shift=made.shift,
            rounding=out.plan.options.rounding,
        ),
    )


def _knot_gates(out: Emitter, node: Node, operand: int) -> tuple[int]:
    """`[x - t >= 0]` for all knots t, multiples of 2^low: x is at least t where its floor is. One
    comparison makes that floor and the signs, of as many knots as can share it.
    """
    made, shape, name = out.plan.splines[node.output], out.shape(node.output), node.name
    bits, knots = out.steps[operand].bits, made.threshold >> made.low
    floor = operand
    if made.low:
        floor = out.add(
            Truncate(
                inputs=(operand,),
                shape=shape,
                bits=bits - made.low,
                name=name,
                shift=made.low,
                rounding="exact",
            )
        )
    opened = []
    for first in range(0, len(knots), MAX_THRESHOLDS):
        together = knots[first : first + MAX_THRESHOLDS]
        gates = out.add(
            Gates(
                inputs=(floor,),
                shape=(len(together), *shape),
                bits=GATE_BITS,
                name=name,
                compared=bits - made.low,
                joint=first == 0 and made.low > 0,
            )
        )
        out.tensors[f"gates.{gates}.threshold"] = np.repeat(together[:, None], shape[0], axis=1)
        flat = (len(together) * shape[0], *shape[1:])
        opened.append(out.add(Reshape(inputs=(gates,), shape=flat, bits=GATE_BITS, name=name)))
    if len(opened) == 1:
        return (opened[0],)
    stacked = (len(knots) * shape[0], *shape[1:])
    whole = Concat(inputs=tuple(opened), shape=stacked, bits=GATE_BITS, name=name, axis=0)
    return (out.add(whole),)


@lowers("MaxPool")
def _max_pool(out: Emitter, node: Node) -> None:
    common = out.operands(node, out.formats.bits(node.output))
    out.emit(node.output, MaxPool(**common, **_window(node)))


# --- products -------------------------------------------------------------------------------------


@lowers("Mul", "MeanProduct")
def _mul(out: Emitter, node: Node) -> None:
    """A product in its own ring, or the sum of such, and after it the truncation, to nearest where
    that is exact: down to the ring between layers, or the widest that is asked for.
    """
    value, (_, shift, out_bits) = node.output, out.plan.products[node.output]
    bits = out_bits + shift
    common: dict[str, Any] = {"shape": out.shape(value), "name": node.name}
    index = _multiplied(out, node)
    if node.op == "MeanProduct":
        window: dict[str, Any] = {"kernel": out.shape(node.inputs[0])[1:], "strides": (1, 1)}
        ring = out.steps[index].bits
        index = out.add(SumPool(inputs=(index,), bits=ring, pads=(0, 0, 0, 0), **window, **common))
    if out.steps[index].bits > bits:
        index = out.add(Reduce(inputs=(index,), bits=bits, **common))
    if shift and out.plan.options.rounding == "exact":
        index = out.add(AddConst(inputs=(index,), bits=bits, **common))
        out.tensors[f"const.{index}"] = np.full((1,) * len(out.shape(value)), 1 << (shift - 1))
    if shift:
        index = out.truncated(index, shift)
    out.carry(value, index)


def _multiplied(out: Emitter, node: Node) -> int:
    """The product of integers; a square needs no wide operand."""
    wide, narrow = out.factors[node.output]
    common: dict[str, Any] = {"shape": out.shape(wide), "name": node.name}
    bits = out.plan.products[node.output].bits
    y = out.get(narrow, out.formats.bits(narrow))
    if wide == narrow:
        return out.add(Square(inputs=(y,), bits=bits, **common))
    return out.add(Product(inputs=(out.get(wide, bits), y), bits=bits, **common))


# --- sums -----------------------------------------------------------------------------------------


@lowers("Add", "Sub")
def _sum(out: Emitter, node: Node) -> None:
    value = node.output
    bits = out.widest(value) if value in out.wide else out.formats.bits(value)
    signs = (1, 1 if node.op == "Add" else -1)
    out.emit(value, Add(**out.operands(node, bits), signs=signs))


@lowers("AddConst")
def _add_const(out: Emitter, node: Node) -> None:
    common = out.operands(node, out.formats.bits(node.output))
    index = out.emit(node.output, AddConst(**common))
    out.tensors[f"const.{index}"] = out.plan.constants[node.output]


# --- reindexing: in any ring ----------------------------------------------------------------------


def _operands(out: Emitter, node: Node) -> dict[str, Any]:
    """In the widest ring asked for; where the operand would have to be extended, a part of it or a
    copy is extended after.
    """
    wide = out.is_demanded(node.output) and node.output in out.wide
    bits = out.widest(node.output) if wide else out.formats.bits(node.output)
    return out.operands(node, bits)


@lowers("Reshape")
def _reshape(out: Emitter, node: Node) -> None:
    common = _operands(out, node)
    (operand,) = common["inputs"]
    out.made[node.output] = {common["bits"]: out.reshaped(operand, common["shape"])}


@lowers("Concat")
def _concat(out: Emitter, node: Node) -> None:
    step = Concat(**_operands(out, node), axis=node.attrs["axis"] - 1)
    out.emit(node.output, step)


@lowers("Slice")
def _slice(out: Emitter, node: Node) -> None:
    step = Slice(
        **_operands(out, node),
        starts=tuple(node.attrs["starts"][1:]),
        stops=tuple(node.attrs["stops"][1:]),
        strides=tuple(node.attrs["steps"][1:]),
    )
    out.emit(node.output, step)


@lowers("Transpose")
def _transpose(out: Emitter, node: Node) -> None:
    perm = tuple(axis - 1 for axis in node.attrs["perm"][1:])
    out.emit(node.output, Transpose(**_operands(out, node), perm=perm))


@lowers("Pad")
def _pad(out: Emitter, node: Node) -> None:
    pads = tuple(tuple(pair) for pair in node.attrs["pads"][1:])
    out.emit(node.output, Pad(**_operands(out, node), pads=pads))


@lowers("LinearMap")
def _linear_map(out: Emitter, node: Node) -> None:
    weights: AxisMap = node.attrs["map"]
    out.emit(
        node.output,
        LinearMap(
            **_operands(out, node),
            axis=node.attrs["axis"] - 1,
            starts=weights.starts,
            taps=tuple(map(tuple, weights.integers.tolist())),
        ),
    )


@lowers("AvgPool")
def _average_pool(out: Emitter, node: Node) -> None:
    """A sum of each window; where padding is not counted, windows at the border are summed several
    times to have the same divisor.
    """
    common = _operands(out, node)
    index = out.emit(node.output, SumPool(**common, **_window(node)))
    for axis, factors in enumerate(window_factors(out.graph, node).per_axis, start=1):
        index = _repeated(out, index, axis, factors)
    out.made[node.output] = {common["bits"]: index}


def _repeated(out: Emitter, index: int, axis: int, factors: tuple[int, ...]) -> int:
    """The operand times a public integer per position along an axis: runs of one factor are cut out
    and added to themselves.
    """
    if set(factors) == {1}:
        return index
    whole = out.steps[index]
    common: dict[str, Any] = {"bits": whole.bits, "name": whole.name}
    parts = []
    for factor, run in groupby(range(len(factors)), key=factors.__getitem__):
        positions = list(run)
        starts, stops = [0, 0, 0], list(whole.shape)
        starts[axis], stops[axis] = positions[0], positions[-1] + 1
        shape = tuple(stop - start for start, stop in zip(starts, stops, strict=True))
        part = out.add(
            Slice(
                inputs=(index,),
                shape=shape,
                starts=tuple(starts),
                stops=tuple(stops),
                strides=(1, 1, 1),
                **common,
            )
        )
        if factor > 1:
            part = out.add(Add(inputs=(part,) * factor, shape=shape, signs=(1,) * factor, **common))
        parts.append(part)
    return out.add(Concat(inputs=tuple(parts), shape=whole.shape, axis=axis, **common))


def _window(node: Node) -> dict[str, Any]:
    return {name: tuple(node.attrs[name]) for name in ("kernel", "strides", "pads")}
