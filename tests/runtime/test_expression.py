"""The client's expression: what its operations mean, and that one from an enemy does no harm."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moiety.protocols.errors import BadArtifact
from moiety.runtime import program as ir
from moiety.runtime.program.expression.axes import Arg, Normalise, Reduce, Top
from moiety.runtime.program.expression.base import DTYPES, Operation, Shape
from moiety.runtime.program.expression.elementwise import (
    BINARY,
    UNARY,
    Binary,
    BinaryName,
    Cast,
    Constant,
    OperatingPoints,
    Unary,
    UnaryName,
    Where,
)
from moiety.runtime.program.expression.expression import (
    MAX_CONSTANTS,
    MAX_OPERANDS,
    MAX_OPERATIONS,
    MAX_RESULTS,
    Expression,
    Result,
)
from moiety.runtime.program.expression.layout import (
    Concat,
    Expand,
    Reshape,
    Slice,
    Take,
    TakeAlong,
    Transpose,
)
from moiety.runtime.program.expression.operations import OPERATIONS
from moiety.runtime.program.expression.text import formulas, lines
from tests.support.programs import make_program

REVEALED: list[Shape] = [(2, 3), (4,), (2, 3)]

SMALL = st.integers(-2, 4)
SIZES = st.lists(st.integers(0, 4), max_size=3).map(tuple)
PLACES = st.lists(SMALL, max_size=3).map(tuple)


def names(kind: Any) -> st.SearchStrategy[Any]:
    """Every name that a union of Literals has."""
    return st.sampled_from([name for part in get_args(kind) for name in get_args(part)])


def fields(operation: type[Operation]) -> st.SearchStrategy[dict[str, Any]]:
    """Anything that the Program file's types let pass."""
    kinds = st.sampled_from(["real", "integer", "boolean"])
    of: dict[type[Operation], dict[str, st.SearchStrategy[Any]]] = {
        Constant: {
            "shape": SIZES,
            "kind": kinds,
            "values": st.lists(
                st.sampled_from([0.0, 1.0, 2.5, -3.0, "nan", "inf"]), max_size=8
            ).map(tuple),
        },
        Unary: {"function": names(UnaryName)},
        Binary: {"function": names(BinaryName)},
        Where: {},
        Cast: {"to": kinds},
        OperatingPoints: {
            "points": st.lists(st.sampled_from([0.2, None, 1.5]), max_size=6).map(tuple)
        },
        Arg: {
            "function": st.sampled_from(["max", "min"]),
            "axis": SMALL,
            "keepdims": st.booleans(),
            "last": st.booleans(),
        },
        Normalise: {"function": st.sampled_from(["softmax", "log_softmax"]), "axis": SMALL},
        Reduce: {
            "function": st.sampled_from(["max", "min", "sum", "mean", "prod"]),
            "axes": PLACES,
            "keepdims": st.booleans(),
        },
        Top: {
            "part": st.sampled_from(["values", "places"]),
            "axis": SMALL,
            "count": SMALL,
            "largest": st.booleans(),
        },
        Concat: {"axis": SMALL},
        Expand: {"shape": SIZES},
        Reshape: {"shape": SIZES},
        Slice: {"axis": SMALL, "start": SMALL, "count": SMALL, "step": SMALL},
        Take: {"axis": SMALL},
        TakeAlong: {"axis": SMALL},
        Transpose: {"perm": PLACES},
    }
    return st.fixed_dictionaries(of[operation])


@st.composite
def operations(draw: st.DrawFn, value: int) -> Operation:
    """One that reads values before `value`, or nearly so."""
    kind = draw(st.sampled_from(OPERATIONS))
    fewest, most = kind.ARITY
    count = draw(st.integers(fewest, min(most, 3)))
    inputs = tuple(draw(st.integers(0, value - 1)) for _ in range(count))
    return kind(inputs=inputs, **draw(fields(kind)))


class TestFuzzed:
    @settings(max_examples=200, deadline=None)
    @given(st.data())
    def test_a_sound_expression_makes_what_its_forms_say(self, data: st.DataObject) -> None:
        """Operation after operation: refused, or computed with that shape and kind."""
        made: list[Operation] = []
        rng = np.random.default_rng(data.draw(st.integers(0, 9)))
        values = [rng.normal(size=shape) * 3 for shape in REVEALED]
        for _ in range(5):
            operation = data.draw(operations(value=len(REVEALED) + len(made)))
            expression = Expression(operations=(*made, operation))
            try:
                form = expression.forms(REVEALED)[-1]
            except BadArtifact:
                continue
            made.append(operation)
            last = len(REVEALED) + len(made) - 1
            named = msgspec.structs.replace(expression, results=(Result(name="y", value=last),))
            named.check(REVEALED)
            (found,) = named.evaluate(values)
            assert found.dtype == DTYPES[form.kind]
            assert found.shape == (form.shape[1:] if form.shape[:1] == (1,) else form.shape)
            assert lines(named, ["a", "b", "c"])
            assert msgspec.json.decode(msgspec.json.encode(named), type=Expression) == named


