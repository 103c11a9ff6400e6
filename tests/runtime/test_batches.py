"""Several images in one run: the same integers as one by one, declared costs, less
traffic; and how the two sides agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moiety.protocols.errors import BadInput, NetworkFailure, PeerMismatch
from moiety.runtime import program as ir
from moiety.runtime.cost import traffic
from moiety.runtime.party import handshake
from moiety.runtime.party.client import Client
from moiety.runtime.party.executor import ClientExecutor, ServerExecutor
from moiety.runtime.party.server import ServerOptions
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.linear_layers import layout_digest, linear_specs, public_seed
from moiety.runtime.program.weights import Weights
from tests.support.programs import append_opened_relu, make_program, random_weights
from tests.support.runnable import save_images, small
from tests.support.serving import Running, infer
from tests.support.two_party import Outcome, run_two_party

FEW = 3


def run_batch(program: ir.Program, weights: Weights, images: Any) -> Outcome:
    server = ServerExecutor(program, weights, batches=(1, len(images)))
    server.prepare()
    return run_two_party(
        lambda session: server.run(session, images=len(images)),
        lambda session: ClientExecutor(program).run_batch(session, images),
    )


def images_of(count: int, shape: tuple[int, ...] = (2, 8, 8)) -> np.ndarray:
    return np.random.default_rng(count).normal(size=(count, *shape)).astype(np.float32)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_batch_equals_the_cleartext_executor_image_by_image(count: int) -> None:
    program, weights = small("exact")
    images = images_of(count)
    outputs, cost = run_batch(program, weights, images).client
    assert len(outputs) == count == cost.images
    cleartext = CleartextExecutor(program, weights)
    for image, found in zip(images, outputs, strict=True):
        expected = cleartext.run_integers(image)
        assert [o.integers.tolist() for o in found] == [
            values.tolist() for values in expected.values()
        ]


def test_gates_of_a_batch_use_each_images_own_bits() -> None:
    shape = (4, 3, 3)
    steps: list[ir.AnyStep] = [
        ir.Input(inputs=(), shape=shape, bits=16, scale=1.0),
        ir.AddConst(inputs=(0,), shape=shape, bits=16),
        ir.Gates(inputs=(1,), shape=(3, *shape), bits=1, compared=16),
    ]
    for k in range(3):
        append_opened_relu(steps, 2, k, bits=20)
    relus = (5, 8, 11)
    steps.append(ir.Concat(inputs=relus, shape=(12, 3, 3), bits=20, axis=0))
    program = make_program(*steps)
    weights = random_weights(program, np.random.default_rng(4))
    for k, relu in enumerate(relus):
        weights.tensors[f"relu.{relu}.threshold"][:] = weights.tensors["gates.2.threshold"][k]
    images = np.random.default_rng(5).integers(-900, 900, (FEW, *shape)).astype(np.float32)
    outputs, _ = run_batch(program, weights, images).client
    for image, found in zip(images, outputs, strict=True):
        (expected,) = CleartextExecutor(program, weights).run_integers(image).values()
        assert found[0].integers.tolist() == expected.tolist()


@pytest.mark.parametrize("rounding", ["exact", "stochastic"])
def test_declared_costs_of_a_batch_equal_the_metered_ones(rounding: ir.Rounding) -> None:
    program, weights = small(rounding)
    _, cost = run_batch(program, weights, images_of(FEW)).client
    for step, metered, formula in zip(
        program.steps, cost.steps, traffic.step_costs(program, FEW), strict=True
    ):
        assert (metered.sent, metered.received) == (formula.up, formula.down), step.kind
    total = traffic.run_cost(program, FEW)
    assert (cost.total.sent, cost.total.received, cost.total.flights) == (
        total.up,
        total.down,
        len(total.flights),
    )


def test_a_batch_takes_the_rounds_of_one_image_and_less_traffic() -> None:
    program, _ = small("exact")
    one, many = traffic.run_cost(program, 1), traffic.run_cost(program, 8)
    assert len(many.flights) <= len(one.flights)
    assert many.total < 8 * one.total


def test_seeds_and_layouts_of_batches_differ() -> None:
    program, _ = small()
    assert len({public_seed(program, n) for n in (1, 2, 3)}) == 3
    assert len({layout_digest(linear_specs(program, n)) for n in (1, 2, 3)}) == 3
    assert layout_digest(linear_specs(program, 2)) == layout_digest(linear_specs(program, 2))


# --- the two processes' side of it ----------------------------------------------------------------


@contextmanager
def serving(executor: ServerExecutor, **options: Any) -> Iterator[Running]:
    running = Running(executor, ServerOptions(**options))
    yield running
    running.end()


@pytest.fixture(scope="module")
def executor() -> ServerExecutor:
    made = ServerExecutor(*small(), batches=(1, 2, 4))
    made.prepare()
    return made


def test_images_are_grouped_by_what_the_server_offers(
    executor: ServerExecutor, tmp_path: Path
) -> None:
    files = save_images(tmp_path, 7)
    with serving(executor, threads=2) as running:
        together = infer(
            running.connect(), executor.program, files, tmp_path / "r.json", batch=5, threads=2
        )
        singly = infer(running.connect(), executor.program, files, tmp_path / "s.json")
    assert [image.batch for image in together.images] == [4, 4, 4, 4, 2, 2, 1]
    assert [image.batch for image in singly.images] == [1] * 7
    assert [image.revealed[0].values for image in together.images] == [
        image.revealed[0].values for image in singly.images
    ]
    assert [image.file for image in together.images] == [str(file) for file in files]
    assert running.end().images == 14
    assert running.end().bytes_received == sum(
        image.bytes_sent for image in together.images + singly.images
    )
    assert together.bytes_sent + together.bytes_received < singly.bytes_sent + singly.bytes_received


def test_a_batch_that_was_not_offered_is_refused(executor: ServerExecutor, tmp_path: Path) -> None:
    with serving(executor) as running:
        connection = Client(executor.program, batch=4).join(running.connect())
        assert connection.sizes == (4, 2, 1)
        with pytest.raises(NetworkFailure, match="gave up"):
            connection.infer_batch(list(images_of(3)))
        # The server goes on.
        (file,) = save_images(tmp_path, 1)
        assert infer(running.connect(), executor.program, [file], tmp_path / "r.json").complete
    assert running.end().failed_clients == 1


def test_sides_that_plan_differently_do_not_start() -> None:
    def layout(images: int) -> str:
        return f"plan of {images}"

    offer = {1: "other", 4: "plan of 4", 8: "something else", 100: "plan of 100"}
    assert handshake.batch_sizes(offer, 4, layout) == (4, 1)
    assert handshake.batch_sizes({}, 4, layout) == (1,)
    assert handshake.batch_sizes({0: "", -1: "", 1 << 40: ""}, 4, layout) == (1,)
    with pytest.raises(PeerMismatch, match="runs of 8 images"):
        handshake.batch_sizes(offer, 8, layout)


@pytest.mark.parametrize("batches", [(2,), (1, 0), (1, 65)])
def test_a_server_offers_sensible_batches(batches: tuple[int, ...]) -> None:
    with pytest.raises(BadInput, match="numbers from 1 to 64"):
        ServerExecutor(*small(), batches=batches)
