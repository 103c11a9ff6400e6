"""Both executors on one Program: against the cleartext executor, and against the declared costs."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgspec
import numpy as np
import pytest

from moiety.protocols.errors import BadPlan, ContractViolation
from moiety.runtime import program as ir
from moiety.runtime.cost import traffic
from moiety.runtime.party.executor import ClientExecutor, ServerExecutor
from moiety.runtime.party.handshake import Served
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.expression.axes import Arg, Normalise
from moiety.runtime.program.linear_layers import linear_specs
from moiety.runtime.program.weights import Weights
from moiety.runtime.results.record import image_result
from tests.support.programs import append_opened_relu, make_program, random_weights
from tests.support.runnable import small
from tests.support.two_party import Outcome, run_two_party


def run_once(program: ir.Program, weights: Weights, image: Any) -> Outcome:
    server = ServerExecutor(program, weights)
    server.prepare()
    return run_two_party(server.run, lambda session: ClientExecutor(program).run(session, image))


def test_exact_run_equals_the_cleartext_executor_bit_for_bit() -> None:
    program, weights = small("exact")
    image = np.random.default_rng(1).normal(size=(2, 8, 8)).astype(np.float32)
    outputs, _ = run_once(program, weights, image).client
    expected = CleartextExecutor(program, weights).run_integers(image)
    assert [o.integers.tolist() for o in outputs] == [
        values.tolist() for values in expected.values()
    ]
    assert np.ptp(outputs[0].integers) > 0


def test_stochastic_run_stays_in_the_cleartext_executors_range() -> None:
    program, weights = small("stochastic")
    image = np.random.default_rng(1).normal(size=(2, 8, 8)).astype(np.float32)
    outputs, _ = run_once(program, weights, image).client
    samples = np.stack(
        [
            next(
                iter(
                    CleartextExecutor(program, weights, np.random.default_rng(i))
                    .run_integers(image)
                    .values()
                )
            )
            for i in range(200)
        ]
    )
    spread = np.ptp(samples, axis=0) + 2
    assert np.all(abs(outputs[0].integers - samples.mean(axis=0)) <= spread)


@pytest.mark.parametrize("rounding", ["exact", "stochastic"])
def test_declared_costs_equal_the_metered_ones(rounding: ir.Rounding) -> None:
    program, weights = small(rounding)
    run = run_once(program, weights, np.zeros((2, 8, 8), np.float32))
    _, cost = run.client
    declared = traffic.step_costs(program)
    for step, metered, formula in zip(program.steps, cost.steps, declared, strict=True):
        assert (metered.sent, metered.received) == (formula.up, formula.down), step.kind
    total = traffic.image_cost(program)
    assert (cost.total.sent, cost.total.received) == (total.up, total.down)
    assert (run.server.total.received, run.server.total.sent) == (total.up, total.down)
    # The set-up's last flight is the server's; an image begins with the client's.
    assert cost.total.flights == len(total.flights)


def test_costs_are_recorded_per_kind_and_labelled_per_layer() -> None:
    program, weights = small()
    run = run_once(program, weights, np.zeros((2, 8, 8), np.float32))
    _, cost = run.client
    assert set(cost.by_kind) == {step.kind for step in program.steps} | {"keys"}
    assert sum(c.sent for c in cost.by_kind.values()) == cost.total.sent
    labels = run.channels[1].meter.by_label
    assert labels["linear/1/"].sent == cost.steps[1].sent
    assert cost.peak_rss > 1 << 20


def test_a_session_for_another_network_is_refused() -> None:
    """The digits of its comparisons would not be those that the peer and the costs count on."""
    program, weights = small()
    wan = msgspec.structs.replace(program, network="wan")
    with pytest.raises(ContractViolation, match="not open for a wan network"):
        run_once(wan, weights, np.zeros((2, 8, 8), np.float32))


LOCAL = {
    "reduce": (ir.Reduce(inputs=(1,), shape=(4, 6, 6), bits=9),),
    "add": (ir.Add(inputs=(1, 0, 1), shape=(4, 6, 6), bits=16, signs=(1, -1, 1)),),
    "concat": (ir.Concat(inputs=(1, 0), shape=(4, 12, 6), bits=16, axis=1),),
    "slice": (
        ir.Slice(
            inputs=(1,),
            shape=(2, 3, 2),
            bits=16,
            starts=(1, 0, 1),
            stops=(4, 6, 4),
            strides=(2, 2, 2),
        ),
    ),
    "reshape": (ir.Reshape(inputs=(1,), shape=(9, 16), bits=16),),
    "transpose": (ir.Transpose(inputs=(1,), shape=(6, 4, 6), bits=16, perm=(2, 0, 1)),),
    "pad": (ir.Pad(inputs=(1,), shape=(5, 6, 9), bits=16, pads=((1, 0), (0, 0), (1, 2))),),
    "sumpool": (
        ir.SumPool(
            inputs=(1,), shape=(4, 3, 2), bits=16, kernel=(3, 2), strides=(2, 3), pads=(1, 0, 1, 0)
        ),
    ),
    "linearmap": (
        ir.LinearMap(
            inputs=(1,),
            shape=(4, 6, 3),
            bits=16,
            axis=2,
            starts=(2, 0, 4),
            taps=((3, -1), (0, 4), (-7, 2)),
        ),
    ),
    "addconst": (ir.AddConst(inputs=(1,), shape=(4, 6, 6), bits=16),),
}


@pytest.mark.parametrize("kind", LOCAL)
def test_local_step(kind: str) -> None:
    front = (
        ir.Input(inputs=(), shape=(4, 6, 6), bits=16, scale=1.0),
        ir.AddConst(inputs=(0,), shape=(4, 6, 6), bits=16),
    )
    program = make_program(*front, *LOCAL[kind])
    weights = random_weights(program, np.random.default_rng(2))
    image = np.random.default_rng(3).integers(-900, 900, (4, 6, 6)).astype(np.float32)
    outputs, _ = run_once(program, weights, image).client
    (expected,) = CleartextExecutor(program, weights).run_integers(image).values()
    assert np.array_equal(outputs[0].integers, expected)


def test_shared_gates() -> None:
    """One tensor compared with three secret thresholds at once; two of the answers
    open a ReLU each, one flipped.
    """
    shape, count = (4, 6, 6), 3
    thresholds = np.array([[0, 50, -70, 300], [-20, 0, 5, -5], [7, 8, 9, -900]])
    steps: list[ir.AnyStep] = [
        ir.Input(inputs=(), shape=shape, bits=14, scale=1.0),
        ir.Gates(inputs=(0,), shape=(count, *shape), bits=1, compared=14),
    ]
    weights: dict[str, Any] = {"gates.1.threshold": thresholds}
    for which in (0, 2):
        append_opened_relu(steps, 1, which, bits=20)
        relu = f"relu.{len(steps) - 1}"
        weights |= {
            f"{relu}.threshold": thresholds[which],
            f"{relu}.flip": np.array([0, which // 2, 0, 1], np.uint8),
        }
    steps.append(ir.Concat(inputs=(4, 7), shape=(8, 6, 6), bits=20, axis=0))
    program = make_program(*steps)
    image = np.random.default_rng(3).integers(-900, 900, shape).astype(np.float32)
    run = run_once(program, Weights(weights), image)
    outputs, cost = run.client
    (expected,) = CleartextExecutor(program, Weights(weights)).run_integers(image).values()
    assert np.array_equal(outputs[0].integers, expected)
    total = traffic.image_cost(program)
    assert (cost.total.sent, cost.total.received, cost.total.flights) == (
        total.up,
        total.down,
        len(total.flights),
    )


def test_results_are_computed_from_what_is_revealed_once() -> None:
    """Two results of one revealed value: its softmax, with labels, and the place of the largest."""
    labels = ("a", "b", "c")
    expression = ir.Expression(
        operations=(
            Normalise(inputs=(0,), function="softmax", axis=1),
            Arg(inputs=(0,), function="max", axis=1, keepdims=False),
        ),
        results=(
            ir.Result(name="p", value=1, labels=labels),
            ir.Result(name="class", value=2, labels=labels),
        ),
    )
    step = ir.Input(inputs=(), shape=(3,), bits=16, scale=0.25)
    program = msgspec.structs.replace(make_program(step, preprocessing=None), expression=expression)
    program.check()
    (revealed,), cost = run_once(program, Weights({}), np.array([-1, 2, 3], np.float32)).client
    image = image_result(
        "x.npy", program, [revealed], cost, Served(seconds=1.0, cpu_seconds=1.0, peak_rss=1)
    )
    assert [each.values for each in image.revealed] == [[-4, 8, 12]]
    probabilities, chosen = image.outputs
    assert probabilities.labels == labels
    exponentials = np.exp(np.array([-4.0, 8, 12]) - 12)
    assert probabilities.values == pytest.approx(exponentials / exponentials.sum())
    assert (probabilities.kind, probabilities.formula) == ("probability", "softmax(out, axis 1)")
    assert (chosen.kind, chosen.shape, chosen.values) == ("integer", (), [2])
    assert (chosen.labels, chosen.chosen) == (labels, labels[2:])


def test_client_refuses_a_program_whose_layers_would_not_be_secure() -> None:
    program, _ = small()
    index, step = next((i, s) for i, s in enumerate(program.steps) if isinstance(s, ir.Linear))
    few = msgspec.structs.replace(step.rlwe, primes=step.rlwe.primes[:1])
    weak = msgspec.structs.replace(step, rlwe=few)
    steps = (*program.steps[:index], weak, *program.steps[index + 1 :])
    with pytest.raises(BadPlan, match="noise"):
        ClientExecutor(msgspec.structs.replace(program, steps=steps))


def test_every_layer_has_its_own_polynomials() -> None:
    program, _ = small()
    assert (
        len(linear_specs(program))
        == sum(isinstance(step, ir.Linear) for step in program.steps)
        == 3
    )


def test_peak_memory_is_this_processs_own() -> None:
    """A parent that has used 300 MB starts a child that has not."""
    held = np.ones(300_000_000, np.uint8)
    code = "from moiety.runtime.party.metering import peak_rss; print(peak_rss())"
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert 10_000_000 < int(child.stdout) < held.nbytes