def test_every_operation_is_fuzzed_and_every_name_has_a_meaning() -> None:
    for kind in OPERATIONS:
        fields(kind)
        assert kind.__doc__
    assert set(UNARY) == {name for part in get_args(UnaryName) for name in get_args(part)}
    assert set(BINARY) == {name for part in get_args(BinaryName) for name in get_args(part)}


def one(operation: Operation, *values: Any) -> Any:
    """Its result on values that stand in one image."""
    (found,) = Expression(
        operations=(operation,), results=(Result(name="y", value=len(values)),)
    ).evaluate([np.asarray(value, np.float64) for value in values])
    return found


class TestMeaning:
    """Where IEEE and ONNX leave room."""

    def test_special_values_are_ieees(self) -> None:
        x = [-1.0, 0.0, 1e6]
        np.testing.assert_array_equal(
            one(Unary(inputs=(0,), function="log"), x)[:2], [math.nan, -math.inf]
        )
        np.testing.assert_array_equal(
            one(Unary(inputs=(0,), function="reciprocal"), x)[1], math.inf
        )
        np.testing.assert_array_equal(one(Unary(inputs=(0,), function="exp"), x)[2], math.inf)
        np.testing.assert_array_equal(one(Unary(inputs=(0,), function="sigmoid"), x)[2], 1)
        np.testing.assert_allclose(
            one(Normalise(inputs=(0,), function="softmax", axis=1), x), [0, 0, 1]
        )

    def test_integers_of_what_is_none(self) -> None:
        x = [math.nan, math.inf, -math.inf, 2.9, -2.9, 1e30]
        found = one(Cast(inputs=(0,), to="integer"), x).tolist()
        assert found[3:5] == [2, -2]
        assert found[0] == 0
        assert found[1] == found[5] > 2**62
        assert found[2] == -(2**63)

    def test_places_beyond_the_end_are_the_last(self) -> None:
        places = Constant(shape=(3,), kind="integer", values=(-1, 9, -9))
        expression = Expression(
            operations=(places, Take(inputs=(0, 1), axis=1)),
            results=(Result(name="y", value=2),),
        )
        (found,) = expression.evaluate([np.array([5.0, 6, 7])])
        assert found.tolist() == [7, 7, 5]

    @pytest.mark.parametrize("largest", [True, False])
    def test_of_equal_ones_the_first_come_first(self, largest: bool) -> None:
        part: Literal["places"] = "places"
        top = Top(inputs=(0,), part=part, axis=1, count=4, largest=largest)
        found = one(top, [1.0, 2, 1, 2]).tolist()
        assert found == ([1, 3, 0, 2] if largest else [0, 2, 1, 3])


def encoded(operations: Sequence[dict[str, Any]], results: Sequence[dict[str, Any]] = ()) -> bytes:
    """A Program whose client's expression is this; it reveals one value of shape (3,)."""
    program = make_program(ir.Input(inputs=(), shape=(3,), bits=20, scale=1.0))
    tree = json.loads(program.encode())
    tree["expression"] = {"operations": list(operations), "results": list(results)}
    return json.dumps(tree).encode()


def constant(*shape: int, values: int | None = None) -> dict[str, Any]:
    count = math.prod(shape) if values is None else values
    return {"op": "constant", "shape": shape, "values": [0.5] * count}


DOUBLED = [
    {"op": "concat", "inputs": [number] * 16, "axis": 1} for number in range(8)
]  # 3 * 16^8 elements


