"""Prepared runs of whole Programs: the integers of the cleartext executor, bit for bit; what the
client knows beforehand; and which linear layers take a correction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from moiety.protocols import lanes
from moiety.protocols.arrays import U8
from moiety.protocols.channel import Meter, Traffic
from moiety.protocols.compare import masked as compare
from moiety.protocols.compare.fixing import fix_bits
from moiety.protocols.errors import BadArtifact, ContractViolation
from moiety.protocols.linear.split import SEED_BYTES, ClientMaterial
from moiety.protocols.network import Network
from moiety.protocols.ot.generators import NEVER_SILENT, Mixed
from moiety.protocols.preparation import prepare_cost
from moiety.protocols.session import Session
from moiety.runtime import program as ir
from moiety.runtime.cost import prepared as costs
from moiety.runtime.cost.prepared import prepared_run
from moiety.runtime.cost.traffic import key_cost
from moiety.runtime.party import executor as executors
from moiety.runtime.party import masked
from moiety.runtime.party.executor import ClientExecutor, ServerExecutor
from moiety.runtime.party.masks import StepMasks, operand_masks
from moiety.runtime.party.prepared import LINEAR
from moiety.runtime.program.beforehand import corrected, is_drawn
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.weights import Weights
from tests.support.prepared import StreamsInMemory
from tests.support.programs import counted, largest, make_program, random_weights, rlwe_plan
from tests.support.runnable import multiplying, runnable, small
from tests.support.two_party import MemoryChannel, Outcome, run_two_party
from tests.support.wiretap import deviates

Images = Sequence[Any] | np.ndarray[Any, Any]


def run_prepared(
    program: ir.Program, weights: Weights, images: Images, silent_from: int = 16
) -> Outcome:
    """Both parties' (digest, result, streams before the run, meter of the run)."""
    count = len(images)

    def server(session: Session) -> tuple[bytes, Any, Meter]:
        executor = ServerExecutor(program, weights, batches=tuple({1, count}))
        executor.prepare()
        streams = StreamsInMemory()
        digest = executor.prepare_item(session, streams, count)
        session.channel.meter = Meter()
        made = executor.run_keeping(session, images=count, item=streams)
        streams.check_empty()
        return digest, made, session.channel.meter

    def client(session: Session) -> tuple[bytes, Any, Meter]:
        executor, streams = ClientExecutor(program), StreamsInMemory()
        digest = executor.prepare_item(session, streams, count)
        session.channel.meter = Meter()
        made, _ = executor.run_batch(session, list(images), item=streams)
        streams.check_empty()
        return digest, made, session.channel.meter

    return run_two_party(server, client, silent_from=silent_from)


def check(program: ir.Program, weights: Weights, images: Images) -> Outcome:
    """The results, and that what the run sends is what is declared."""
    outcome = run_prepared(program, weights, images)
    assert outcome.server[0] == outcome.client[0]
    declared = prepared_run(program, len(images)).online.on(Mixed(NEVER_SILENT))
    metered = outcome.client[2].total
    assert (metered.sent, metered.received) == (declared.up, declared.down)
    cleartext = CleartextExecutor(program, weights)
    for image, found in zip(images, outcome.client[1], strict=True):
        expected = cleartext.run_integers(image)
        assert [each.integers.tolist() for each in found] == [
            values.tolist() for values in expected.values()
        ]
    return outcome


