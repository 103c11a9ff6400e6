"""Several images in one run: the same integers as one by one, declared costs, less
traffic; and how the two sides agree.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import batches
from moiety.protocols.arrays import U64
from moiety.protocols.errors import BadInput, NetworkFailure, PeerMismatch
from moiety.protocols.linear.client import linear_client, new_query_client
from moiety.protocols.linear.layout import (
    Geometry,
    Layout,
    LinearSpec,
    download_bytes,
    query_bytes,
    upload_bytes,
)
from moiety.protocols.linear.placement import from_plane, to_plane
from moiety.protocols.linear.planner import plan_linear
from moiety.protocols.linear.server import ServerLinear, linear_server, new_query_server
from moiety.runtime import program as ir
from moiety.runtime.cost import traffic
from moiety.runtime.party import handshake
from moiety.runtime.party.client import Client
from moiety.runtime.party.executor import ClientExecutor, ServerExecutor
from moiety.runtime.party.server import ServerOptions
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.linear_layers import layout_digest, linear_specs, public_seed
from moiety.runtime.program.weights import Weights
from tests.support.convolutions import MASKINGS, SEED, Conv, both, convolve, replanned
from tests.support.programs import append_opened_relu, make_program, random_weights
from tests.support.runnable import save_images, save_small, small
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
        ir.Gates(inputs=(1,), shape=(3, *shape), bits=1),
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
        total.rounds,
    )


def test_a_batch_takes_the_rounds_of_one_image_and_less_traffic() -> None:
    program, _ = small("exact")
    one, many = traffic.run_cost(program, 1), traffic.run_cost(program, 8)
    assert many.rounds <= one.rounds
    assert many.total < 8 * one.total


CONVS = {
    "pointwise": Conv(5, (3, 4), 6),
    "padded": Conv(4, (7, 7), 5, (3, 3), (1, 1, 1, 1)),
    "uneven pads": Conv(3, (5, 4), 4, (3, 2), (2, 1, 0, 0)),
    "no pads": Conv(3, (6, 5), 4, (3, 3)),
    "padded pointwise": Conv(3, (4, 4), 2, (1, 1), (1, 1, 1, 1)),
    "dilated groups": Conv(4, (9, 6), 4, (3, 3), (2, 2, 2, 2), (2, 2), 2),
    "vector": Conv(40, (1, 1), 7),
}


@pytest.mark.parametrize("masking", MASKINGS)
@pytest.mark.parametrize("kind", CONVS)
def test_layer_of_a_batch(kind: str, masking: Any) -> None:
    conv = CONVS[kind]
    geometry = Geometry(
        conv.in_shape, conv.out_shape, conv.kernel, conv.pads, conv.dilations, conv.groups, FEW
    )
    spec = plan_linear(geometry, 28, 10, masking)
    rng = np.random.default_rng(1)
    check_batch(spec, conv, rng)
    if not geometry.pointwise:  # tiles that end between images and within them
        rows, columns = spec.rlwe.tile[0], max(1, conv.out_shape[2] - 1)
        small_tiles = replanned(
            spec, tile=(min(rows, conv.out_shape[1] + 1), columns), channels_per_ciphertext=1
        )
        check_batch(replanned(small_tiles, filters_per_answer=1), conv, rng)


def check_batch(spec: LinearSpec, conv: Conv, rng: np.random.Generator) -> None:
    weight = rng.integers(
        -511, 512, (conv.filters, conv.channels // conv.groups, *conv.kernel)
    ).astype(np.int32)
    bias = rng.integers(-(2**20), 2**20, conv.out_shape)
    x = rng.integers(0, 2**28, (spec.geometry.images, *conv.in_shape), np.uint64)
    x1 = rng.integers(0, 2**28, x.shape, np.uint64)
    layer = ServerLinear(spec, 3, SEED, weight, bias)
    layer.prepare()

    def server(session: Any) -> U64:
        new_query_server(session, [spec], SEED)
        return linear_server(session, layer, (x - x1) & np.uint64(2**28 - 1))

    def hospital(session: Any) -> U64:
        new_query_client(session, [spec], SEED)
        return linear_client(session, spec, 3, SEED, x1)

    y0, y1, channels = both(server, hospital)
    expected = np.stack([convolve(image, weight, conv) for image in x]) + bias.view(np.uint64)
    error = ((y0 + y1 - expected) << np.uint64(36)).view(np.int64) >> np.int64(36)
    assert abs(error).max() <= (spec.rlwe.masking == "uniform")
    assert channels[1].meter.total.sent == query_bytes([spec]) + upload_bytes(spec)
    assert channels[1].meter.total.received == download_bytes(spec)


@pytest.mark.parametrize("kind", CONVS)
def test_planes_hold_every_image_and_windows_every_output_once(kind: str) -> None:
    conv = CONVS[kind]
    geometry = Geometry(
        conv.in_shape, conv.out_shape, conv.kernel, conv.pads, conv.dilations, conv.groups, FEW
    )
    spec = plan_linear(geometry, 28, 10, "uniform")
    x = np.arange(FEW * conv.channels * conv.size[0] * conv.size[1], dtype=np.uint64) + np.uint64(1)
    plane = to_plane(x.reshape(FEW, *conv.in_shape), geometry)
    assert plane.shape == spec.layout.flat.in_shape
    assert np.array_equal(np.sort(plane[plane > 0]), x)
    for tile in ((1, 1), (3, 2), spec.rlwe.tile):
        layout = Layout(geometry, 4096, 1, 1, tile)
        out = np.zeros(layout.flat.out_shape, np.uint64)
        for window in layout.windows:
            out[:, window.rows, window.x0 : window.x1] += np.uint64(1)
        assert int(out.sum()) == geometry.outputs
        assert (from_plane(out, geometry, (FEW,)) == 1).all()


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
    assert [image.outputs[0].logits for image in together.images] == [
        image.outputs[0].logits for image in singly.images
    ]
    assert [image.file for image in together.images] == [str(file) for file in files]
    assert running.server.summary.images == 14
    assert running.server.summary.bytes_received == sum(
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
    assert running.server.summary.failed_clients == 1


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


def test_the_benchmark_verifies_and_reports(tmp_path: Path) -> None:
    save_small(tmp_path / "model")
    arguments = [
        str(tmp_path / "model"),
        "--batches",
        "1",
        "3",
        "--silent-from",
        "5",
        "--json",
        str(tmp_path / "r.json"),
    ]
    rows = batches.main(arguments)
    declared = batches.main([*arguments, "--declared"])
    assert [row["batch"] for row in rows] == [1, 3]
    assert [(row["up"], row["down"], row["flights"]) for row in rows] == [
        (row["up"], row["down"], row["flights"]) for row in declared
    ]
    assert len(json.loads((tmp_path / "r.json").read_text())) == 2