@pytest.mark.parametrize(
    ("operations", "results", "message"),
    [
        ([{"op": "shell", "inputs": [0]}], [], "damaged"),
        ([{"op": "unary", "inputs": [0], "function": "__import__"}], [], "damaged"),
        ([{"op": "unary", "inputs": [0], "function": "exp", "x": 1}], [], "damaged"),
        ([{"op": "unary", "inputs": [1], "function": "exp"}], [], "not all earlier values"),
        ([{"op": "unary", "inputs": [-1], "function": "exp"}], [], "not all earlier values"),
        ([{"op": "unary", "inputs": [], "function": "exp"}], [], "it has 0 operands"),
        ([{"op": "cast", "inputs": [0, 0], "to": "real"}], [], "it has 2 operands"),
        ([{"op": "unary", "inputs": [0], "function": "not"}], [], "is real, not boolean"),
        ([{"op": "normalise", "inputs": [0], "function": "softmax", "axis": 2}], [], "no axis 2"),
        ([{"op": "reduce", "inputs": [0], "function": "sum", "axes": [1, 1]}], [], "one twice"),
        ([{"op": "reshape", "inputs": [0], "shape": [2, 2]}], [], "cannot become"),
        ([{"op": "reshape", "inputs": [0], "shape": [-1, -3]}], [], "has an empty axis"),
        ([{"op": "reshape", "inputs": [0], "shape": [1 << 62] * 50_000}], [], "of 50000 axes"),
        ([{"op": "constant", "shape": [3] * 50_000, "values": [0.5]}], [], "of 50000 axes"),
        ([{"op": "expand", "inputs": [0], "shape": [1] * 40 + [3]}], [], "of 41 axes"),
        ([{"op": "transpose", "inputs": [0], "perm": [0, 0]}], [], "no order of the axes"),
        ([{"op": "expand", "inputs": [0], "shape": [10**30, 3]}], [], "a very long one"),
        ([{"op": "expand", "inputs": [0], "shape": [1 << 25, 3]}], [], "has 100663296 elements"),
        ([{"op": "expand", "inputs": [0], "shape": [1] * 8 + [3]}], [], "of 9 axes"),
        (
            [{"op": "slice", "inputs": [0], "axis": 1, "start": 0, "count": 1, "step": 10**30}],
            [],
            "1 elements",
        ),
        (
            [{"op": "top", "inputs": [0], "part": "values", "axis": 1, "count": 4}],
            [],
            "4 elements of an axis of 3",
        ),
        ([{"op": "take", "inputs": [0, 0], "axis": 1}], [], "is real, not integer"),
        (
            [{"op": "operating_points", "inputs": [0], "points": [0.1]}],
            [],
            "1 operating points for 3",
        ),
        (
            [constant(2, 3), {"op": "binary", "inputs": [0, 1], "function": "or"}],
            [],
            "real, not boolean",
        ),
        (
            [constant(2), {"op": "binary", "inputs": [0, 1], "function": "add"}],
            [],
            "cannot be broadcast",
        ),
        ([constant(3, values=2)], [], "2 numbers for the shape"),
        ([constant(0, 3, values=0)], [], "has an empty axis"),
        ([{"op": "constant", "shape": [1], "values": [1e999]}], [], "malformed"),
        (
            [{"op": "constant", "shape": [1], "kind": "integer", "values": ["nan"]}],
            [],
            "no integer",
        ),
        ([{"op": "constant", "shape": [1], "kind": "boolean", "values": [2]}], [], "no boolean"),
        ([constant(MAX_CONSTANTS // 2 + 1)] * 2, [], f"more than {MAX_CONSTANTS} constants"),
        (
            [{"op": "unary", "inputs": [0], "function": "exp"}] * (MAX_OPERATIONS + 1),
            [],
            "operations; at most",
        ),
        (DOUBLED, [], "elements"),
        (
            [{"op": "concat", "inputs": [0] * 4096, "axis": 1}] * (MAX_OPERANDS // 4096 + 1),
            [],
            f"more than {MAX_OPERANDS} operands",
        ),
        (
            [{"op": "expand", "inputs": [0], "shape": [1 << 20, 3]}],
            [{"name": str(n), "value": 1} for n in range(11)],
            "the results together have more than",
        ),
        ([], [{"name": "y", "value": 1}], "there is none"),
        ([], [{"name": "y", "value": -1}], "there is none"),
        ([], [{"name": "y", "value": 0}] * 2, "the same name"),
        ([], [{"name": "y" * 201, "value": 0}], "a very long one"),
        ([], [{"name": str(n), "value": 0} for n in range(MAX_RESULTS + 1)], "results; at most"),
        ([], [{"name": "y", "value": 0, "labels": ["a"]}], "1 labels for 3 values"),
    ],
)
def test_an_enemys_expression_is_refused(
    operations: list[dict[str, Any]], results: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(BadArtifact, match=message):
        ir.Program.decode(encoded(operations, results))


def test_what_is_shown_of_a_wide_expression_is_short() -> None:
    """Names are from the other side: they do not multiply."""
    wide = Concat(inputs=(0,) * 4000, axis=1)
    expression = Expression(operations=(wide, wide), results=(Result(name="y", value=2),))
    shown = lines(expression, ["n" * 200])
    assert max(map(len, shown)) < 4000
    assert "3984 more" in shown[0]


def test_formulas_name_results_and_what_is_read_twice() -> None:
    expression = Expression(
        operations=(
            Normalise(inputs=(0,), function="softmax", axis=1),
            Arg(inputs=(1,), function="max", axis=1),
            Unary(inputs=(0,), function="exp"),
            Binary(inputs=(3, 3), function="mul"),
        ),
        results=(
            Result(name="p", value=1),
            Result(name="best", value=2),
            Result(name="z", value=4),
            Result(name="raw", value=0),
        ),
    )
    expression.check([(3,)])
    assert lines(expression, ["logits"]) == [
        "p = softmax(logits, axis 1)",
        "best = argmax(p, axis 1)",
        "v3 = exp(logits)",
        "z = (v3 * v3)",
    ]
    assert formulas(expression, ["logits"])[2:] == ["(v3 * v3)", "logits"]


def test_a_program_without_an_expression_shows_what_is_revealed() -> None:
    program = ir.Program.decode(encoded([]))
    (result,) = program.results()
    assert (result.name, result.shape, result.kind) == ("out", (3,), "real")
    assert program.compute({1: np.array([1, -2, 3])})["out"].tolist() == [1, -2, 3]


def test_older_programs_are_told_apart() -> None:
    tree = json.loads(encoded([]))
    tree["version"] = 3
    with pytest.raises(
        BadArtifact, match="version 3, this Moiety reads 6; compile the model again"
    ):
        ir.Program.decode(json.dumps(tree).encode())