def test_what_preparing_a_program_sends_is_declared() -> None:
    """To the byte and the flight, layers and transfers together; the price that is shown before
    anything is recorded has the same bytes but for where runs of correlations end.
    """
    program, weights = small()

    def prepared(session: Session, executor: ServerExecutor | ClientExecutor) -> Any:
        total = session.channel.meter.total
        sent, received, flights = total.sent, total.received, total.flights
        executor.prepare_item(session, StreamsInMemory())
        moved = Traffic(total.sent - sent, total.received - received, total.flights - flights)
        return moved, prepare_cost(*executor._asked(1))

    def server(session: Session) -> Any:
        executor = ServerExecutor(program, weights)
        executor.prepare()
        return prepared(session, executor)

    def client(session: Session) -> Any:
        return prepared(session, ClientExecutor(program))

    outcome = run_two_party(server, client, silent_from=NEVER_SILENT)
    (served, cost), (metered, same) = outcome.server, outcome.client
    assert cost == same
    whole = (key_cost(program, 1) + cost).on(Mixed(NEVER_SILENT))
    assert (metered.sent, metered.received) == (whole.up, whole.down)
    assert served.flights == metered.flights == len(whole.flights)
    shown = prepared_run(program).offline.on(Mixed(NEVER_SILENT))
    assert (shown.up, shown.down) == pytest.approx((whole.up, whole.down), rel=0.03)


def test_costs_know_the_kinds_with_protocols_of_their_own() -> None:
    assert set(costs.MASKED) == set(masked.MASKED)


def test_an_item_of_another_form_of_run_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As after an upgrade that cuts comparisons otherwise: not a byte is sent."""
    program, weights = small()
    images = images_of(1, (2, 8, 8))

    def refused(session: Session, run: Callable[[], object]) -> None:
        session.channel.meter = Meter()
        monkeypatch.setattr(Network, "ahead", property(lambda network: network))
        with pytest.raises(BadArtifact, match="of another form"):
            run()
        assert not session.channel.meter.total.sent

    def server(session: Session) -> None:
        streams = StreamsInMemory()
        made, later = (ServerExecutor(program, weights) for _ in range(2))
        for executor in (made, later):
            executor.prepare()
        made.prepare_item(session, streams)
        session.channel.send(b"0")
        session.channel.recv(1)
        refused(session, lambda: later.run_keeping(session, item=streams))

    def client(session: Session) -> None:
        streams, later = StreamsInMemory(), ClientExecutor(program)
        ClientExecutor(program).prepare_item(session, streams)
        session.channel.send(b"0")
        session.channel.recv(1)
        refused(session, lambda: later.run_batch(session, list(images), item=streams))

    run_two_party(server, client)


def images_of(count: int, shape: tuple[int, ...], scale: float = 1.0) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(count)
    return rng.normal(0, scale, (count, *shape)).astype(np.float32)


def linears(program: ir.Program) -> list[int]:
    return [index for index, step in enumerate(program.steps) if isinstance(step, ir.Linear)]


@pytest.mark.parametrize("count", [1, 3])
def test_a_prepared_run_equals_the_cleartext_executor(count: int) -> None:
    """And its linear layers send nothing."""
    program, weights = small()
    outcome = check(program, weights, images_of(count, (2, 8, 8)))
    assert not corrected(program)
    for _, _, meter in outcome:
        of_layers = [
            each.sent + each.received
            for label, each in meter.by_label.items()
            if label.startswith("linear/")
        ]
        assert not any(of_layers)


def test_steps_without_a_masked_protocol_are_fixed() -> None:
    """Products and squares, and an extension with headroom."""
    program, weights = multiplying()
    check(program, weights, images_of(2, (6, 4, 4), 300))


@pytest.mark.parametrize("program", [counted(3), largest()], ids=["count", "argmax"])
def test_counts_and_places_of_the_largest(program: ir.Program) -> None:
    weights = random_weights(program, np.random.default_rng(3))
    check(program, weights, images_of(2, program.input.shape, 40))


@pytest.fixture
def two_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    """From fewer elements on than a real run, which would take a test too long."""
    monkeypatch.setattr(lanes, "PREPARED_LANES_FROM", lanes.LANES_FROM)


def wide() -> tuple[ir.Program, Weights]:
    """Truncation with gates, multiplexer, ReLU and max-pool of as many elements as that."""
    shape = (3, 64, 64)
    program = make_program(
        ir.Input(inputs=(), shape=shape, bits=24, scale=1.0, value_bits=20),
        ir.Truncate(inputs=(0,), shape=shape, bits=14, shift=10, rounding="exact"),
        ir.Gates(inputs=(1,), shape=(1, *shape), bits=1, compared=14, joint=True),
        ir.Reshape(inputs=(2,), shape=shape, bits=1),
        ir.Relu(inputs=(1, 3), shape=shape, bits=20, affine=True),
        ir.Truncate(inputs=(4,), shape=shape, bits=10, shift=10, rounding="exact"),
        ir.Relu(inputs=(5,), shape=shape, bits=10, affine=False),
        ir.MaxPool(
            inputs=(6,), shape=(3, 32, 32), bits=10, kernel=(2, 2), strides=(2, 2), pads=(0,) * 4
        ),
    )
    weights = random_weights(program, np.random.default_rng(3))
    weights.tensors["relu.4.threshold"][:] = weights.tensors["gates.2.threshold"][0]
    return program, weights


@pytest.mark.usefixtures("two_lanes")
def test_a_run_in_lanes() -> None:
    program, weights = wide()
    check(program, weights, images_of(1, program.input.shape, 1 << 17))


@pytest.mark.usefixtures("two_lanes")
def test_both_parties_ask_for_the_same_in_the_same_order() -> None:
    """Also where lanes take turns."""
    program, weights = wide()
    server = ServerExecutor(program, weights)
    server.prepare()
    assert server._asked(1) == ClientExecutor(program)._asked(1)


@pytest.mark.usefixtures("two_lanes")
def test_every_message_of_a_run_is_uniform(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an image of zeros. What is revealed is not hidden: the output is no message of these."""
    program, weights = wide()
    sent: list[tuple[str, np.ndarray[Any, Any]]] = []
    write = MemoryChannel._write

    def tapped(channel: MemoryChannel, data: memoryview) -> None:
        label = channel.meter.label
        if label.split("/")[0] in {"input", "truncate", "gates", "relu", "maxpool"}:
            sent.append((label, np.frombuffer(bytes(data), np.uint8)))
        write(channel, data)

    monkeypatch.setattr(MemoryChannel, "_write", tapped)
    run_prepared(program, weights, [np.zeros(program.input.shape, np.float32)])
    assert len(sent) > 60
    for label, message in sent:
        assert not deviates(message), (label, message.size)


