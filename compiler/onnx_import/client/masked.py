"""Elements under a mask, as PyTorch exports `y[mask] = f(x[mask])`: NonZero finds the places where
the mask is true, GatherND takes the elements there, and ScatterND puts what is computed of them
back.

How many there are differs from image to image. But an element that is computed with its like alone
and put back under the same mask may as well be computed everywhere, and a Where chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from moiety.compiler.onnx_import.call import Operand
from moiety.compiler.onnx_import.client.call import TRANSLATORS, ClientCall, Made, translator
from moiety.compiler.onnx_import.public import Chosen, Places, Public, Sizes, Unsized
from moiety.runtime.program.expression.axes import Reduce
from moiety.runtime.program.expression.elementwise import Cast, Where
from moiety.runtime.program.expression.layout import Reshape

ELEMENTWISE = frozenset(
    (
        *("Abs", "Add", "Cast", "Ceil", "Clip", "Div", "Erf", "Exp", "Floor", "HardSigmoid"),
        *("Identity", "LeakyRelu", "Log", "Max", "Mean", "Min", "Mul", "Neg", "Pow"),
        *("Reciprocal", "Relu", "Round", "Sigmoid", "Sign", "Softplus", "Softsign", "Sqrt"),
        *("Sub", "Sum", "Tanh"),
    )
)
"""What can be computed of elements without their number."""


def is_unsized(call: ClientCall) -> bool:
    """Does the node read something whose size is not known?"""
    return any(isinstance(operand, Unsized) for operand in call.operands)


def under_a_mask(call: ClientCall) -> Sequence[Made]:
    """What such a node makes."""
    op = call.proto.op_type
    first = call.operands[0]
    if isinstance(first, Sizes) and op in _OF_SIZES:
        return [_OF_SIZES[op](call, first)]
    if op in _MOVING:
        return [_MOVING[op](call)]
    if op in ELEMENTWISE:
        return [_elementwise(call)]
    return TRANSLATORS[op].translate(call)  # which takes it, or says that it has no size


@translator("NonZero", begins=True)
def _non_zero(call: ClientCall) -> Sequence[Made]:
    """Of a mask, to choose elements and to put them back."""
    mask = call.public()
    if mask.form.kind != "boolean":
        call.fail("its operand is no mask", "compare it with 0 first")
    return [Places(mask, by_place=False)]


@translator("GatherND", begins=True)
def _gather_nd(call: ClientCall) -> Sequence[Made]:
    """Of the elements under a mask of the operand's shape."""
    places = _places(call)
    value = call.public()
    if value.shape != places.mask.shape:
        call.fail(f"takes elements of {value.shape} under a mask of {places.mask.shape}")
    return [Chosen(places.mask, value)]


@translator("ScatterND", begins=True)
def _scatter_nd(call: ClientCall) -> Sequence[Made]:
    """Of elements that were under the same mask."""
    places = _places(call)
    value, updates = call.public(), call.operands[2]
    if value.shape != places.mask.shape:
        call.fail(f"puts elements into {value.shape} under a mask of {places.mask.shape}")
    if call.text("reduction", "none") != "none":
        call.fail("reduces", "only replacing elements is supported")
    return [_put(call, places.mask, updates, value)]


def _places(call: ClientCall) -> Places:
    """The second operand."""
    places = call.operands[1]
    if not isinstance(places, Places) or not places.by_place or call.attrs.get("batch_dims", 0):
        call.fail(
            "its places are not those of a mask",
            "only assignments under a boolean mask are supported, y[mask] = ...",
        )
    return places


def _put(call: ClientCall, mask: Public, chosen: Operand, others: Public) -> Public:
    """The chosen elements where the mask is true, else the others."""
    if not isinstance(chosen, Chosen) or chosen.mask != mask:
        call.fail(
            "puts elements under a mask that were not chosen under the same one",
            "choose them by the same mask",
        )
    return call.emit_operation(
        Where(inputs=(mask.number, chosen.value.number, others.number)),
    )


def repeated(call: ClientCall, count: Public) -> Chosen:
    """An Expand of one number to as many as a mask is true at, which the client counts."""
    value, mask = call.public(), _counted(call, count)
    if value.form.size != 1:
        call.fail("repeats more than one number to a computed shape", "fix the shape")
    return Chosen(mask, value)


