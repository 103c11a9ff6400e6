"""A hospital that chooses what it encrypts while runs are prepared: the same r for every item, one
feature alone, or noise for ciphertexts. What it decrypts is `W*r - y0` with a y0 that the vendor
draws for the item, and so uniform, in all bits and over all items. (Noise that it chose is in no
part of an answer: tests/protocols/test_views.py::test_decrypted_answers_show_the_mask_alone.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from moiety.protocols import ring
from moiety.protocols.arrays import F64, I64, U8, U64
from moiety.protocols.linear import split
from moiety.protocols.linear.client import new_query_client
from moiety.protocols.linear.server import ServerLinear, new_query_server
from moiety.protocols.linear.split import SEED_BYTES
from moiety.protocols.prg import Prg
from moiety.protocols.session import Session
from moiety.runtime.program.cleartext import CleartextExecutor
from tests.attacks.halves import FEATURES, HIDDEN, Parties, image_of, two_layers
from tests.support.convolutions import SEED
from tests.support.offline import offline_client, offline_server
from tests.support.two_party import run_two_party
from tests.support.wiretap import deviates

ITEMS = 40
Mask = Callable[[int], U64]
"""r of an item."""


@pytest.fixture(scope="module")
def parties() -> Parties:
    return Parties(*two_layers())


def layer_of(parties: Parties) -> ServerLinear:
    """The hidden layer."""
    return parties.server._layers[1][1]


def prepared(layer: ServerLinear, mask: Mask, garbage: bool = False) -> I64:
    """The client's shares of the layer's results of all items, `(ITEMS, HIDDEN)`, for masks of its
    choice; `garbage`: it sends random bytes in the place of ciphertexts.
    """
    spec, index = layer.spec, layer.layer
    layer = ServerLinear(spec, index, SEED, layer._weight, np.zeros(HIDDEN, np.int64))
    layer.prepare()

    def server(session: Session) -> None:
        for _ in range(ITEMS):
            new_query_server(session, [spec], SEED)
            offline_server(session, [layer])

    def client(session: Session) -> I64:
        shares = []
        for item in range(ITEMS):
            new_query_client(session, [spec], SEED)
            if garbage:
                spoil(session)
            r = mask(item)
            material = offline_client(session, {index: spec}, SEED, known=lambda _: r)  # noqa: B023
            shares.append(material.take_share(index, spec).reshape(-1))
        return np.stack(shares).view(np.int64)

    found: I64 = run_two_party(server, client).client
    return found


def spoil(session: Session) -> None:
    """What is sent next is noise."""
    honest = session.channel.send

    def send(data: Any, ahead: bool = False) -> None:
        noise = np.random.default_rng().integers(0, 256, len(memoryview(data).cast("B")), np.uint8)
        noise[:] &= 0x3F  # residues below their primes
        del session.channel.send
        honest(noise, ahead)

    session.channel.send = send  # type: ignore[method-assign]


def constant(value: int) -> Mask:
    """The same r each time: one feature alone."""
    r = np.zeros((1, FEATURES, 1, 1), np.uint64)
    r[0, 0] = value
    return lambda item: r


def seen(shares: I64, bits: int) -> list[U8]:
    """Bytes that should be uniform: of the shares' low and high bits, and of the differences of
    items in a row, which cancel what items have in common.
    """
    rows = shares.view(np.uint64)
    between = ring.reduce(rows[1:] - rows[:-1], bits)
    return [
        (each.reshape(-1) >> np.uint64(drop)).astype(np.uint8)
        for each in (rows, between)
        for drop in (0, bits - 8)
    ]


@pytest.mark.parametrize("what", ["zeros", "one feature", "the largest", "noise for ciphertexts"])
def test_what_it_decrypts_is_uniform(parties: Parties, what: str) -> None:
    """1,600 shares of 40 items each, of r that the hospital chose."""
    layer = layer_of(parties)
    bits = layer.spec.result_bits
    r = {"zeros": 0, "one feature": 1 << 20, "the largest": (1 << layer.spec.bits) - 1}.get(what, 0)
    shares = prepared(layer, constant(r), what.startswith("noise"))
    for octets in seen(shares, bits):
        assert not deviates(octets)


def test_shares_of_one_seed_would_give_the_weights(
    parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the vendor's y0 is for: drawn from one seed for all items, two items of different r have
    the difference `W*(r - r')`, but for the noise below the guard bits. With a seed an item it is
    noise.
    """
    layer = layer_of(parties)
    spec = layer.spec
    true = layer._weight.reshape(HIDDEN, FEATURES)[:, 0].astype(np.int64)
    units = np.zeros((2, 1, FEATURES, 1, 1), np.uint64)
    units[1, 0, 0] = 1

    def column() -> F64:
        shares = prepared(layer, lambda item: units[item % 2])
        difference = ring.reduce((shares[1] - shares[0]).view(np.uint64), spec.result_bits)
        return np.asarray(ring.to_signed(difference, spec.result_bits) / 2.0**spec.guard)

    assert np.abs(column() - true).max() > 1000
    honest = split._stream

    def repeated(seed: bytes, party: str, layer: int) -> Prg:
        return honest(bytes(SEED_BYTES) if party == "server" else seed, party, layer)

    monkeypatch.setattr(split, "_stream", repeated)
    assert np.abs(column() - true).max() <= 1


def test_masks_that_it_chose_show_it_its_result_alone(
    parties: Parties,
) -> None:
    """All masks of all items from a seed of its choice: results are right, and what the server
    sends in two runs of one image is as far apart as ever.
    """

    def same_seed(session: Session) -> None:
        if not session.is_server:
            honest = session.prg.bytes

            def drawn(n: int) -> U8:
                return np.zeros(n, np.uint8) if n == SEED_BYTES else honest(n)

            session.prg.bytes = drawn  # type: ignore[method-assign]

    items = parties.prepared(2, begin=same_seed)
    assert items[0].seed == items[1].seed == bytes(SEED_BYTES)
    image = image_of(parties.program, 1)
    clear = CleartextExecutor(parties.program, parties.weights)
    expected = next(iter(clear.run_integers(image).values()))
    first, second = parties.runs(items, [image] * 2)
    assert np.array_equal(first.outputs, expected)
    assert np.array_equal(second.outputs, expected)
    heard = [
        np.frombuffer(b"".join(d for label, d in run.by_client if "output" not in label), np.uint8)
        for run in (first, second)
    ]
    assert not deviates(heard[0] ^ heard[1])