# --- linear layers --------------------------------------------------------------------------------


def two_layers() -> ir.Program:
    """The second's operand is the first's result, by a step without messages."""
    shape = (2, 4, 4)

    def linear(source: int, bits: int) -> ir.Linear:
        return ir.Linear(
            inputs=(source,),
            shape=shape,
            bits=bits,
            guard=0,
            rlwe=rlwe_plan(bits),
            kernel=(1, 1),
            pads=(0, 0, 0, 0),
            weight_bits=8,
        )

    return runnable(
        make_program(
            ir.Input(inputs=(), shape=shape, bits=26, scale=1.0, value_bits=6),
            linear(0, 26),
            ir.AddConst(inputs=(1,), shape=shape, bits=26),
            linear(2, 26),
        )
    )


def test_a_layer_right_after_another_is_corrected() -> None:
    program = two_layers()
    first, second = linears(program)
    assert corrected(program) == {second}
    masks = dict(operand_masks(program, bytes(SEED_BYTES), 2))
    assert masks[second] is None
    found = masks[first]
    assert found is not None
    assert np.array_equal(found, StepMasks(bytes(SEED_BYTES), 0, 2).result(program.steps[0]))


def test_of_stochastic_rounding_what_is_drawn_and_corrected() -> None:
    program, _ = small("stochastic")
    truncations = [step for step in program.steps if isinstance(step, ir.Truncate)]
    assert not any(is_drawn(step) for step in truncations)
    exact, _ = small()
    assert all(is_drawn(step) for step in exact.steps if isinstance(step, ir.Truncate))
    assert not corrected(program)  # a ReLU stands in front of every layer


def test_a_run_with_stochastic_rounding() -> None:
    program, weights = small("stochastic")
    (image,) = images_of(1, (2, 8, 8))
    ((found,),) = run_prepared(program, weights, [image]).client[1]
    exact = CleartextExecutor(program, weights, np.random.default_rng(1)).run_integers(image)
    (expected,) = exact.values()
    assert np.abs(found.integers - expected).max() < 64


