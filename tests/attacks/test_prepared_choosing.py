"""A hospital that follows the protocol, prepares many items of a stochastic Program, and uses those
alone whose rounding bits it likes: it knows its shares, and so how each hidden value will probably
be rounded, before it asks. So of such a Program its quota counts what it has begun to prepare, too.

The attack is that of test_rounding_leak.py, on three hidden units whose values lie half way between
two units of what the truncation leaves, where choosing pays most: where all shares are far from
that, every rounding is certain, and a plain regression of a few answers gives the weights behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from moiety.protocols import ring
from moiety.protocols.arrays import F64, I64
from moiety.protocols.linear.split import ClientMaterial, OfflineClient
from moiety.protocols.session import Session
from moiety.runtime import program as ir
from moiety.runtime.operation.access import AccessList
from moiety.runtime.operation.recorder import Recorder
from moiety.runtime.party.framing import PeerRefused
from moiety.runtime.party.prepared import LINEAR
from moiety.runtime.party.stock import NewStore
from moiety.runtime.program.weights import Weights, commit
from moiety.runtime.store.care import status
from tests.attacks.halves import FEATURES, Halves, Parties, image_of, two_layers
from tests.runtime.test_operated_server import CLIENT, KnownDoor
from tests.support.ahead import Ahead
from tests.support.programs import make_program, random_weights, rlwe_plan
from tests.support.runnable import runnable

UNITS, OUTPUTS = 3, 8
DROPPED = 4
"""Bits that a stochastic truncation drops; the layer has left the others of its shift behind."""
SHIFT = 6
PREPARED, USED = 400, 16


def stochastic() -> tuple[ir.Program, Weights]:
    """All units are active for `image_of(program, 1)`, and what is dropped of each is the half."""

    def linear(source: int, filters: int, guard: int) -> ir.Linear:
        return ir.Linear(
            inputs=(source,),
            shape=(filters, 1, 1),
            bits=26 + guard,
            weight_bits=8,
            guard=guard,
            rlwe=rlwe_plan(26),
            kernel=(1, 1),
            pads=(0, 0, 0, 0),
        )

    def truncate(source: int, filters: int, bits: int) -> ir.Truncate:
        return ir.Truncate(
            inputs=(source,),
            shape=(filters, 1, 1),
            bits=bits,
            shift=DROPPED,
            rounding="stochastic",
        )

    program = runnable(
        make_program(
            ir.Input(inputs=(), shape=(FEATURES, 1, 1), bits=26, scale=1.0, value_bits=8),
            linear(0, UNITS, DROPPED - SHIFT),
            truncate(1, UNITS, 26 - SHIFT),
            ir.Relu(inputs=(2,), shape=(UNITS, 1, 1), bits=26, affine=False),
            linear(3, OUTPUTS, 0),
            truncate(4, OUTPUTS, 26 - DROPPED),
            rounding="stochastic",
        )
    )
    tensors = random_weights(program, np.random.default_rng(5)).tensors
    sums = tensors["linear.1.weight"].reshape(UNITS, FEATURES).astype(np.int64)
    sums = sums @ image_of(program, 1).reshape(-1).astype(np.int64)
    bias = tensors["linear.1.bias"]
    bias[:] = ((200 << SHIFT) + (1 << SHIFT - 1) - sums).reshape(bias.shape)
    return commit(program, tensors)


def shares(parties: Parties, item: Halves) -> I64:
    """Of what is dropped of the hidden values: the client's, which it has before it asks."""
    specs = parties.client._checked_specs(1)
    material = ClientMaterial.from_bytes(bytes(item.client.streams[LINEAR]), specs)
    low = ring.reduce(material.take_share(1, specs[1]).reshape(-1), DROPPED)
    return low.astype(np.int64)


class Fit(NamedTuple):
    """`error` of the weights, relative to them; `left`, what an answer leaves unexplained, in last
    places.
    """

    error: float
    left: float


def fit(low: I64, answers: I64, true: F64) -> Fit:
    """A unit is taken to be rounded up where its share is in the lower half."""
    known = np.column_stack([low < 1 << DROPPED - 1, np.ones(len(low))]).astype(np.float64)
    found = np.linalg.lstsq(known, answers.astype(np.float64), rcond=None)[0]
    error = np.linalg.norm(found[:-1] - true) / np.linalg.norm(true)
    return Fit(float(error), float((answers - known @ found).std()))


