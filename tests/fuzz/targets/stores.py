"""What a store of prepared items reads: its ledger, items, and what the peer says of its own."""

from __future__ import annotations

import hmac
import os
import random
import shutil
from collections.abc import Iterator

import msgspec

from moiety.runtime.program.decoding import UNREADABLE
from moiety.runtime.store.binding import Founding, Offer
from moiety.runtime.store.item import FOOTER, ItemKey, ItemReader, ItemWriter
from moiety.runtime.store.key import StoreKey
from moiety.runtime.store.ledger import (
    TAG_DIGITS,
    Burned,
    Head,
    Ledger,
    Met,
    Prepared,
    Used,
    mac_key,
)
from moiety.runtime.store.position import Position
from tests.fuzz.mutation import of_bytes, of_json, of_lines
from tests.fuzz.target import Target, laid, scratch
from tests.fuzz.targets.mixed import by_first_byte
from tests.support.stores import Pair, digest_of, fill, meet, terms

KEY = StoreKey(bytes(range(32)))
ITEM = ItemKey.derived(KEY, bytes(32), 7, bytes(32))


def run_ledger(data: bytes) -> None:
    folder = laid("ledger/ledger", data).parent
    Ledger.open(folder, KEY).close()
    Ledger.look(folder, KEY).close()  # whose torn line is gone by now


def run_position(data: bytes) -> None:
    assert Position.decode(data).encode() == data


def run_offer(data: bytes) -> None:
    assert Offer.decode(data).encode() == data


def run_item(data: bytes) -> None:
    """A file of which everything is read."""
    path = laid("item", data)
    with ItemReader(path, os.open(path, os.O_RDONLY), ITEM, bytes(32), len(data)) as reader:
        reader.check()


def run_footer(data: bytes) -> None:
    """Any list of streams, sealed as it should be, behind one chunk."""
    writer = ItemWriter(scratch() / "sealed", ITEM)
    writer.stream("pads").write(bytes(100))
    writer.stream("pads").finish()
    where = writer.put(ITEM.seal(FOOTER, "", 0, True, data))
    writer.put(where.to_bytes(8, "big"))
    writer.sync()
    run_item(writer.path.read_bytes())


def _ledger() -> Iterator[bytes]:
    """Every kind of record."""
    folder = scratch() / "begun"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    founding, peer = Founding.begin(KEY, terms("client")), Founding.begin(KEY, terms("server"))
    head = Head(
        binding=founding.binding(peer.offer),
        nonce=founding.offer.nonce.hex(),
        peer_public=peer.offer.public.hex(),
    )
    ledger = Ledger.create(folder, KEY, head)
    digest = digest_of(0).hex()
    for index in range(3):
        ledger.append(Prepared(index=index, digest=digest, salt=digest, size=100, time=index))
    ledger.append(Burned(index=0, count=1, why="skipped"), Used(indices=(1,)))
    ledger.append(Met(signed=bytes(173).hex()))
    ledger.close()
    yield ledger.path.read_bytes()


def store_seeds() -> Iterator[bytes]:
    for data in _ledger():
        yield b"\0" + data
        yield b"\0" + data[:-9]
    root = scratch() / "pair"
    shutil.rmtree(root, ignore_errors=True)
    Pair(root).create()
    with Pair(root).both() as (client, server):
        fill(client, 0)
        fill(client, 1)
        yield b"\1" + client.position()
        meet(client, server)
        yield b"\1" + client.position()
        yield b"\1" + client.position(listed=False)
    yield b"\2" + Founding.begin(KEY, terms("client")).offer.encode()
    writer = ItemWriter(scratch() / "made", ITEM)
    writer.stream("pads").write(bytes(100))
    writer.seal(bytes(32))
    writer.sync()
    yield b"\3" + writer.path.read_bytes()
    yield b'\4[["pads",100,[64]]]'


def of_store(data: bytes, rng: random.Random) -> bytes:
    """A ledger's records changed, their tags mostly right."""
    kind = data[:1]
    if kind == b"\4":
        return kind + of_json(data[1:], rng)
    if kind != b"\0":
        return kind + of_bytes(data[1:], rng)

    def change(line: bytes, rng: random.Random) -> bytes:
        changed = rng.choice((of_json, of_json, of_bytes))(line[TAG_DIGITS + 1 :], rng)
        return line[: TAG_DIGITS + 1] + changed

    made = of_lines(data[1:], rng, change)
    return kind + (_tagged(made) if rng.randrange(8) else made)


def _tagged(data: bytes) -> bytes:
    """With the tag of each line as it should be; as it is where the first line is no head."""
    *lines, torn = data.split(b"\n")
    try:
        head = msgspec.json.decode(lines[0][TAG_DIGITS + 1 :], type=Head)
        key = mac_key(KEY, head.binding)
    except (*UNREADABLE, IndexError, ValueError, OverflowError):
        return data
    before, made = bytes(32), b""
    for line in lines:
        payload = line[TAG_DIGITS + 1 :]
        before = hmac.digest(key, before + payload, "sha256")
        made += before.hex().encode() + b" " + payload + b"\n"
    return made + torn


STORE = Target(
    "store",
    by_first_byte(run_ledger, run_position, run_offer, run_item, run_footer),
    store_seeds,
    of_store,
)