def _counted(call: ClientCall, count: Public) -> Public:
    """The mask of which a number counts the true elements: a sum over all of them."""
    values, number, summed = call.expression.values, count.number, False
    while isinstance(operation := values[number], Cast | Reduce | Reshape):
        if isinstance(operation, Reduce):
            if operation.function != "sum" or count.form.size != 1:
                break
            summed = True
        number = operation.inputs[0]
        form = call.expression.forms[number]
        if summed and form.kind == "boolean" and not isinstance(values[number], Reshape):
            return Public(number, form)
    call.fail("its shape is computed from the input", "export the model with a fixed shape")


# --- nodes that leave chosen elements as they are, or ask for their number ------------------------


def _transposed(call: ClientCall) -> Made:
    places = call.operands[0]
    if not isinstance(places, Places):
        return _unsupported(call)
    turned = call.ints("perm") in (None, (1, 0))
    return replace(places, by_place=places.by_place != turned)


def _shape(call: ClientCall) -> Made:
    operand = call.operands[0]
    if isinstance(operand, Chosen):
        return Sizes(operand.mask, (None,))
    if not isinstance(operand, Places):
        return _unsupported(call)
    sizes: tuple[int | None, ...] = (len(operand.mask.shape), None)
    return Sizes(operand.mask, sizes[::-1] if operand.by_place else sizes)


def _reshaped(call: ClientCall) -> Made:
    """To one axis; or to a number, which onnxruntime computes where there is one place alone."""
    chosen = call.operands[0]
    if not isinstance(chosen, Chosen) or call.ints("shape", 1) not in ((-1,), ()):
        return _unsupported(call)
    return chosen


def _sliced(call: ClientCall) -> Made:
    """All of them."""
    chosen, stop = call.operands[0], call.operands[2]
    if not isinstance(chosen, Chosen) or call.ints("starts", 1) != (0,):
        return _unsupported(call)
    return chosen if stop == Sizes(chosen.mask, (None,)) else _unsupported(call)


def _expanded(call: ClientCall) -> Made:
    """To their own number."""
    chosen, count = call.operands[:2]
    if not isinstance(chosen, Chosen) or not isinstance(count, Public):
        return _unsupported(call)
    if _counted(call, count) != chosen.mask:
        call.fail("repeats elements under one mask to the number of another")
    return chosen


def _chosen_where(call: ClientCall) -> Made:
    """A Where of the mask itself, too, puts elements back."""
    mask, chosen, _ = call.operands
    if not isinstance(mask, Public):
        return _unsupported(call)
    return _put(call, mask, chosen, call.public(2))


def _unsupported(call: ClientCall) -> Made:
    call.fail(
        "elements under a mask, whose number is not known, are moved",
        "only computing with them one by one and putting them back is supported",
    )


_MOVING: dict[str, Callable[[ClientCall], Made]] = {
    "Expand": _expanded,
    "Reshape": _reshaped,
    "Shape": _shape,
    "Slice": _sliced,
    "Transpose": _transposed,
    "Where": _chosen_where,
}


def _element_of_sizes(call: ClientCall, sizes: Sizes) -> Made:
    index = call.constant(1)
    if index is None or index.size != 1:
        return _unsupported(call)
    size = sizes.sizes[int(index.reshape(-1)[0])]
    return np.array(size) if size is not None else Sizes(sizes.mask, (None,))


def _same_sizes(call: ClientCall, sizes: Sizes) -> Made:
    if len(sizes.sizes) != 1:
        return _unsupported(call)
    return sizes


_OF_SIZES: dict[str, Callable[[ClientCall, Sizes], Made]] = {
    "Cast": lambda _, sizes: sizes,
    "Gather": _element_of_sizes,
    "Identity": lambda _, sizes: sizes,
    "Squeeze": _same_sizes,
    "Unsqueeze": _same_sizes,
}


def _elementwise(call: ClientCall) -> Made:
    """The node computed everywhere, of elements under one mask and of single numbers."""
    chosen = [operand for operand in call.operands if isinstance(operand, Chosen)]
    masks = {each.mask for each in chosen}
    if len(masks) != 1:
        return _unsupported(call)
    operands = [each.value if isinstance(each, Chosen) else each for each in call.operands]
    everywhere = replace(call, operands=tuple(operands))
    for index, operand in enumerate(call.operands):
        single = operand is None or everywhere.public(index).form.size == 1
        if not single and not isinstance(operand, Chosen):
            return _unsupported(call)
    (made,) = TRANSLATORS[call.proto.op_type].translate(everywhere)
    assert isinstance(made, Public)
    return Chosen(masks.pop(), made)
