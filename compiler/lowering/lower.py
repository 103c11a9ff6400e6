"""Lowering: a planned Graph to a Program and its Weights.

Between layers a value lives in its narrow ring (`Plan.bits`); a linear layer wants its operand in
its own, wider ring. Widening is interactive, except where a ReLU extends as it goes or the client
encodes its image, so the demand for wide rings is passed backward through the reindexing ops (which
work in any ring) to a place where it is free. Where there is none, an Extend step is put in; where
a wide value is needed narrow too, a Reduce, which is local.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, Literal, Protocol

import msgspec
import numpy.typing as npt

from moiety.compiler.ir.graph import Graph, Node
from moiety.compiler.ir.ops import FINAL, LINEAR, REINDEXING
from moiety.compiler.ir.ops.pooling import window_factors
from moiety.compiler.ir.queries import revealed
from moiety.compiler.lowering.fuse_shifts import fuse_shifts
from moiety.compiler.lowering.share_gates import share_gates
from moiety.compiler.planning.plan import OUTPUT_INTEGER_BITS, LinearPlan, Plan
from moiety.protocols.errors import BadModel, ContractViolation
from moiety.runtime import program as ir
from moiety.runtime.program.weights import Weights, check_weights

Tensors = dict[str, npt.NDArray[Any]]


class RlwePlanner(Protocol):
    """Chooses parameters and layout of one homomorphic layer; see `pack.plan_rlwe`. Shapes
    `(C,H,W)`, of the Program's Linear step.
    """

    def __call__(
        self,
        in_shape: tuple[int, int, int],
        out_shape: tuple[int, int, int],
        kernel: tuple[int, int],
        pads: tuple[int, int, int, int],
        dilations: tuple[int, int],
        groups: int,
        bits: int,
        weight_bits: int,
        masking: ir.Masking,
    ) -> ir.RlwePlan: ...


def lower(
    plan: Plan,
    plan_rlwe: RlwePlanner,
    name: str = "",
    preprocessing: ir.Preprocessing | None = None,
    labels: tuple[str, ...] = (),
) -> tuple[ir.Program, Weights]:
    """The Program and Weights of a plan; both are checked before they are returned. `labels` name
    the values of the one output.
    """
    builder = _Builder(plan, plan_rlwe)
    for node in plan.graph.nodes:
        builder.node(node)
    builder.outputs(labels)
    fused = fuse_shifts(builder.steps, builder.tensors)
    steps, tensors, compared = _without_dead(*fused, builder.compared)
    if plan.options.share_gates:
        steps, tensors = share_gates(steps, tensors, compared)
    program = ir.Program(
        name=name or plan.graph.name,
        rounding=plan.options.rounding,
        preprocessing=preprocessing,
        steps=steps,
        disclosed=disclosed(plan),
        network=plan.options.network,
    )
    program.check()
    check_weights(program, tensors)
    return program, Weights(tensors)


def _without_dead(
    steps: Sequence[ir.AnyStep], tensors: Tensors, compared: Mapping[int, int]
) -> tuple[tuple[ir.AnyStep, ...], Tensors, dict[int, int]]:
    """Steps that no output needs (a reshape that collapsed, a narrow form that nobody read)
    dropped, the rest renumbered.
    """
    live = {index for index, step in enumerate(steps) if isinstance(step, ir.Output | ir.Input)}
    for index in reversed(range(len(steps))):
        if index in live:
            live.update(steps[index].inputs)
    renumbered = {index: number for number, index in enumerate(sorted(live))}
    kept = tuple(
        msgspec.structs.replace(step, inputs=tuple(renumbered[i] for i in step.inputs))
        for index, step in enumerate(steps)
        if index in live
    )
    moved = {}
    for name, tensor in tensors.items():
        kind, old, *role = name.split(".")
        if int(old) in live:
            moved[".".join([kind, str(renumbered[int(old)]), *role])] = tensor
    return (
        kept,
        moved,
        {renumbered[index]: bits for index, bits in compared.items() if index in live},
    )


def disclosed(plan: Plan) -> tuple[str, ...]:
    """What the Program tells about the weights or the calibration images beyond the architecture
    and the options, one sentence each.
    """
    options, facts = plan.options, list[str]()
    if options.input_reach is None:
        facts.append(
            f"input scale {plan.input_unit:g}: the range of the calibration images, up to a power of two"
        )
    shifts = [layer.shift for layer in plan.linears.values()]
    if options.uniform is None and options.disclose == "usual":
        facts.append(
            f"shift of each of the {len(shifts)} linear layers (the bits dropped by the truncation after it, "
            f"{min(shifts, default=0)} to {max(shifts, default=0)}; it sets the layer's ring, too): the size of its "
            "largest weight relative to the ranges before and after it, up to a power of two"
        )
    if plan.widths.activation:
        facts.append(
            "ring widths of activations: how much rounding a tensor moves the results over the calibration images, "
            "against what its bits cost"
        )
    usual = {layer.weight_bits for layer in plan.linears.values()}
    if plan.widths.weight:
        facts.append(
            "weight_bits of each linear layer: how much rounding its weights moves the results, likewise"
        )
    elif options.uniform is not None or (options.disclose == "usual" and len(usual) > 2):
        facts.append(
            "weight_bits of each linear layer: the size of its largest weight, up to a power of two"
        )
    if any(bits > options.output_frac + OUTPUT_INTEGER_BITS for bits in plan.output_bits.values()):
        facts.append(
            "ring width of an output: the range of the model's results, up to a power of two"
        )
    return tuple(facts)


class _Builder:
    """Emits steps in order; `made` holds, per value, the steps that carry it, by ring width."""

    def __init__(self, plan: Plan, plan_rlwe: RlwePlanner) -> None:
        self.plan, self.graph, self.plan_rlwe = plan, plan.graph, plan_rlwe
        self.steps: list[ir.AnyStep] = []
        self.tensors: Tensors = {}
        self.made: dict[str, dict[int, int]] = {}
        self.compared: dict[int, int] = {}
        """Step -> ring that holds its value, where that is narrower than the step's."""
        self.widening = Widening(self.graph)
        self.demands = self.widening.demands(plan)
        (source,) = self.graph.inputs
        bits = self.top(source)
        value_bits = min(plan.input_bits, bits)
        self.emit(
            source,
            ir.Input(
                inputs=(),
                shape=self.shape(source),
                bits=bits,
                name=source,
                scale=plan.input_unit,
                value_bits=value_bits,
            ),
        )

    def shape(self, value: str) -> tuple[int, ...]:
        """Without the batch."""
        batch, *rest = self.graph.shapes[value]
        if batch != 1 or not rest:
            raise BadModel(
                f"value {value!r} of shape {self.graph.shapes[value]} has no batch dimension of one in front"
            )
        return tuple(rest)

    def top(self, value: str) -> int:
        """Width of the ring in which `value` is best made where every width is free."""
        return max(self.demands[value] or {self.plan.bits(value)})

    def add(self, step: ir.AnyStep) -> int:
        self.steps.append(step)
        return len(self.steps) - 1

    def emit(self, value: str, step: ir.AnyStep) -> int:
        """Append a step that carries `value`."""
        index = self.add(step)
        self.made.setdefault(value, {})[step.bits] = index
        self.note(value, index)
        return index

    def note(self, value: str, index: int) -> None:
        """Remember in how narrow a ring the value of a step can be compared."""
        bits = self.plan.compared_bits(value)
        if bits < self.steps[index].bits == self.plan.bits(value):
            self.compared[index] = bits

    def get(self, value: str, bits: int) -> int:
        """The step that carries `value` in a ring of `bits` bits, converted if need be."""
        made = self.made[value]
        if bits not in made:
            (widest, index) = max(made.items())
            shape, name = self.steps[index].shape, self.steps[index].name
            if widest < bits:
                widest = max(bits, self.top(value))
                index = self.emit(
                    value, ir.Extend(inputs=(index,), shape=shape, bits=widest, name=name)
                )
            if widest > bits:
                self.emit(value, ir.Reduce(inputs=(index,), shape=shape, bits=bits, name=name))
        return made[bits]

    def narrow(self, value: str) -> int:
        return self.get(value, self.plan.bits(value))

    def reshape(self, index: int, shape: tuple[int, ...]) -> int:
        """A reshaped operand; reshapes of reshapes collapse."""
        step = self.steps[index]
        while isinstance(step, ir.Reshape):
            index = step.inputs[0]
            step = self.steps[index]
        if step.shape == shape:
            return index
        return self.add(ir.Reshape(inputs=(index,), shape=shape, bits=step.bits, name=step.name))

    def node(self, node: Node) -> None:
        if node.op in LINEAR:
            self.linear(node)
        elif node.op in REINDEXING:
            self.reindexing(node)
        elif node.op not in FINAL:
            self.other(node)

    def linear(self, node: Node) -> None:
        layer, shape = self.plan.linears[node.output], self.shape(node.output)
        operand = self.get(node.inputs[0], layer.bits)
        in_shape, out_shape = _as_image(self.steps[operand].shape), _as_image(shape)
        operand = self.reshape(operand, in_shape)
        index = self.add(self.linear_step(node, layer, operand, in_shape, out_shape))
        self.tensors[f"linear.{index}.weight"] = layer.weight
        self.tensors[f"linear.{index}.bias"] = layer.bias
        if layer.shift:
            rounding = self.plan.options.rounding
            index = self.add(
                ir.Truncate(
                    inputs=(index,),
                    shape=out_shape,
                    bits=layer.out_bits,
                    name=node.name,
                    shift=layer.shift,
                    rounding=rounding,
                )
            )
        index = self.reshape(index, shape)
        self.made[node.output] = {layer.out_bits: index}
        self.note(node.output, index)

    def linear_step(
        self,
        node: Node,
        layer: LinearPlan,
        operand: int,
        in_shape: tuple[int, int, int],
        out_shape: tuple[int, int, int],
    ) -> ir.Linear:
        kernel = (layer.weight.shape[2], layer.weight.shape[3])
        top, left, bottom, right = node.attrs["pads"] if node.op == "Conv" else (0, 0, 0, 0)
        dilations = tuple(node.attrs["dilations"]) if node.op == "Conv" else (1, 1)
        layout: dict[str, Any] = {
            "kernel": kernel,
            "pads": (top, left, bottom, right),
            "dilations": dilations,
            "groups": layer.groups,
        }
        rlwe = self.plan_rlwe(
            in_shape=in_shape,
            out_shape=out_shape,
            bits=layer.bits,
            weight_bits=layer.weight_bits,
            masking=self.plan.options.masking,
            **layout,
        )
        return ir.Linear(
            inputs=(operand,),
            shape=out_shape,
            bits=layer.bits,
            name=node.name,
            weight_bits=layer.weight_bits,
            rlwe=rlwe,
            **layout,
        )

    def reindexing(self, node: Node) -> None:
        """In the widest ring asked for; where the operand would have to be extended, a part of it
        or a copy is extended after.
        """
        shape = self.shape(node.output)
        wide = self.demands[node.output] and node.output in self.widening.wide
        bits = self.top(node.output) if wide else self.plan.bits(node.output)
        operands = tuple(self.get(value, bits) for value in node.inputs)
        if node.op == "Reshape":
            self.made[node.output] = {bits: self.reshape(operands[0], shape)}
            return
        common = {"inputs": operands, "shape": shape, "bits": bits, "name": node.name}
        index = self.emit(node.output, _REINDEXERS[node.op](node, common))
        if node.op == "AvgPool":
            for axis, factors in enumerate(window_factors(self.graph, node).per_axis, start=1):
                index = self.repeated(index, axis, factors)
            self.made[node.output] = {bits: index}

    def repeated(self, index: int, axis: int, factors: tuple[int, ...]) -> int:
        """The operand times a public integer per position along an axis: runs of one factor are cut
        out and added to themselves.
        """
        if set(factors) == {1}:
            return index
        whole = self.steps[index]
        common: dict[str, Any] = {"bits": whole.bits, "name": whole.name}
        parts = []
        for factor, run in groupby(range(len(factors)), key=lambda position: factors[position]):
            first, *rest = run
            stop = first + 1 + len(rest)
            starts = tuple(first if a == axis else 0 for a in range(3))
            stops = tuple(stop if a == axis else n for a, n in enumerate(whole.shape))
            shape = tuple(b - a for a, b in zip(starts, stops, strict=True))
            part = self.add(
                ir.Slice(
                    inputs=(index,),
                    shape=shape,
                    starts=starts,
                    stops=stops,
                    strides=(1, 1, 1),
                    **common,
                )
            )
            if factor > 1:
                part = self.add(
                    ir.Add(inputs=(part,) * factor, shape=shape, signs=(1,) * factor, **common)
                )
            parts.append(part)
        return self.add(ir.Concat(inputs=tuple(parts), shape=whole.shape, axis=axis, **common))

    def other(self, node: Node) -> None:
        value, shape = node.output, self.shape(node.output)
        bits = self.plan.bits(value)
        if node.op in ("Add", "Sub") and value in self.widening.wide:
            bits = self.top(value)
        operands = tuple(self.get(operand, bits) for operand in node.inputs)
        common: dict[str, Any] = {
            "inputs": operands,
            "shape": shape,
            "bits": bits,
            "name": node.name,
        }
        match node.op:
            case "Relu" | "AffineRelu":
                affine = node.op == "AffineRelu"
                index = self.emit(
                    value, ir.Relu(**{**common, "bits": max(bits, self.top(value))}, affine=affine)
                )
                if affine:
                    gate = self.plan.gates[value]
                    self.tensors[f"relu.{index}.threshold"] = gate.threshold
                    self.tensors[f"relu.{index}.flip"] = gate.flip
            case "MaxPool":
                self.emit(value, ir.MaxPool(**common, **_window(node)))
            case "Add" | "Sub":
                self.emit(value, ir.Add(**common, signs=(1, 1 if node.op == "Add" else -1)))
            case "AddConst":
                index = self.emit(value, ir.AddConst(**common))
                self.tensors[f"const.{index}"] = self.plan.constants[value]
            case _:
                raise ContractViolation(f"{node.op} {node.name!r} has no step")

    def outputs(self, labels: tuple[str, ...]) -> None:
        names = self.graph.outputs
        sources = [self.narrow(revealed(self.graph, output)) for output in names]
        for output, source in zip(names, sources, strict=True):
            final = self.graph.producer(output)
            self.add(
                ir.Output(
                    inputs=(source,),
                    shape=self.steps[source].shape,
                    bits=self.steps[source].bits,
                    name=output,
                    scale=self.plan.output_unit,
                    postprocess=_POSTPROCESS[final.op]
                    if final is not None and final.op in FINAL
                    else "none",
                    labels=labels if len(names) == 1 else (),
                )
            )


