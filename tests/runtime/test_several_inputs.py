"""Programs of several inputs, all the client's: what is sound, and what they compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from moiety.protocols.errors import BadArtifact, BadInput
from moiety.runtime import program as ir
from moiety.runtime.party.executor import ClientExecutor, ServerExecutor
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.weights import commit
from tests.support.programs import clinical_program, random_weights
from tests.support.runnable import runnable
from tests.support.two_party import run_two_party

PLAIN = ir.Preprocessing(size=(4, 4), channels=1, mean=(0.5,), std=(0.25,))


def cases(count: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(1)
    return [
        {"x-ray": rng.uniform(-3, 3, (1, 4, 4)), "age, sex": rng.uniform(0, 90, 2)}
        for _ in range(count)
    ]


def test_inputs_are_in_order_and_the_first_is_what_a_file_becomes() -> None:
    program = ir.Program.decode(clinical_program(preprocessing=PLAIN).encode())
    assert program.input_names() == ("x-ray", "age, sex")
    assert program.input.shape == (1, 4, 4)


def _renamed(name: str) -> Callable[[ir.Program], ir.Program]:
    def edit(program: ir.Program) -> ir.Program:
        image, vector, *rest = program.steps
        return msgspec.structs.replace(
            program, steps=(image, msgspec.structs.replace(vector, name=name), *rest)
        )

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_renamed("x-ray"), "need names"),
        (_renamed(""), "need names"),
        (lambda p: msgspec.structs.replace(p, pictures=("x-ray",)), "beside the first"),
        (lambda p: msgspec.structs.replace(p, pictures=("nobody",)), "beside the first"),
        (lambda p: msgspec.structs.replace(p, pictures=("age, sex",)), "preprocessing makes"),
        (
            lambda p: msgspec.structs.replace(p, pictures=("age, sex",), preprocessing=None),
            "no preprocessing",
        ),
    ],
)
def test_unsound_inputs_are_refused(edit: Callable[[ir.Program], ir.Program], message: str) -> None:
    with pytest.raises(BadArtifact, match=message):
        edit(clinical_program(preprocessing=PLAIN)).check()


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (np.zeros((1, 4, 4)), "one tensor for 2 inputs"),
        ({"x-ray": np.zeros((1, 4, 4))}, "no tensor for the input 'age, sex'"),
        ({"x-ray": np.zeros((1, 4, 4)), "age, sex": np.zeros(2), "weight": 0.0}, "no input"),
        ({"x-ray": np.zeros((1, 4, 4)), "age, sex": np.zeros(3)}, "'age, sex' has shape"),
        ({"x-ray": np.zeros((1, 4, 4)), "age, sex": np.full(2, np.nan)}, "'age, sex' holds NaN"),
    ],
)
def test_cases_that_do_not_fit_are_refused(case: Any, message: str) -> None:
    program = clinical_program()
    executor = CleartextExecutor(program, random_weights(program, np.random.default_rng(2)))
    with pytest.raises(BadInput, match=message):
        executor.run(case)


def test_each_input_is_quantised_clipped_and_counted_by_its_own_step() -> None:
    program = clinical_program()
    executor = CleartextExecutor(program, random_weights(program, np.random.default_rng(2)))
    seen: dict[int, Any] = {}
    case = {"x-ray": np.full((1, 4, 4), 0.5), "age, sex": np.array([60.2, 1e6])}
    executor.run_integers(case, lambda index, values: seen.__setitem__(index, values))
    np.testing.assert_array_equal(seen[0], np.full((1, 4, 4), 32))
    np.testing.assert_array_equal(seen[1], [241, 511])
    assert executor.overflows == {1: 1}


@pytest.mark.parametrize("count", [1, 3])
def test_two_parties_give_the_cleartext_result_bit_for_bit(count: int) -> None:
    program = runnable(clinical_program())
    program, weights = commit(program, random_weights(program, np.random.default_rng(3)).tensors)
    server = ServerExecutor(program, weights, batches=(1, 3))
    server.prepare()
    given = cases(count)
    outputs, _ = run_two_party(
        lambda session: server.run(session, images=count),
        lambda session: ClientExecutor(program).run_batch(session, given),
    ).client
    executor = CleartextExecutor(program, weights)
    for case, (found,) in zip(given, outputs, strict=True):
        (expected,) = executor.run_integers(case).values()
        np.testing.assert_array_equal(found.integers, expected)
        assert np.ptp(expected) > 0
