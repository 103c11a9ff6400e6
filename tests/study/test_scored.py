"""Which results a study takes for scores of labels, and for what kind of scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from moiety.protocols.errors import BadInput
from moiety.runtime import program as ir
from moiety.runtime.program import Program
from moiety.runtime.program.expression.axes import Arg, Normalise
from moiety.runtime.program.expression.elementwise import OperatingPoints, Unary
from moiety.runtime.program.expression.expression import Expression, Result
from moiety.runtime.program.expression.layout import Reshape
from moiety.runtime.study.scores import Scored
from tests.support.programs import counted, largest, make_program

LABELS = ("a", "b", "c", "d")


def program(operations: Sequence[Any], shape: tuple[int, ...] = (4,), **fields: Any) -> Program:
    """That reveals scores of this shape, and computes the last of the operations."""
    made = make_program(ir.Input(inputs=(), shape=shape, bits=16, scale=1.0, value_bits=15))
    result = Result(name="findings", value=len(operations), **fields)
    expression = Expression(operations=tuple(operations), results=(result,))
    return msgspec.structs.replace(made, expression=expression)


SIGMOID = Unary(inputs=(0,), function="sigmoid")


@pytest.mark.parametrize(
    ("operations", "kind"),
    [
        ((), "logits"),
        ((Reshape(inputs=(0,), shape=(1, 2, 2)), Reshape(inputs=(1,), shape=(1, 4))), "logits"),
        ((SIGMOID,), "probabilities"),
        ((Normalise(inputs=(0,), function="softmax", axis=1),), "probabilities"),
        ((SIGMOID, OperatingPoints(inputs=(1,), points=(0.2,) * 4)), "scores"),
        ((Normalise(inputs=(0,), function="log_softmax", axis=1),), "scores"),
        ((Unary(inputs=(0,), function="tanh"),), "scores"),
        ((SIGMOID, Unary(inputs=(1,), function="isnan")), "decisions"),
        ((Arg(inputs=(0,), function="max", axis=1),), "choices"),
    ],
)
def test_what_a_result_is_taken_for(operations: Sequence[Any], kind: str) -> None:
    """Only what the network reveals as it is may be logits; labels are the places of a choice."""
    found = Scored.of(program(operations, labels=LABELS))
    assert (found.kind, found.labels) == (kind, LABELS)


def test_what_policies_reveal() -> None:
    assert Scored.of(counted()).kind == "decisions"
    assert Scored.of(counted(thresholds=3)).kind == "probabilities"
    assert (Scored.of(largest()).kind, len(Scored.of(largest()).labels)) == ("choices", 4)


@pytest.mark.parametrize(
    ("operations", "shape", "said"),
    [
        ((), (6, 8, 8), r"the shape \(6, 8, 8\): a map, and a study takes a score for each label"),
        ((), (1001,), "1001 values: a study takes at most 1000 labels"),
        (
            (Arg(inputs=(0,), function="max", axis=1),),
            (6, 8, 8),
            r"the shape \(1, 8, 8\): it chooses at 64 places",
        ),
    ],
)
def test_results_that_no_label_has(operations: Sequence[Any], shape: Any, said: str) -> None:
    """Maps, as of a segmentation, and very many values."""
    with pytest.raises(BadInput, match=f"the result findings has .*{said}"):
        Scored.of(program(operations, shape))
    assert Scored.of(program((), (6, 1, 1))).labels[5] == "output 5"


def test_another_result_is_named_where_it_would_do() -> None:
    made = program((Reshape(inputs=(0,), shape=(1, 2, 2)),))
    results = (Result(name="map", value=1), Result(name="scores", value=0))
    both = msgspec.structs.replace(
        made, expression=msgspec.structs.replace(made.expression, results=results)
    )
    with pytest.raises(BadInput, match=r"the result map .*; give another with --result: scores$"):
        Scored.of(both)
    assert Scored.of(both, "scores").kind == "logits"