_POSTPROCESS: dict[str, Literal["sigmoid", "softmax"]] = {
    "Sigmoid": "sigmoid",
    "Softmax": "softmax",
}


class Widening:
    """Which values are made in a wide ring when a linear layer asks for one, and
    which widths are asked of each.

    free: in any ring at no cost, for a ReLU extends as it goes and the image belongs to the client.
    wide: free, or their operands are extended: that of a pool (a sum does not fit the narrow ring),
    and the parts of a concatenation or the inside of a padding (smaller than the whole). Everything
    else is extended after it is made.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.free = set(graph.inputs)
        self.wide = set(graph.inputs)
        for node in graph.nodes:
            gate = node.op in ("Relu", "AffineRelu")
            if gate or (node.op in _ANY_RING and self.free.issuperset(node.inputs)):
                self.free.add(node.output)
                self.wide.add(node.output)
            elif node.op in ("Concat", "Pad", "AvgPool") or (
                node.op in REINDEXING and self.wide.issuperset(node.inputs)
            ):
                self.wide.add(node.output)

    def readers(self) -> dict[str, set[str]]:
        """The linear layers in whose rings each value is wanted, passed
        back to where that is satisfied.
        """
        readers: dict[str, set[str]] = {value: set() for value in self.graph.shapes}
        for node in reversed(self.graph.nodes):
            if node.op in LINEAR:
                readers[node.inputs[0]].add(node.output)
            elif node.op in _ANY_RING and node.output in self.wide:
                for value in node.inputs:
                    readers[value] |= readers[node.output]
        return readers

    def demands(self, plan: Plan) -> dict[str, set[int]]:
        """Ring widths in which linear layers want each value."""
        readers = self.readers()
        return {
            value: {plan.linears[layer].bits for layer in layers}
            for value, layers in readers.items()
        }


_ANY_RING = REINDEXING | {"Add", "Sub"}
"""Local ops: the same in every ring."""


def _as_image(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """A vector `(K,)` is an image of one pixel; of any other rank, all
    axes but the channels are rows.
    """
    if len(shape) == 3:
        return (shape[0], shape[1], shape[2])
    return (shape[0], math.prod(shape[1:]), 1)


def _window(node: Node) -> dict[str, Any]:
    return {name: tuple(node.attrs[name]) for name in ("kernel", "strides", "pads")}


_REINDEXERS: dict[str, Callable[[Node, dict[str, Any]], ir.AnyStep]] = {
    "AvgPool": lambda node, common: ir.SumPool(**common, **_window(node)),
    "Concat": lambda node, common: ir.Concat(**common, axis=node.attrs["axis"] - 1),
    "Slice": lambda node, common: ir.Slice(
        **common,
        starts=tuple(node.attrs["starts"][1:]),
        stops=tuple(node.attrs["stops"][1:]),
        strides=tuple(node.attrs["steps"][1:]),
    ),
    "Transpose": lambda node, common: ir.Transpose(
        **common, perm=tuple(axis - 1 for axis in node.attrs["perm"][1:])
    ),
    "Pad": lambda node, common: ir.Pad(
        **common, pads=tuple(tuple(pair) for pair in node.attrs["pads"][1:])
    ),
}
