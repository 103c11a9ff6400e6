"""The rows of the table of protocols (cases.py) for lookups, linear layers and the set-up."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from moiety.protocols import ring
from moiety.protocols.arrays import I32, I64, U8, U64
from moiety.protocols.linear.client import (
    linear_client,
    new_query_client,
    read_answer,
    send_request,
)
from moiety.protocols.linear.cost import (
    known_cost,
    linear_cost,
    offline_cost,
    online_cost,
    query_cost,
)
from moiety.protocols.linear.server import (
    ServerLinear,
    linear_server,
    new_query_server,
    read_request,
    send_answer,
)
from moiety.protocols.linear.split import (
    SEED_BYTES,
    OfflineClient,
    OfflineServer,
    known_client,
    known_server,
    online_client,
    online_server,
)
from moiety.protocols.ot.on_demand import TransferReceiver, TransferSender
from moiety.protocols.session import Session
from moiety.protocols.setup import open_session
from tests.protocols.conformance import (
    Case,
    Pair,
    Pinned,
    declared,
    is_xor_of,
    opened,
    shares,
)
from tests.support.convolutions import (
    SEED,
    Conv,
    check_deviation,
    convolve,
    deviation,
)
from tests.support.offline import offline_client, offline_server

CHOICES = (TransferReceiver.choose, TransferSender.accept)
TWO_FLIGHTS = (send_request, read_request, send_answer, read_answer)


def lookup_case(k: int, bits: int, n: int = 130, file: str | None = None) -> Case:
    """The client's input is the choice, the server's the seed of its table."""

    def table(x0: U64) -> U8:
        entries = x0[:, None] * np.uint64(37) + np.arange(1 << k, dtype=np.uint64) * np.uint64(11)
        return ring.reduce(entries, bits).astype(np.uint8)

    def body(session: Session, x: U64) -> U8:
        if session.is_server:
            return session.sender.lookup(session.sender.accept(n, k), table(x), bits)
        return session.receiver.lookup(session.receiver.choose(x.astype(np.uint8), k), bits)

    return Case(
        (*CHOICES, TransferSender.lookup, TransferReceiver.lookup),
        body,
        shares((n,), k),
        is_xor_of(lambda inputs: table(inputs[0])[np.arange(n), inputs[1].astype(np.int64)]),
        declared(TransferReceiver.choose, "C", n, k)
        + declared(TransferSender.lookup, "S", n, k, bits),
        Pinned(file, (n,), k) if file else None,
    )


def additive_lookup_case(k: int, bits: int, n: int = 130) -> Case:
    """As `lookup_case`, with additive shares, client -> server."""

    def table(x1: U64) -> U64:
        entries = x1[:, None] * np.uint64(37) + np.arange(1 << k, dtype=np.uint64) ** np.uint64(31)
        return ring.reduce(entries, bits)

    def body(session: Session, x: U64) -> U64:
        if session.is_server:
            return session.receiver.additive(session.receiver.choose(x.astype(np.uint8), k), bits)
        return session.sender.additive(session.sender.accept(n, k), table(x), bits)

    def check(inputs: Pair, results: Pair) -> None:
        chosen = table(inputs[1])[np.arange(n), inputs[0].astype(np.int64)]
        assert np.array_equal(opened(results, bits), chosen)

    return Case(
        (*CHOICES, TransferSender.additive, TransferReceiver.additive),
        body,
        shares((n,), k),
        check,
        declared(TransferReceiver.choose, "S", n, k)
        + declared(TransferSender.additive, "C", n, k, bits),
    )


LAYER = Conv(5, (9, 8), 7, (3, 3), (1, 1, 1, 1))


@cache
def prepared_layer(guard: int) -> tuple[ServerLinear, I32, I64]:
    """Of the convolution LAYER, with its weights and bias."""
    rng = np.random.default_rng(7)
    weight = rng.integers(-511, 512, (7, 5, 3, 3)).astype(np.int32)
    bias = rng.integers(-(2**20), 2**20, LAYER.out_shape)
    layer = ServerLinear(LAYER.spec(guard), 3, SEED, weight, bias)
    layer.prepare()
    return layer, weight, bias


def linear_case(guard: int, file: str | None = None) -> Case:
    """With the keys of its query."""
    spec = LAYER.spec(guard)

    def body(session: Session, x: U64) -> U64:
        if session.is_server:
            new_query_server(session, [spec], SEED)
            return linear_server(session, prepared_layer(guard)[0], x)
        new_query_client(session, [spec], SEED)
        return linear_client(session, spec, 3, SEED, x)

    def check(inputs: Pair, results: Pair) -> None:
        _, weight, bias = prepared_layer(guard)
        expected = convolve(inputs[0] + inputs[1], weight, LAYER) + bias.view(np.uint64)
        check_deviation(spec, deviation(spec, results, expected))

    return Case(
        (linear_server, linear_client, *TWO_FLIGHTS, new_query_server, new_query_client),
        body,
        shares(LAYER.in_shape, spec.bits),
        check,
        query_cost([spec]) + linear_cost(spec),
        Pinned(file, LAYER.in_shape, spec.bits) if file else None,
    )


def split_case(guard: int, file: str | None = None) -> Case:
    """The same layer, offline and online in one session."""
    spec = LAYER.spec(guard)

    def body(session: Session, x: U64) -> U64:
        if session.is_server:
            new_query_server(session, [spec], SEED)
            layer, _, _ = prepared_layer(guard)
            return online_server(session, layer, x, offline_server(session, [layer]))
        new_query_client(session, [spec], SEED)
        return online_client(session, spec, 3, x, offline_client(session, {3: spec}, SEED))

    return replace(
        linear_case(guard),
        protocols=(OfflineClient, OfflineServer, online_client, online_server, *TWO_FLIGHTS),
        body=body,
        cost=query_cost([spec]) + offline_cost([spec]) + online_cost(spec),
        pinned=Pinned(file, LAYER.in_shape, spec.bits) if file else None,
    )


def known_case(guard: int) -> Case:
    """The same where the client's share is known offline."""
    spec = LAYER.spec(guard)

    def body(session: Session, x: U64) -> U64:
        if session.is_server:
            new_query_server(session, [spec], SEED)
            layer, _, _ = prepared_layer(guard)
            return known_server(session, layer, x, offline_server(session, [layer]))
        new_query_client(session, [spec], SEED)
        material = offline_client(session, {3: spec}, SEED, bytes(SEED_BYTES), lambda _: x[None])
        return known_client(spec, 3, x, material)

    return replace(
        linear_case(guard),
        protocols=(OfflineClient, OfflineServer, known_server, *TWO_FLIGHTS),
        body=body,
        cost=query_cost([spec]) + offline_cost([spec]) + known_cost(spec),
        pinned=None,
    )


def setup_case(file: str | None = None) -> Case:
    """A second session on the channel of the first, and a lookup in it."""
    lookup = lookup_case(1, 3, file=file)

    def body(session: Session, x: U64) -> U8:
        return lookup.body(open_session(session.role, session.channel, session.prg), x)

    return replace(
        lookup, protocols=(open_session,), body=body, cost=declared(open_session) + lookup.cost
    )
