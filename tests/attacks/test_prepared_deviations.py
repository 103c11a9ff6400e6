"""Parties that deviate in a prepared run, or in what they prepare for it. A vendor that sends what
it likes is sent nothing that depends on the image but a message under a fresh mask. A hospital that
prepares products of other numbers reads a hidden gate from each result, as it can on demand: no
check sees what goes into a step (docs/security.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from moiety.protocols import kernels, ring
from moiety.protocols.arrays import F32, I64, U8, U64
from moiety.protocols.compare import relu
from moiety.protocols.ot.early import Known
from moiety.protocols.session import Session
from moiety.runtime.party.executor import ClientExecutor
from moiety.runtime.party.masks import random_bits
from moiety.runtime.program.cleartext import CleartextExecutor
from tests.attacks.halves import (
    HIDDEN,
    WIDE_RING,
    Halves,
    Heard,
    Message,
    Parties,
    image_of,
    octets,
    opened,
    two_layers,
)
from tests.support.two_party import run_two_party
from tests.support.wiretap import deviates

Change = Callable[[int, bytes], bytes]
"""What is sent in the place of the message of this number."""

LAST = "truncate/5/"


@pytest.fixture(scope="module")
def parties() -> Parties:
    return Parties(*two_layers())


@pytest.fixture(scope="module")
def items(parties: Parties) -> list[Halves]:
    return parties.prepared(40)


# --- a vendor -------------------------------------------------------------------------------------


def sending(change: Change) -> Callable[[Session], None]:
    """The server's end sends other messages, numbered anew for each run of as many messages."""

    def begin(session: Session) -> None:
        honest, count = session.channel.send, 0

        def send(data: Any, ahead: bool = False) -> None:
            nonlocal count
            made = change(count, np.asarray(data).tobytes())
            count += 1
            honest(np.frombuffer(made, np.uint8), ahead)

        session.channel.send = send  # type: ignore[method-assign]

    return begin


def replayed(messages: Sequence[Message]) -> Change:
    """Those of another run."""

    def change(at: int, data: bytes) -> bytes:
        assert len(messages[at % len(messages)][1]) == len(data)
        return messages[at % len(messages)][1]

    return change


def zeros(_: int, data: bytes) -> bytes:
    return bytes(len(data))


def flipped(_: int, data: bytes) -> bytes:
    return bytes(255 - each for each in data)


def images(parties: Parties) -> tuple[F32, F32]:
    shape = parties.program.input.shape
    return np.zeros(shape, np.float32), np.full(shape, 127, np.float32)


def after_input(heard: Heard) -> list[Message]:
    return [message for message in heard.by_server if not message[0].startswith("input/")]


def test_what_a_vendor_hears_follows_from_what_it_sends(
    parties: Parties, items: list[Halves]
) -> None:
    """It sends the same in two runs of two images (which it can but with a copy of the hospital's
    half): but for the image's own message, all that it hears is the same, byte for byte.
    """
    dark, bright = images(parties)
    honest = parties.run(items[0], dark)
    for change in (
        replayed(honest.by_client),
        zeros,
        replayed(parties.run(items[1], dark).by_client),
    ):
        first, second = (parties.run(items[0], each, sending(change)) for each in (dark, bright))
        assert after_input(first) == after_input(second)
        assert first.said("input") != second.said("input")
    first, second = (parties.run(items[0], each) for each in (dark, bright))
    assert after_input(first) != after_input(second)  # an honest server's messages differ


@pytest.mark.parametrize("change", [zeros, flipped], ids=lambda change: change.__name__)
def test_each_message_is_uniform_whatever_a_vendor_sends(
    parties: Parties, items: list[Halves], change: Change
) -> None:
    """Over 40 items, for the darkest image and the brightest; and the result is another one, which
    the vendor does not see.
    """
    clear = CleartextExecutor(parties.program, parties.weights)
    for image in images(parties):
        found = parties.runs(items, [image] * len(items), sending(change))
        assert len({len(heard.by_server) for heard in found}) == 1
        for place in zip(*(heard.by_server for heard in found), strict=True):
            if place[0][0] != LAST:  # whose messages are not whole in bytes
                assert not deviates(octets(place)), place[0][0]
        expected = next(iter(clear.run_integers(image).values()))
        assert not any(np.array_equal(heard.outputs, expected) for heard in found)


# --- a hospital -----------------------------------------------------------------------------------

ADDED = 1 << 12
"""To the product of one unit's gate."""


def hidden_gates(parties: Parties, image: F32) -> I64:
    values: dict[int, I64] = {}
    CleartextExecutor(parties.program, parties.weights).run_integers(image, values.__setitem__)
    return (values[2].reshape(-1) >= 0).astype(np.int64)


@dataclass
class Larger(Known):
    """Of the multiplexer's products, which alone of a whole layer's are as wide, that of one unit
    is of another number.
    """

    unit: int = field(kw_only=True)

    def products_at(self, opening: int, bits: int, start: int, n: int) -> U8:
        stream = super().products_at(opening, bits, start, n)
        if (n, bits) != (HIDDEN, WIDE_RING):
            return stream
        y = kernels.unpack(stream, n, bits)
        y[self.unit] += np.uint64(ADDED)
        return kernels.pack(y, bits)


def prepared_with(parties: Parties, unit: int) -> Halves:
    """An item of which the multiplexer's product is larger at one unit: `mu*(y + ADDED)`."""
    honest = ClientExecutor._recorded

    def recorded(executor: ClientExecutor, images: int, *given: Any) -> Any:
        walked = honest(executor, images, *given)
        known = walked.known
        walked.known = Larger(known.choices, known.products, known.more, unit=unit)
        return walked

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClientExecutor, "_recorded", recorded)
        return parties.prepared(1)[0]


def read_prepared(parties: Parties, image: F32, base: I64, unit: int) -> int:
    """The gate of a unit, from one result: it moves where mu is 1, the vendor has sent `g ^ mu`,
    and the hospital's share of the gate is its mask.
    """
    item = prepared_with(parties, unit)
    heard = parties.run(item, image)
    mu = int(not np.array_equal(heard.outputs, base))
    mine = int(random_bits(item.masks(3).inner(), HIDDEN)[unit])
    return mu ^ int(opened(heard.told("relu")).e[unit]) ^ mine


def read_on_demand(parties: Parties, image: F32, base: I64, unit: int) -> int:
    """The same by adding to the client's share between gate and multiplexer."""
    honest = relu._multiplex_client

    def multiplexed(session: Session, y: U64, gate: Any, bits: int, out_bits: int) -> U64:
        y = y.copy()
        y[unit] = ring.reduce(y[unit : unit + 1] + np.uint64(ADDED), bits)[0]
        return honest(session, y, gate, bits, out_bits)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relu, "_multiplex_client", multiplexed)
        outcome = run_two_party(
            parties.server.run, lambda session: parties.client.run(session, image)
        )
    return int(not np.array_equal(outcome.client[0][0].integers, base))


@pytest.mark.parametrize("read", [read_prepared, read_on_demand], ids=lambda read: read.__name__)
def test_who_adds_to_a_product_reads_a_gate(
    parties: Parties, read: Callable[[Parties, F32, I64, int], int]
) -> None:
    """Of a hidden ReLU, whether it is open for its image, with one query each and one more."""
    image = image_of(parties.program, 1)
    clear = CleartextExecutor(parties.program, parties.weights)
    base = next(iter(clear.run_integers(image).values()))
    true = hidden_gates(parties, image)
    found = [read(parties, image, base, unit) for unit in range(10)]
    assert found == true[:10].tolist()
    assert 0 < sum(found) < 10
