"""What whole protocols take above the sum of their kernels: Python around a message, a layer's own,
and cold caches.

A kernel called again and again finds its data in the caches; in a protocol it does not. So
comparisons and layers are run as they are, both parties in this process, and the figures of each
family raised by what they took above their declared work.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from moiety.protocols.compare.relu import gates, gates_cost, relu, relu_cost
from moiety.protocols.cost import Cost, Draw, Send
from moiety.protocols.linear.client import linear_client, new_query_client
from moiety.protocols.linear.cost import linear_cost
from moiety.protocols.linear.layout import Geometry
from moiety.protocols.linear.planner import plan_linear
from moiety.protocols.linear.server import ServerLinear, linear_server, new_query_server
from moiety.protocols.linear.spec import LinearSpec
from moiety.protocols.network import LOOPBACK
from moiety.protocols.ot.generators import NEVER_SILENT
from moiety.protocols.prices import REFERENCE
from moiety.protocols.session import Role, Session
from moiety.protocols.setup import open_session
from moiety.runtime.cost.clock import Timeline
from moiety.runtime.measure import lattice
from moiety.runtime.measure.bench import Bench, pipe

_BITS, _OUT_BITS = 13, 26

NOT_RAISED = {
    *("message", "step", "layer", "send_byte", "receive_byte"),
    *("silent_refill_send", "silent_refill_recv"),
}
"""Figures that are not measured kernel by kernel."""

Body = Callable[[Session], Callable[[], object]]
"""Of a session, this party's call: it may be made again and again, by both at a time."""


@dataclass(frozen=True)
class Whole:
    """A protocol that both parties run, and its declared cost."""

    cost: Cost
    body: Body


def protocols(bench: Bench) -> None:
    """Raises the figures that kernels have given so far, and takes those of a message and of
    a layer.
    """
    bench.figures["layer"] = 0.0
    _message(bench)
    _layer(bench)
    comparisons = [_relu(bench, bench.elements), _gates(bench, bench.elements, 8)]
    layers = [_linear(bench, spec) for spec in _common_layers(bench)]
    slower, colder = _excess(bench, comparisons), _excess(bench, layers)
    for name in REFERENCE:
        if name not in NOT_RAISED:
            bench.figures[name] *= colder if name in lattice.FIGURES else slower


def _message(bench: Bench) -> None:
    """A comparison of few values is Python around its messages: added to what TCP takes."""
    tiny = _relu(bench, 16)
    messages = sum(isinstance(event, Send | Draw) for event in tiny.cost.events)
    bench.figures["message"] += _spent(bench, tiny) / 2 / messages


def _layer(bench: Bench) -> None:
    """A tiny layer is what it takes besides its residues; both parties have one tile."""
    tiny = _linear(bench, _layer_spec(1, 1, 2, 1, 0))
    bench.figures["layer"] = max(0.0, (_spent(bench, tiny) - _expected(bench, tiny)) / 2)


def _excess(bench: Bench, family: Sequence[Whole]) -> float:
    """What these take, as a multiple of what is expected of them; at least 1."""
    spent = sum(_spent(bench, whole) for whole in family)
    return max(1.0, spent / sum(_expected(bench, whole) for whole in family))


def _expected(bench: Bench, whole: Whole) -> float:
    """Nanoseconds of both parties by the figures so far."""
    work = Timeline(bench.machine({}), LOOPBACK, NEVER_SILENT).run(whole.cost, steps=0)
    return (work.server + work.client) * 1e9


def _spent(bench: Bench, whole: Whole) -> float:
    """Processor nanoseconds of both parties, each by its own thread's clock; the medians of several
    runs after one that does not count.
    """
    server_end, client_end = pipe()
    ends = {Role.SERVER: server_end, Role.CLIENT: client_end}
    spent: dict[Role, list[int]] = {Role.SERVER: [], Role.CLIENT: []}

    def party(role: Role) -> None:
        call = whole.body(open_session(role, ends[role]))
        for _ in range(bench.repeats + 1):
            start = time.thread_time_ns()
            call()
            spent[role].append(time.thread_time_ns() - start)

    thread = threading.Thread(target=party, args=(Role.SERVER,))
    thread.start()
    party(Role.CLIENT)
    thread.join()
    return sum(statistics.median(each[1:]) for each in spent.values())


def _relu(bench: Bench, n: int) -> Whole:
    x = bench.ring_elements(n, bits=_BITS)
    return Whole(
        relu_cost(n, _BITS, _OUT_BITS),
        lambda session: lambda: relu(session, x, _BITS, _OUT_BITS),
    )


def _gates(bench: Bench, n: int, count: int) -> Whole:
    x = bench.ring_elements(n, bits=_BITS)
    thresholds = bench.ring_elements(count, 1, bits=_BITS - 1)

    def body(session: Session) -> Callable[[], object]:
        own = thresholds if session.is_server else None
        return lambda: gates(session, x, _BITS, count, own)

    return Whole(gates_cost(n, _BITS, count), body)


def _common_layers(bench: Bench) -> list[LinearSpec]:
    """Layers of common shapes, shrunk with `elements`."""
    few = max(1, min(128, bench.elements >> 10))
    return [
        _layer_spec(few, few, 28, 1, 0),
        _layer_spec(few, -(-few // 4), 28, 3, 0),
        _layer_spec(few, few, 14, 1, 1),
    ]


def _layer_spec(channels: int, filters: int, side: int, kernel: int, guard: int) -> LinearSpec:
    """A square convolution that keeps its size."""
    pad = kernel // 2
    shape, out = (channels, side, side), (filters, side, side)
    geometry = Geometry(shape, out, (kernel, kernel), (pad, pad, pad, pad), (1, 1), 1)
    return plan_linear(geometry, 26, 12, guard)


def _linear(bench: Bench, spec: LinearSpec) -> Whole:
    """One layer. The keys, a residue's worth of work each, are made anew for every call, because no
    secret may meet a layer twice; they are not in the cost.
    """
    geometry = spec.geometry
    filters, channels = geometry.out_shape[0], geometry.in_shape[0] // geometry.groups
    weight = bench.rng.integers(-2000, 2000, (filters, channels, *geometry.kernel), np.int32)
    seed = bytes(16)
    layer = ServerLinear(spec, 0, seed, weight, np.zeros(filters, np.int64))
    layer.prepare()
    x = bench.ring_elements(*geometry.in_shape, bits=spec.bits)

    def server(session: Session) -> object:
        new_query_server(session, [spec], seed)
        return linear_server(session, layer, x)

    def client(session: Session) -> object:
        new_query_client(session, [spec], seed)
        return linear_client(session, spec, 0, seed, x)

    return Whole(
        linear_cost(spec), lambda session: partial(server if session.is_server else client, session)
    )
