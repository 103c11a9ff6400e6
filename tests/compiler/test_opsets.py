"""Opsets 7 to 25: every version that an operator's schema had in them is taken, by its importer and
by its translator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import TypeVar

import numpy as np
import onnx
import pytest
from onnx import TensorProto, defs

from moiety.compiler.ir.onnx_session import open_session
from moiety.compiler.onnx_import.call import IMPORTERS
from moiety.compiler.onnx_import.client.call import TRANSLATORS
from moiety.compiler.onnx_import.load import NEWEST_OPSET, OLDEST_OPSET, import_onnx
from moiety.compiler.onnx_import.supported import supported_ops
from moiety.protocols.errors import BadModel
from tests.compiler import test_activations, test_client_side, test_linear_imports
from tests.compiler.test_norms import CASES as NORMS
from tests.compiler.test_onnx_import import FORMS, FORMS_OF_OPSETS, IMAGE
from tests.support.onnx_models import Build, ModelBuilder, build_model, typed


def quantised(b: ModelBuilder) -> str:
    parameters = [b.constant(0.1, np.float32), b.constant(3, np.uint8)]
    return b.op("DequantizeLinear", b.op("QuantizeLinear", "x", *parameters), *parameters)


def axes_as_operand(op: str) -> Build:
    return lambda b: b.op(op, b.op("Sigmoid", "x"), b.ints(1, 3))


def logic(b: ModelBuilder) -> str:
    below, above = b.op("Less", "x", half(b)), b.op("Greater", "x", half(b))
    return b.op("Or", b.op("Not", below), b.op("Xor", below, above))


def rank_of_places(b: ModelBuilder) -> str:
    """What a version without GatherND can do with them: 4 is added."""
    places = b.op("NonZero", b.op("Greater", "x", half(b)))
    rank = b.op("Gather", b.op("Shape", places), b.constant(0, np.int64))
    return b.op("Add", b.op("Sigmoid", "x"), b.op("Cast", rank, to=TensorProto.FLOAT))


def half(b: ModelBuilder) -> str:
    return b.constant(0.5, np.float32)


REDUCTIONS = [op for op in supported_ops() if op.startswith("Reduce")]

OF_VERSIONS: list[tuple[int, list[int | str], Build]] = [
    (7, IMAGE, lambda b: b.op("ArgMin", "x", axis=1)),
    (7, IMAGE, lambda b: b.op("Concat", "x", "x", axis=2)),
    (7, IMAGE, lambda b: b.op("Max", "x", b.op("Neg", "x"))),
    (7, IMAGE, lambda b: b.op("ReduceSum", "x", axes=[1], keepdims=0)),
    (7, IMAGE, lambda b: b.multi_op(2, "TopK", "x", k=2, axis=3)),
    (7, IMAGE, logic),
    (9, IMAGE, rank_of_places),
    (10, IMAGE, quantised),
    (15, IMAGE, lambda b: b.op("CastLike", b.op("ArgMax", "x", axis=1), "x")),
    *((18, IMAGE, axes_as_operand(op)) for op in REDUCTIONS),
    (24, IMAGE, lambda b: b.op("Swish", "x", alpha=1.5)),
]
"""Those of one version of an operator, with the first opset."""


def of_x(form: test_linear_imports.Form) -> Build:
    return lambda b: form(b, "x")


PIXELS: list[int | str] = [1, 4, 6, 5]


def open_batch(shape: tuple[int, ...]) -> list[int | str]:
    return ["N", *shape[1:]]


ALL_FORMS: list[tuple[int, list[int | str], Build]] = [
    *((OLDEST_OPSET, *form) for form in FORMS.values()),
    *((OLDEST_OPSET, IMAGE, build) for _, build in test_activations.FORMS.values()),
    *((OLDEST_OPSET, PIXELS, of_x(form)) for form in test_linear_imports.FORMS.values()),
    *(
        (OLDEST_OPSET, test_client_side.SHAPE, build)
        for _, build in test_client_side.FORMS.values()
    ),
    *FORMS_OF_OPSETS,
    *OF_VERSIONS,
    *((opset, open_batch(shape), build) for shape, opset, build in NORMS.values()),
]
"""(first opset, input shape, what is built); what an opset does not have is left out by ONNX's
checker.
"""


def at_the_client(build: Build) -> Build:
    """The same of a value that only the client has."""

    def built(b: ModelBuilder) -> str | list[str]:
        shown = b.op("Sigmoid", "x")
        made = build(b)
        for node in b.nodes[1:]:
            node.input[:] = [shown if name == "x" else name for name in node.input]
        return made

    return built


def before_a_layer(build: Build) -> Build:
    """The same, read by a layer, before which all is secret."""

    def built(b: ModelBuilder) -> str:
        made = build(b)
        row = b.op("Reshape", made if isinstance(made, str) else made[0], b.ints(1, 1, 1, -1))
        return b.op("Conv", row, b.constant(np.ones((1, 1, 1, 1)), np.float32))

    return built


def as_written(build: Build) -> Build:
    return build


PLACES: dict[str, tuple[Callable[[Build], Build], ...]] = {
    "importer": (as_written, before_a_layer),
    "translator": (as_written, at_the_client),
}


def versions(op: str) -> list[int]:
    """The opsets in which the operator's meaning may have changed, from the oldest that is read."""
    history = {
        schema.since_version
        for schema in defs.get_all_schemas_with_history()
        if schema.name == op and schema.domain == ""
    }
    started = max((version for version in history if version <= OLDEST_OPSET), default=0)
    return sorted(
        max(version, OLDEST_OPSET)
        for version in history
        if started <= version <= min(NEWEST_OPSET, defs.onnx_opset_version())
        and not defs.get_schema(op, version, "").deprecated
    )


