"""Steps that run in lanes, between two parties over TCP: the cleartext executor's integers, and the
declared traffic at both parties, whatever the timing.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from moiety.protocols.arrays import F32
from moiety.protocols.lanes import LANES_FROM
from moiety.protocols.ot.generators import ALWAYS_SILENT, NEVER_SILENT, Mixed
from moiety.protocols.session import Role
from moiety.protocols.setup import open_session
from moiety.runtime import program as ir
from moiety.runtime.cost.traffic import run_cost
from moiety.runtime.party.endpoints import Listener, connect
from moiety.runtime.party.executor import ClientExecutor, ServerExecutor
from moiety.runtime.party.metering import RunCost
from moiety.runtime.party.sides import Revealed
from moiety.runtime.party.transport import TcpChannel
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.weights import Weights
from tests.support.programs import append_opened_relu, make_program, random_weights

SHAPE = (9, 24, 20)


def comparing_program() -> tuple[ir.Program, Weights]:
    """Every kind of step that has lanes, on tensors large enough for them."""
    half = (9, 12, 10)
    steps: list[ir.AnyStep] = [
        ir.Input(inputs=(), shape=SHAPE, bits=26, scale=1 / 64, value_bits=20),
        ir.Truncate(inputs=(0,), shape=SHAPE, bits=16, shift=10, rounding="exact"),
        ir.Gates(inputs=(1,), shape=(2, *SHAPE), bits=1, compared=16),
    ]
    append_opened_relu(steps, gates=2, which=1, bits=16)
    last = len(steps) - 1
    steps += [
        ir.Relu(inputs=(last,), shape=SHAPE, bits=16, affine=True),
        ir.Extend(inputs=(last + 1,), shape=SHAPE, bits=18),
        ir.Extend(inputs=(last + 2,), shape=SHAPE, bits=20, headroom=True),
        ir.MaxPool(
            inputs=(last + 3,),
            shape=half,
            bits=20,
            kernel=(2, 2),
            strides=(2, 2),
            pads=(0, 0, 0, 0),
        ),
    ]
    program = make_program(*steps)
    return program, random_weights(program, np.random.default_rng(5))


def tcp_pair() -> tuple[TcpChannel, TcpChannel]:
    """(server's end, client's end) of a connection on this machine."""
    listener = Listener.at("127.0.0.1", 0)
    client = connect("127.0.0.1", listener.port)
    while (server := listener.accept()) is None:
        pass
    listener.close()
    return server, client


def sleepy(channel: TcpChannel, seed: int) -> None:
    """Random pauses before every message and every wait."""
    rng, read, write = random.Random(seed), channel._read, channel._write

    def slow_read(nbytes: int) -> memoryview:
        time.sleep(rng.choice((0.0, 0.0, 0.001, 0.004)))
        return read(nbytes)

    def slow_write(data: memoryview) -> None:
        time.sleep(rng.choice((0.0, 0.0, 0.001, 0.004)))
        write(data)

    channel._read, channel._write = slow_read, slow_write  # type: ignore[method-assign]


def run(
    images: list[F32], silent_from: int, slow: Callable[[TcpChannel, int], None] | None = None
) -> tuple[list[list[Revealed]], RunCost, RunCost]:
    """The client's outputs, its costs and the server's."""
    program, weights = comparing_program()
    server = ServerExecutor(program, weights, (1, len(images)) if len(images) > 1 else (1,))
    server.prepare()
    channels = tcp_pair()

    def party(role: Role) -> Any:
        channel = channels[role]
        if slow:
            slow(channel, int(role))
        session = open_session(role, channel, silent_from=silent_from, network=program.planned_for)
        if role is Role.SERVER:
            return server.run(session, images=len(images))
        return ClientExecutor(program).run_batch(session, images)

    with ThreadPoolExecutor(2) as pool:
        vendor, (outputs, cost) = pool.map(party, Role)
    for closing in [threading.Thread(target=channel.close) for channel in channels]:
        closing.start()
    return outputs, cost, vendor


@pytest.mark.parametrize("silent_from", [ALWAYS_SILENT, NEVER_SILENT])
@pytest.mark.parametrize("slow", [None, sleepy], ids=["quick", "sleepy"])
@pytest.mark.parametrize("count", [1, 2])
def test_lanes_over_tcp(
    count: int, slow: Callable[[TcpChannel, int], None] | None, silent_from: int
) -> None:
    program, weights = comparing_program()
    rng = np.random.default_rng(count)
    images = [rng.normal(scale=400.0, size=SHAPE).astype(np.float32) for _ in range(count)]
    outputs, client, server = run(images, silent_from, slow)
    for image, revealed in zip(images, outputs, strict=True):
        (wanted,) = CleartextExecutor(program, weights).run_integers(image).values()
        assert np.array_equal(revealed[0].integers, wanted)
        assert np.ptp(wanted) > 0
    wire = run_cost(program, count).on(Mixed(silent_from))
    assert (client.total.sent, client.total.received) == (wire.up, wire.down)
    assert (server.total.sent, server.total.received) == (wire.down, wire.up)
    assert client.total.flights == server.total.flights == len(wire.flights)
    assert [step.flights for step in client.steps] == [step.flights for step in server.steps]


def test_the_program_has_lanes() -> None:
    assert np.prod(SHAPE) > LANES_FROM