def test_choosing_takes_a_fraction_of_the_queries() -> None:
    """16 of 400 items give the weights to 5 %, in the median, and 16 that it did not choose to
    15 %; all 400, which would cost it 25 times the quota, to 6 %. An answer leaves 0.35 of a last
    place unexplained where it is chosen, and 1.2 else.
    """
    parties = Parties(*stochastic())
    image = image_of(parties.program, 1)
    items = parties.prepared(PREPARED)
    low = np.stack([shares(parties, item) for item in items])
    certain = np.flatnonzero((np.abs(2 * low - (1 << DROPPED) + 1) > 8).all(axis=1))
    assert len(certain) >= USED  # an eighth
    true = parties.weights.tensors["linear.4.weight"].reshape(OUTPUTS, UNITS).T / 2.0**DROPPED

    # All are run, so that the two can be compared; whoever chooses runs 16.
    runs = parties.runs(items, [image] * PREPARED)
    answers = np.stack([run.outputs.reshape(-1) for run in runs])

    def asked(which: I64) -> Fit:
        return fit(low[which], answers[which], true)

    chosen = asked(certain[:USED])
    others = [asked(each) for each in np.arange(PREPARED).reshape(-1, USED)]
    every = asked(np.arange(PREPARED))
    assert chosen.error < 0.15
    assert chosen.error < np.mean([each.error for each in others]) / 1.5
    assert chosen.error < 2 * every.error
    assert chosen.left < every.left / 2


class Disliked(Exception):
    """What the client has seen of an item is enough."""


def test_an_item_that_is_broken_off_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client has its shares of the hidden values when the layers are done, ends the connection
    then, and begins another. Limits on items do not hinder that, and it fails no check; its quota
    does.
    """
    parties = Parties(*stochastic())
    ahead = Ahead(tmp_path, parties.server)
    file = tmp_path / "access.toml"
    file.write_text(
        f'[clients.st-mary]\nfingerprint = "{CLIENT}"\nimages-in-total = 3\nmax-prepared = 1\n'
    )
    access = AccessList.at(file)
    seen: list[bytes] = []
    honest = OfflineClient.open

    def opened(part: OfflineClient, session: Session, layers: Sequence[int]) -> None:
        honest(part, session, layers)
        if len(part.shares) == len(part.specs):
            seen.append(part.material().to_bytes())
            raise Disliked

    door = KnownDoor(Recorder("server", ahead.program.digest()), access)
    server = ahead.serve(admission=door)
    monkeypatch.setattr(OfflineClient, "open", opened)
    try:
        for tried in range(3):
            connection = ahead.join(server)
            connection.meet_stock(ahead.cellar("client"), 1, NewStore.IF_NOTHING_IS_LOST)
            assert (connection.prepared(), connection.images_left) == (0, 3 - tried)
            with pytest.raises(Disliked) as found:
                connection.prepare()
            connection.close(found.value)
            server.wait_for("ended early", tried + 1)
        with (
            ahead.met(server) as connection,
            pytest.raises(PeerRefused, match="3 images in total, of which 0 are left"),
        ):
            connection.prepare()
    finally:
        ahead.end()
    assert len(set(seen)) == 3
    (store,) = ahead.stores("server")
    assert status(store, ahead.cellar("server").key).prepared == 0
    assert access.counters.failures(CLIENT) == 0
    assert access.counters.of(CLIENT).total == 3


def test_an_item_counts_and_its_image_does(tmp_path: Path) -> None:
    """Whoever was prepared for in another time is admitted, and pays, as anybody is."""
    parties = Parties(*stochastic())
    ahead = Ahead(tmp_path, parties.server)
    file = tmp_path / "access.toml"
    file.write_text(f'[clients.st-mary]\nfingerprint = "{CLIENT}"\nimages-in-total = 3\n')
    access = AccessList.at(file)
    door = KnownDoor(Recorder("server", ahead.program.digest()), access)
    server = ahead.serve(admission=door)
    try:
        with ahead.met(server) as connection:
            for _ in range(2):
                connection.prepare()
            connection.infer_batch([image_of(parties.program, 1)])
            assert access.counters.of(CLIENT).total == 3
            with pytest.raises(PeerRefused, match="3 images in total, of which 0 are left"):
                connection.infer_batch([image_of(parties.program, 1)])
    finally:
        ahead.end()
    assert access.counters.of(CLIENT).total == 3


def test_choosing_items_of_an_exact_program_gives_nothing() -> None:
    """All answers are one, whatever its shares are."""
    parties = Parties(*two_layers())
    items = parties.prepared(USED)
    low = np.stack([shares(parties, item) for item in items])
    assert low.std() > 3  # as random as ever
    found = parties.runs(items, [image_of(parties.program, 1)] * USED)
    assert len({run.outputs.tobytes() for run in found}) == 1