UNKNOWN = ("Could not find an implementation", "is under development")
"""What onnxruntime says of a version that is newer than itself."""


@cache
def ops_of(index: int) -> frozenset[str]:
    """What a form is made of."""
    oldest, shape, build = ALL_FORMS[index]
    return frozenset(node.op_type for node in build_model(shape, build, max(oldest, 17)).graph.node)


@cache
def valid_model(
    index: int, place: Callable[[Build], Build], opset: int
) -> tuple[onnx.ModelProto | None, bool]:
    """The model of a form, None where ONNX or onnxruntime does not take it; is it for want of a
    kernel alone?
    """
    oldest, shape, build = ALL_FORMS[index]
    if opset < oldest:
        return None, False
    try:
        model = typed(build_model(shape, place(build), opset))
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        return None, False  # a form of another opset
    try:
        x = np.ones([size if isinstance(size, int) else 1 for size in shape], np.float32)
        open_session(model).run(None, {"x": x})
    except Exception as error:  # onnxruntime's exceptions share no base class
        return None, any(words in str(error) for words in UNKNOWN)
    return model, False


Value = TypeVar("Value")


def noting(taken: list[bool], function: Callable[..., Value]) -> Callable[..., Value]:
    """The function, which notes in `taken` that it gave a result."""

    def noted(*arguments: object) -> Value:
        result = function(*arguments)
        taken.append(True)
        return result

    return noted


CASES = [
    (op, side, opset)
    for op in supported_ops()
    for side, registry in (("importer", IMPORTERS), ("translator", TRANSLATORS))
    if op in registry
    for opset in versions(op)
]


@pytest.mark.parametrize(("op", "side", "opset"), CASES)
def test_every_version_of_every_operator(
    op: str, side: str, opset: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Importing compares with onnxruntime."""
    taken: list[bool] = []
    if side == "importer":
        monkeypatch.setitem(IMPORTERS, op, noting(taken, IMPORTERS[op]))
    else:
        entry = TRANSLATORS[op]
        noted = replace(entry, translate=noting(taken, entry.translate))
        monkeypatch.setitem(TRANSLATORS, op, noted)
    lacking = False
    for index in (index for index in range(len(ALL_FORMS)) if op in ops_of(index)):
        for place in PLACES[side]:
            model, no_kernel = valid_model(index, place, opset)
            lacking |= no_kernel
            if model is not None:
                imported(model, strict=place is as_written)
    if lacking and not taken:
        pytest.skip("this onnxruntime has no kernel of this version")
    assert taken, "no form of this version is tested"


def imported(model: onnx.ModelProto, strict: bool) -> None:
    """A form is taken as it was written; elsewhere it may have no place."""
    try:
        import_onnx(model)
    except BadModel:
        if strict:
            raise
