"""What an item that is used twice gives the peer, carried out with copies of both halves, which no
party's code makes: the vendor reads the difference of two images, the hospital the first layer. So
both mark, and tell each other; against a store that is brought back at both there is no defence,
and docs/ahead.md says so.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from moiety.protocols import ring
from moiety.protocols.arrays import I64, U8, U64
from moiety.protocols.compare import fixing
from moiety.protocols.errors import MoietyError
from moiety.protocols.ot.recording import SilentChannel
from moiety.protocols.session import Session
from moiety.runtime.party.masks import random_bits
from moiety.runtime.party.stock import NewStore
from moiety.runtime.program.cleartext import CleartextExecutor
from tests.attacks.halves import (
    FEATURES,
    HIDDEN,
    HIDDEN_RING,
    SHIFT,
    Halves,
    Heard,
    Opened,
    Parties,
    fields,
    image_of,
    octets,
    opened,
    two_layers,
)
from tests.support.ahead import Ahead
from tests.support.wiretap import deviates

RING = 26
"""Bits of the input's ring."""


@pytest.fixture(scope="module")
def parties() -> Parties:
    return Parties(*two_layers())


def signed(values: Any, bits: int) -> I64:
    return ring.to_signed(
        ring.reduce(np.asarray(values).astype(np.int64).view(np.uint64), bits), bits
    )


# --- the vendor -----------------------------------------------------------------------------------


def shown(heard: Heard) -> U64:
    """What the client sends of its image: less the mask."""
    (message,) = heard.said("input")
    return fields(message, FEATURES, RING)


def test_the_vendor_reads_the_difference_of_two_images(parties: Parties) -> None:
    """Exactly, from one message of each run; of two items it is noise."""
    one, two = parties.prepared(2)
    images = [image_of(parties.program, seed) for seed in (1, 2)]
    again = parties.runs([one, one], images)
    apart = parties.runs([one, two], images)
    difference = (images[1] - images[0]).reshape(-1).astype(np.int64)
    first, second = map(shown, again)
    assert np.array_equal(signed(second - first, RING), difference)
    first, second = map(shown, apart)
    assert np.abs(signed(second - first, RING)).min() > 1 << 10


# --- the hospital ---------------------------------------------------------------------------------


class Read(NamedTuple):
    """`weights` of the first layer `(HIDDEN, FEATURES)`, and of which `units` they could be told
    `(HIDDEN, FEATURES)`.
    """

    weights: I64
    units: Any


def read(item: Halves, parties: Parties, runs: Sequence[Opened]) -> Read:
    """From runs of one item: of an image, of its negative, and of the image with each feature
    larger by a unit of what the truncation leaves.

    Pads and mu are the same, so answers differ by `y*(1-2g) - y'*(1-2g')`, and e by `g ^ g'`. The
    client knows its shares of y, r, and of g. Where the negative turned the gate, the two values'
    sum is `2r` and that difference, up to a sign that is the gate; the wrong one is a random number
    of 20 bits. Where the gate stays, the difference of the two values follows.
    """
    steps = parties.program.steps
    r = item.masks(2).result(steps[2]).reshape(-1).astype(np.int64)
    turned = 1 - 2 * random_bits(item.masks(3).inner(), HIDDEN).astype(np.int64)
    first, negative, *others = runs
    between = signed(first.answers - negative.answers, HIDDEN_RING)
    sums = {sign: signed(sign * turned * between + 2 * r, HIDDEN_RING) for sign in (1, -1)}
    sign = np.where(np.abs(sums[1]) < np.abs(sums[-1]), 1, -1)
    told = (first.e ^ negative.e == 1) & (np.minimum(*map(np.abs, sums.values())) < 1 << 10)
    weights, known = np.zeros((HIDDEN, FEATURES), np.int64), np.zeros((HIDDEN, FEATURES), np.bool_)
    for feature, other in enumerate(others):
        moved = signed(other.answers - first.answers, HIDDEN_RING)
        weights[:, feature] = sign * turned * moved
        known[:, feature] = told & (first.e == other.e)
    return Read(weights, known)


def questions(parties: Parties) -> list[Any]:
    """Images that anybody may ask about."""
    image = image_of(parties.program, 1)
    moved = np.zeros((FEATURES, *image.shape), np.float32)
    moved[np.arange(FEATURES), np.arange(FEATURES)] = 1 << SHIFT
    return [image, -image, *(image + moved)]


def true_weights(parties: Parties) -> I64:
    return parties.weights.tensors["linear.1.weight"].reshape(HIDDEN, FEATURES).astype(np.int64)


