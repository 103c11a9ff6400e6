"""Keys of a connection: both parties make them, and each use has its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moiety.protocols.kernels.reference.blocks import BLOCKS_PER_KEY, per_key
from moiety.protocols.ot.keys import HashKeys, Transcript, later_key
from moiety.protocols.parallel import GRAIN
from moiety.protocols.prg import Prg
from moiety.protocols.session import Role, Session
from moiety.protocols.setup import open_session
from tests.support.two_party import MemoryChannel, channel_pair, run_both, vole

SEEDS = (b"seed of server 1", b"seed of client 1")
Use = Callable[[Session], Any]


def both(
    use: Use,
    seeds: tuple[bytes, bytes] = SEEDS,
    channels: tuple[MemoryChannel, MemoryChannel] | None = None,
) -> tuple[Any, Any]:
    """Open a session from the two parties' seeds, and `use` it at both."""
    channels = channels or channel_pair()

    def side(role: Role) -> Callable[[], Any]:
        return lambda: use(open_session(role, channels[role], Prg(seeds[role])))

    return run_both(side(Role.SERVER), side(Role.CLIENT), channels)


class Keys(NamedTuple):
    """Of one direction: the first keys of pads and refills, and what the trees grew into."""

    pads: bytes
    refills: bytes
    leaves: bytes


def directions(session: Session) -> tuple[Keys, Keys]:
    """(server -> client, client -> server)."""

    def keys(end: Any) -> Keys:
        vole = end._vole
        hashed = (end._keys.first, vole.nibbles._keys.first, vole.softspoken._leaves)
        return Keys(*(part.tobytes() for part in hashed))

    ends = (session.sender, session.receiver)
    first, second = ends if session.is_server else ends[::-1]
    return keys(first), keys(second)


def first_keys(session: Session) -> list[bytes]:
    return [key for direction in directions(session) for key in direction[:2]]


def test_both_parties_have_the_same_keys_and_every_use_its_own() -> None:
    server, client = both(first_keys)
    assert server == client
    # Apart in the half that does not count: no number of keys makes two uses meet.
    assert len({key[8:] for key in server}) == 4


@pytest.mark.parametrize("fresh", list(Role))
def test_either_party_alone_makes_the_keys_fresh(fresh: Role) -> None:
    """The other one repeats all of its randomness, its delta with it."""
    seeds = list(SEEDS)
    seeds[fresh] = b"another seed 123"

    def use(session: Session) -> tuple[list[bytes], tuple[Keys, Keys], bytes]:
        return first_keys(session), directions(session), vole(session.sender).delta.tobytes()

    before, after = both(use), both(use, (seeds[0], seeds[1]))
    for (keys, _, _), (others, _, _) in zip(before, after, strict=True):
        assert not set(keys) & set(others)
    stayed = 1 - fresh
    assert before[stayed][2] == after[stayed][2]
    # It grew the trees of the direction in which it receives from the same roots, but not with the
    # same generator.
    assert before[stayed][1][fresh].leaves != after[stayed][1][fresh].leaves


def test_the_same_messages_give_the_same_keys() -> None:
    assert both(first_keys) == both(first_keys)


def test_labels_and_messages_make_other_keys() -> None:
    def made(*messages: bytes, label: bytes = b"a") -> bytes:
        transcript = Transcript(bytes(32))
        for message in messages:
            transcript.add(message)
        return transcript.keys(label, 2).tobytes()

    made_of = [made(), made(b"x"), made(b"y"), made(b"x", b"y"), made(b"x", label=b"b")]
    halves = [keys[at : at + 16] for keys in made_of for at in (0, 16)]
    assert len(set(halves)) == 10
    assert made(b"xy") == made(b"x", b"y")  # lengths are public constants


def test_keys_are_bound_to_what_was_agreed_and_to_every_byte() -> None:
    """Of a message of any length, and of what came before it."""

    def made(context: bytes, *messages: bytes) -> bytes:
        transcript = Transcript(context)
        for message in messages:
            transcript.add(message)
        return transcript.keys(b"label", 1).tobytes() + transcript.digest()

    messages = [bytes(32), bytes(4096), bytes(8192)]
    seen = [made(bytes(32), *messages), made(b"\1" + bytes(31), *messages)]
    for index, message in enumerate(messages):
        for at in sorted({0, len(message) // 2, len(message) - 1}):
            changed = bytearray(message)
            changed[at] = 1
            seen.append(made(bytes(32), *messages[:index], bytes(changed), *messages[index + 1 :]))
    for part in (slice(0, 16), slice(16, 48)):
        assert len({each[part] for each in seen}) == len(seen) == 11


@given(
    st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 4)), max_size=8),
    st.binary(min_size=16, max_size=16),
)
def test_no_key_hashes_two_batches(demands: list[tuple[int, int]], first: bytes) -> None:
    keys = HashKeys(np.frombuffer(first, np.uint8))
    used = []
    for n, k in demands:
        key = keys.take(n, k)
        used += [later_key(key, at, k).tobytes() for at in range(0, n, per_key(k))]
    start = int.from_bytes(first[:8], "little")
    counted = [(start + i) % 2**64 for i in range(len(used))]
    assert used == [low.to_bytes(8, "little") + first[8:] for low in counted]


def test_the_ranges_of_threads_begin_with_a_key() -> None:
    """And a key hashes as few blocks as docs/security.md counts."""
    assert BLOCKS_PER_KEY == 2**10
    for k in (1, 2, 3, 4):
        assert per_key(k) << k == BLOCKS_PER_KEY
        assert GRAIN % per_key(k) == 0