def test_a_layer_that_was_prepared_for_another_operand_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program, weights = small()

    def other(*arguments: Any) -> Any:
        for index, mask in operand_masks(*arguments):
            yield index, None if mask is None else mask ^ np.uint64(1)

    monkeypatch.setattr(executors, "operand_masks", other)
    with pytest.raises(ContractViolation, match="was prepared for another operand"):
        run_prepared(program, weights, images_of(1, (2, 8, 8)))


def test_masks_of_steps_and_seeds_differ() -> None:
    """Each is drawn from the item's seed, the step, and what it is for."""
    step = ir.Input(inputs=(), shape=(40,), bits=20, scale=1.0)
    seeds = bytes(SEED_BYTES), bytes(SEED_BYTES - 1) + b"1"
    drawn = [StepMasks(seed, index, 1).result(step) for seed in seeds for index in (0, 1)]
    inner = StepMasks(seeds[0], 0, 1).inner().uint64(40, 20)
    values = np.concatenate([*[each.reshape(-1) for each in drawn], inner])
    assert len(np.unique(values)) > values.size - 5
    assert values.max() >> np.uint64(19)


def test_preparing_keeps_the_seed_of_the_masks() -> None:
    """The material that is kept begins with it."""
    program, weights = small()
    kept: list[bytes] = []

    class Sink(StreamsInMemory):
        def write(self, name: str, data: Any) -> None:
            super().write(name, data)
            if name == LINEAR:
                kept.append(data.tobytes())

    def server(session: Session) -> None:
        executor = ServerExecutor(program, weights)
        executor.prepare()
        executor.prepare_item(session, StreamsInMemory())
        executor.prepare_item(session, StreamsInMemory())

    def client(session: Session) -> None:
        executor = ClientExecutor(program)
        executor.prepare_item(session, Sink())
        executor.prepare_item(session, Sink())

    run_two_party(server, client)
    assert len(kept) == 2
    assert kept[0][:SEED_BYTES] != kept[1][:SEED_BYTES]
    specs = ClientExecutor(program)._checked_specs(1)
    assert ClientMaterial.from_bytes(kept[0], specs).seed == kept[0][:SEED_BYTES]


def test_a_corrected_layer_computes_what_it_must() -> None:
    """Without guard bits a layer is off by 1 at most, and the second multiplies that."""
    program = two_layers()
    weights = random_weights(program, np.random.default_rng(6))
    (image,) = images_of(1, (2, 4, 4), 9)
    outcome = run_prepared(program, weights, [image])
    ((found,),) = outcome.client[1]
    cleartext = CleartextExecutor(program, weights, np.random.default_rng(1))
    (expected,) = cleartext.run_integers(image).values()
    assert np.abs(found.integers - expected).max() <= 2 * (2 * 128 + 1)
    sent = {label for label, each in outcome.client[2].by_label.items() if each.sent}
    assert [label for label in sent if label.startswith("linear/")] == ["linear/3/"]


def test_the_client_draws_the_masks_of_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of gates, and of carries: half of them are 1."""
    drawn: dict[str, list[np.ndarray[Any, Any]]] = {"gates": [], "carries": []}
    truncated = compare._truncated

    def fixing(session: Session, x: U8, mask: U8 | None) -> U8:
        drawn["gates"] += [] if mask is None else [mask]
        return fix_bits(session, x, mask)

    def truncating(*arguments: Any) -> Any:
        masks = arguments[-1]
        drawn["carries"] += [] if masks is None else [masks.carry]
        return truncated(*arguments)

    monkeypatch.setattr(compare, "fix_bits", fixing)
    monkeypatch.setattr(compare, "_truncated", truncating)
    program, weights = wide()
    run_prepared(program, weights, images_of(1, program.input.shape))
    for masks in drawn.values():
        assert len(masks) > 1
        for mask in masks:
            assert 0.4 < mask.mean() < 0.6
