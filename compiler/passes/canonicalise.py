"""canonicalise: one spelling for what exporters write in many ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from moiety.compiler.ir.graph import Graph, Node, channelwise
from moiety.compiler.passes.base import Pass, register
from moiety.compiler.passes.pointwise import per_channel
from moiety.compiler.passes.rewriter import Rewriter

Rule = Callable[[Rewriter, Node], bool]


@register
@dataclass(frozen=True)
class Canonicalise(Pass):
    """Local identities, applied until none applies:

    * a Reshape, Transpose, Slice, Pad or Upsample that changes nothing is its operand; two in
      a row are one;
    * `s2*(s1*x + t1) + t2 = (s1 s2)*x + (s2 t1 + t2)`: chains of Scale and AddConst are one Scale
      (or one AddConst);
    * a zero Pad before a Conv is the Conv's padding; Concat of Concat over one axis is one Concat;
    * `relu(relu(x)) = relu(x)`; a 1x1 pool with stride 1 is its operand; a mean over a 1x1
      image likewise;
    * Transposes, and Reshapes that drop axes of size 1 at the end, move down past element-wise ops,
      Concat, Pad and Slice, until they meet their inverses and cancel.

    No rule looks at the value of a weight: the result is the same for every set of weights.
    """

    name: ClassVar[str] = "canonicalise"

    def run(self, graph: Graph) -> Graph:
        rewriter = Rewriter(graph)
        while _applied(rewriter, _RULES) or _applied(rewriter, _LAST_RULES):
            pass
        return rewriter.finish()


def _applied(rewriter: Rewriter, rules: dict[str, tuple[Rule, ...]]) -> bool:
    """One walk over all nodes; did any rule apply?"""
    changed = False
    for node in rewriter.nodes():
        changed |= any(rule(rewriter, node) for rule in rules.get(node.op, ()))
    return changed


def _nothing(rewriter: Rewriter, node: Node) -> bool:
    """Shape, order of axes and, of a pool, windows say that nothing is done."""
    before, after = rewriter.shapes[node.inputs[0]], rewriter.shapes[node.output]
    window = (*node.attrs.get("kernel", ()), *node.attrs.get("strides", ()))
    order = list(node.attrs.get("perm", range(len(before))))
    same = before == after and set(window) <= {1} and order == sorted(order)
    return same and rewriter.bypass(node, node.inputs[0])


def _relu_twice(rewriter: Rewriter, node: Node) -> bool:
    return rewriter.producer(node.inputs[0], "Relu", "AffineRelu") is not None and rewriter.bypass(
        node, node.inputs[0]
    )


def _reshape_twice(rewriter: Rewriter, node: Node) -> bool:
    first = rewriter.producer(node.inputs[0], "Reshape")
    if first is None:
        return False
    rewriter.replace(node, node.with_(inputs=first.inputs))
    return True


def _transpose_twice(rewriter: Rewriter, node: Node) -> bool:
    first = rewriter.producer(node.inputs[0], "Transpose")
    if first is None:
        return False
    perm = tuple(first.attrs["perm"][axis] for axis in node.attrs["perm"])
    rewriter.replace(node, node.with_(inputs=first.inputs, attrs={"perm": perm}))
    return True


def _slice_twice(rewriter: Rewriter, node: Node) -> bool:
    first = rewriter.producer(node.inputs[0], "Slice")
    if first is None:
        return False
    taken = [
        range(*inner)[outer[0] : outer[1] : outer[2]]
        for inner, outer in zip(_bounds(first), _bounds(node), strict=True)
    ]
    steps = tuple(each.step for each in taken)
    attrs = {
        "starts": tuple(each[0] for each in taken),
        "stops": tuple(each[-1] + 1 for each in taken),
        "steps": steps,
    }
    rewriter.replace(node, node.with_(inputs=first.inputs, attrs=attrs))
    return True


def _upsample_twice(rewriter: Rewriter, node: Node) -> bool:
    first = rewriter.producer(node.inputs[0], "Upsample")
    if first is None:
        return False
    factors = tuple(
        a * b for a, b in zip(first.attrs["factors"], node.attrs["factors"], strict=True)
    )
    rewriter.replace(node, node.with_(inputs=first.inputs, attrs={"factors": factors}))
    return True


def _bounds(node: Node) -> list[tuple[int, int, int]]:
    return list(zip(node.attrs["starts"], node.attrs["stops"], node.attrs["steps"], strict=True))


def _transpose_is_reshape(rewriter: Rewriter, node: Node) -> bool:
    """Moving only axes of size 1 leaves the elements in order."""
    shape = rewriter.shapes[node.inputs[0]]
    moved = [axis for axis in node.attrs["perm"] if shape[axis] != 1]
    if moved != sorted(moved):
        return False
    rewriter.replace(
        node,
        rewriter.make(
            "Reshape", node.inputs, node, node.output, shape=rewriter.shapes[node.output]
        ),
    )
    return True


_BY_AXIS = ("pads", "starts", "stops", "steps")


def _sink_transpose(rewriter: Rewriter, node: Node) -> bool:
    """`f(T x) = T f(x)` for f that acts on elements or along axes: every Transpose moves down until
    it meets its inverse. It stays for other readers of `T x`, which do the same or need it.
    """
    firsts = [rewriter.producer(value, "Transpose") for value in node.inputs]
    perms = {tuple(first.attrs["perm"]) for first in firsts if first is not None}
    if None in firsts or len(perms) != 1:
        return False
    (perm,) = perms
    inverse = [perm.index(axis) for axis in range(len(perm))]
    sources = [first.inputs[0] for first in firsts if first is not None]
    consts = dict(node.consts)
    if node.op == "AddConst":
        consts["value"] = consts["value"].transpose(inverse)
    attrs: dict[str, Any] = {
        name: tuple(value[axis] for axis in inverse) if name in _BY_AXIS else value
        for name, value in node.attrs.items()
    }
    if node.op == "Concat":
        attrs["axis"] = perm[attrs["axis"]]
    inner = rewriter.make(node.op, sources, node, None, consts, **attrs)
    rewriter.replace(
        node, inner, rewriter.make("Transpose", [inner.output], node, node.output, perm=perm)
    )
    return True


def _sink_transpose_of_product(rewriter: Rewriter, node: Node) -> bool:
    """`(T x) * y = T (x * T^-1 y)`: channels stay where they were, and a broadcast y is small."""
    first = rewriter.producer(node.inputs[0], "Transpose")
    if first is None:
        return False
    perm = tuple(first.attrs["perm"])
    inverse = tuple(perm.index(axis) for axis in range(len(perm)))
    other = rewriter.make("Transpose", node.inputs[1:], node, None, perm=inverse)
    inner = rewriter.make("Mul", [first.inputs[0], other.output], node)
    outer = rewriter.make("Transpose", [inner.output], node, node.output, perm=perm)
    rewriter.replace(node, other, inner, outer)
    return True


def _sink_squeeze(rewriter: Rewriter, node: Node) -> bool:
    """The same for a Reshape that drops axes of size 1 at the end, which 1-D layers
    are followed by.
    """
    shape = rewriter.shapes[node.output]
    sources = [
        source for value in node.inputs if (source := _before_squeeze(rewriter, value)) is not None
    ]
    dropped = {rewriter.shapes[source][len(shape) :] for source in sources}
    if len(sources) < len(node.inputs) or len(dropped) > 1 or len(shape) < 2:
        return False
    consts = dict(node.consts)
    if node.op == "AddConst":
        consts["value"] = consts["value"].reshape(*consts["value"].shape, *dropped.pop())
    inner = rewriter.make(node.op, sources, node, None, consts, **node.attrs)
    outer = rewriter.make("Reshape", [inner.output], node, node.output, shape=shape)
    rewriter.replace(node, inner, outer)
    return True


def _before_squeeze(rewriter: Rewriter, value: str) -> str | None:
    """What `value` is a Reshape of that drops axes of size 1 at the end."""
    reshape = rewriter.producer(value, "Reshape")
    if reshape is None:
        return None
    shape, wide = rewriter.shapes[value], rewriter.shapes[reshape.inputs[0]]
    squeezed = wide[: len(shape)] == shape and set(wide[len(shape) :]) == {1}
    return reshape.inputs[0] if squeezed else None


def _merge_affine(rewriter: Rewriter, node: Node) -> bool:
    first = rewriter.producer(node.inputs[0], "Scale", "AddConst")
    if first is None or not rewriter.sole_reader(first.output):
        return False
    shape = rewriter.shapes[node.output]
    if node.op == first.op == "AddConst":
        value = first.consts["value"] + node.consts["value"]
        rewriter.replace(node, node.with_(inputs=first.inputs, consts={"value": value}))
        return True
    inner, outer = per_channel(first, shape[1]), per_channel(node, shape[1])
    if inner is None or outer is None:
        return False
    scale, shift = inner[0] * outer[0], outer[0] * inner[1] + outer[1]
    consts = {"scale": scale.astype(np.float32), "shift": shift.astype(np.float32)}
    rewriter.replace(node, rewriter.make("Scale", first.inputs, node, node.output, consts))
    return True


def _constant_first(rewriter: Rewriter, node: Node) -> bool:
    """`s*(x + v) + t = (s*x + t) + s*v` where v varies over positions: the Scale meets the Conv
    behind it again.
    """
    first = rewriter.producer(node.inputs[0], "AddConst")
    if first is None or not rewriter.sole_reader(first.output):
        return False
    inner = rewriter.make("Scale", first.inputs, node, None, dict(node.consts))
    value = first.consts["value"] * channelwise(node.consts["scale"], first.consts["value"].ndim)
    rewriter.replace(
        node, inner, rewriter.make("AddConst", [inner.output], node, node.output, {"value": value})
    )
    return True


def _pad_into_conv(rewriter: Rewriter, node: Node) -> bool:
    pad = rewriter.producer(node.inputs[0], "Pad")
    if pad is None or not rewriter.sole_reader(pad.output) or any(pad.attrs["pads"][1]):
        return False
    (top, bottom), (left, right) = pad.attrs["pads"][2:]
    pads = tuple(a + b for a, b in zip(node.attrs["pads"], (top, left, bottom, right), strict=True))
    rewriter.replace(node, node.with_(inputs=pad.inputs, attrs={**node.attrs, "pads": pads}))
    return True


def _pad_twice(rewriter: Rewriter, node: Node) -> bool:
    first = rewriter.producer(node.inputs[0], "Pad")
    if first is None or not rewriter.sole_reader(first.output):
        return False
    pads = tuple(
        (a + c, b + d)
        for (a, b), (c, d) in zip(first.attrs["pads"], node.attrs["pads"], strict=True)
    )
    rewriter.replace(node, node.with_(inputs=first.inputs, attrs={"pads": pads}))
    return True


def _concat_flat(rewriter: Rewriter, node: Node) -> bool:
    """Concat is local, so flattening one that others read costs nothing, and all dense blocks
    have one form.
    """
    inputs: list[str] = []
    for value in node.inputs:
        inner = rewriter.producer(value, "Concat")
        joins = inner is not None and inner.attrs["axis"] == node.attrs["axis"]
        inputs.extend(inner.inputs if inner is not None and joins else (value,))
    if tuple(inputs) == node.inputs:
        return False
    rewriter.replace(node, node.with_(inputs=tuple(inputs)))
    return True


_LAST_RULES: dict[str, tuple[Rule, ...]] = {"Transpose": (_transpose_is_reshape,)}
"""Only when no other rule applies: a Transpose that has become a Reshape meets no
inverse any more.
"""

_RULES: dict[str, tuple[Rule, ...]] = {
    "Reshape": (_nothing, _reshape_twice),
    "Transpose": (_nothing, _transpose_twice),
    "Slice": (_nothing, _slice_twice, _sink_transpose),
    "Upsample": (_nothing, _upsample_twice),
    "Pad": (_nothing, _pad_twice, _sink_transpose),
    "MaxPool": (_nothing,),
    "AvgPool": (_nothing,),
    "Relu": (_relu_twice, _sink_transpose, _sink_squeeze),
    "Clip": (_sink_transpose, _sink_squeeze),
    "Activation": (_sink_transpose, _sink_squeeze),
    "Add": (_sink_transpose, _sink_squeeze),
    "Sub": (_sink_transpose, _sink_squeeze),
    "Mul": (_sink_transpose_of_product, _sink_squeeze),
    "Scale": (_merge_affine, _constant_first, _sink_squeeze),
    "AddConst": (_merge_affine, _sink_transpose, _sink_squeeze),
    "Conv": (_pad_into_conv,),
    "Concat": (_concat_flat, _sink_transpose, _sink_squeeze),
}