def test_the_hospital_reads_the_first_layer(parties: Parties) -> None:
    """Of which a run shows it nothing, it reads three quarters of the weights, exactly, by asking
    about 14 images honestly: those of the units that the negative turned and the feature did not.
    Of 14 items it reads nothing. Every result is right all the while, so the vendor notices
    nothing.
    """
    items, images = parties.prepared(FEATURES + 2), questions(parties)
    clear = CleartextExecutor(parties.program, parties.weights)
    expected = [next(iter(clear.run_integers(image).values())) for image in images]
    again = parties.runs(items[:1] * len(images), images)
    apart = parties.runs(items, images)
    for found in (again, apart):
        assert [heard.outputs.tolist() for heard in found] == [each.tolist() for each in expected]
    weights, units = read(items[0], parties, [opened(heard.told("relu")) for heard in again])
    assert units.mean() > 0.7
    assert np.array_equal(weights[units], true_weights(parties)[units])
    weights, units = read(items[0], parties, [opened(heard.told("relu")) for heard in apart])
    assert units.mean() < 0.1  # values that are small by chance
    assert not np.array_equal(weights[units], true_weights(parties)[units]) or not units.any()


def test_what_two_runs_of_one_item_send_is_alike(parties: Parties) -> None:
    """All that either party hears, added (XOR) to what it hears in another run of one image: as
    uniform as a message for two items, and far from it for one, though both parties draw other
    randomness for joins.
    """
    items, image = parties.prepared(2), image_of(parties.program, 1)
    for used, alike in ((items[:1] * 2, True), (items, False)):
        first, second = parties.runs(used, [image] * 2)
        for one, two in ((first.by_server, second.by_server), (first.by_client, second.by_client)):
            drawn = [message for message in one if not message[0].startswith("output/")]
            other = [message for message in two if not message[0].startswith("output/")]
            assert deviates(octets(drawn) ^ octets(other)) is alike
            assert not deviates(octets(drawn))


# --- over TCP: who brings a store back ------------------------------------------------------------


@pytest.fixture
def ahead(parties: Parties, tmp_path: Path) -> Iterator[Ahead]:
    made = Ahead(tmp_path, parties.server)
    yield made
    made.end()


def noting(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """A server, of this process's children, writes down its share of each image."""
    honest, here = fixing.fix, os.getpid()

    def fix(session: Session, x: U64, bits: int, mask: U64 | None) -> U64:
        share = honest(session, x, bits, mask)
        recorded = isinstance(session.channel, SilentChannel)  # nobody's image
        label = session.channel.meter.label
        if os.getpid() != here and not recorded and label.startswith("input/"):
            with file.open("ab") as out:
                out.write(share.tobytes())
        return share

    monkeypatch.setattr(fixing, "fix", fix)


def noted(file: Path) -> U64:
    """A row of each run."""
    return np.frombuffer(file.read_bytes(), np.uint64).reshape(-1, FEATURES)


@pytest.mark.parametrize("restored", [("client", "server"), ("server",), ("client",)], ids="+".join)
def test_who_brings_a_store_back(
    ahead: Ahead,
    parties: Parties,
    restored: Sequence[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where both are from the same moment, honest parties use an item twice, and both could do as
    above: what docs/ahead.md says nobody can know. A party that deviates brings its own back at
    will, so the other one's is enough. Where the other one's is not, the store is refused before
    anything of an image is sent.
    """
    noting(monkeypatch, seen := tmp_path / "seen")
    server = ahead.serve()
    ahead.prepare(server, 2)
    images = [image_of(parties.program, seed) for seed in (1, 2)]
    heard = []

    def infer(image: Any) -> None:
        with ahead.met(server, new=NewStore.NEVER) as connection:
            receive, messages = connection.channel.recv, list[bytes]()

            def tap(nbytes: int) -> U8:
                if connection.channel.meter.label.startswith("relu/"):
                    messages.append((data := receive(nbytes)).tobytes())
                    return data
                return receive(nbytes)

            monkeypatch.setattr(connection.channel, "recv", tap)
            connection.infer(image)
            heard.append(opened(messages))

    copies = {role: ahead.folder / f"copy of {role}" for role in restored}
    for role, copy in copies.items():
        shutil.copytree(ahead.cellar(role).root, copy)
    infer(images[0])
    for role, copy in copies.items():
        shutil.rmtree(ahead.cellar(role).root)
        shutil.copytree(copy, ahead.cellar(role).root)
    if len(restored) == 1:
        with pytest.raises(MoietyError, match="is an older copy"):
            infer(images[1])
        assert len(noted(seen)) == len(heard) == 1
        return
    infer(images[1])
    first, second = noted(seen)
    difference = (images[1] - images[0]).reshape(-1).astype(np.int64)
    assert np.array_equal(signed(second - first, RING), difference)
    # and the client has the gates that differ, which it must not know
    gates = []
    for image in images:
        values: dict[int, I64] = {}
        clear = CleartextExecutor(parties.program, parties.weights)
        clear.run_integers(image, values.__setitem__)
        gates.append(values[2].reshape(-1) >= 0)
    assert np.array_equal(heard[0].e ^ heard[1].e, gates[0] ^ gates[1])
