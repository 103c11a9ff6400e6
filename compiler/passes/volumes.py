"""volume-late: element-wise ops on the images that volumes are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from moiety.compiler.ir.graph import Array, Graph, Node, Shape
from moiety.compiler.ir.ops import ELEMENTWISE
from moiety.compiler.passes.base import Pass, register
from moiety.compiler.passes.rewriter import Rewriter


@register
@dataclass(frozen=True)
class VolumeLate(Pass):
    """`f(volume(x)) = volume(f(x))`, where `volume` is the Reshape of an image `(1, C*k, ...)` to a
    volume `(1, C, D, H, W)` and f acts on every voxel alike or joins channels: constants per
    channel are repeated k times. So batch norms and ReLUs meet the layers before them, as in a
    network of images.
    """

    name: ClassVar[str] = "volume-late"

    def run(self, graph: Graph) -> Graph:
        rewriter = Rewriter(graph)
        again = True
        while again:
            again = False
            for node in rewriter.nodes("Concat", *ELEMENTWISE):
                again |= _moved(rewriter, node)
        return rewriter.finish()


def _moved(rewriter: Rewriter, node: Node) -> bool:
    """Move `node` in front of the Reshapes that make all its operands, if they do."""
    result = rewriter.shapes[node.output]
    makers = [rewriter.producer(value, "Reshape") for value in node.inputs]
    if len(result) != 5 or None in makers:
        return False
    sources = [maker.inputs[0] for maker in makers if maker is not None]
    shapes = [rewriter.shapes[value] for value in sources]
    repeats = {_repeats(*pair) for pair in zip(shapes, _volumes(rewriter, node), strict=True)}
    if len(repeats) > 1 or None in repeats or len({shape[2:] for shape in shapes}) > 1:
        return False
    if node.op == "Concat" and node.attrs["axis"] != 1:
        return False
    (repeat,) = repeats
    consts = _constants(node, shapes[0], result, repeat or 1)
    if consts is None:
        return False
    image = rewriter.make(node.op, sources, node, None, consts, **node.attrs)
    volume = rewriter.make("Reshape", [image.output], node, node.output, shape=result)
    rewriter.replace(node, image, volume)
    return True


def _volumes(rewriter: Rewriter, node: Node) -> list[Shape]:
    return [rewriter.shapes[value] for value in node.inputs]


def _repeats(image: Shape, volume: Shape) -> int | None:
    """How many channels of the image each of the volume's is; None where it is not whole ones."""
    if len(image) != 4 or image[1] % volume[1]:
        return None
    return image[1] // volume[1]


def _constants(node: Node, image: Shape, volume: Shape, repeat: int) -> dict[str, Array] | None:
    """The node's constants on the image; None where one is neither per channel nor one for all."""
    found: dict[str, Array] = {}
    for name, array in node.consts.items():
        if node.op == "AddConst":
            found[name] = _added(array, image, volume, repeat)
        elif array.shape == volume[1:2]:
            found[name] = np.repeat(array, repeat)
        elif array.size == 1:
            found[name] = array
        else:
            return None
    return found


def _added(array: Array, image: Shape, volume: Shape, repeat: int) -> Array:
    """An AddConst's value on the image: per channel where it is that."""
    if any(size > 1 for axis, size in enumerate(array.shape) if axis != 1):
        return np.ascontiguousarray(np.broadcast_to(array, volume)).reshape(image)
    return np.repeat(array.reshape(1, -1, 1, 1), repeat if array.size > 1 else 1, axis=1)
