"""The set-up proves that both parties saw the same messages: replays, changed bytes and parties
that agreed on different things before are refused by whoever receives them.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from moiety.protocols.errors import MoietyError, NetworkFailure, UntrustedPeer
from moiety.protocols.ot.confirmation import SHARE_BYTES, TAG_BYTES, Secret, check, tag_of
from moiety.protocols.ot.softspoken import PUNCTURE_BYTES
from moiety.protocols.prg import Prg
from moiety.protocols.session import Role, Session
from moiety.protocols.setup import OPENING_BYTES, open_session
from tests.support.two_party import MemoryChannel, channel_pair, run_both

ANSWER_BYTES = 32 + PUNCTURE_BYTES
PARTS = {
    Role.SERVER: {
        "share": 0,
        "opening": SHARE_BYTES,
        "answer": SHARE_BYTES + OPENING_BYTES,
        "trees": SHARE_BYTES + OPENING_BYTES + 32,
        "tag": SHARE_BYTES + OPENING_BYTES + ANSWER_BYTES,
    },
    Role.CLIENT: {
        "share": 0,
        "answer": SHARE_BYTES,
        "trees": SHARE_BYTES + 32,
        "opening": SHARE_BYTES + ANSWER_BYTES,
        "tag": SHARE_BYTES + ANSWER_BYTES + OPENING_BYTES,
    },
}
"""Where each part begins in what a party sends."""


class Flipping(MemoryChannel):
    """Flips the lowest bit of byte `at` of what is written."""

    at = 0

    def _write(self, data: memoryview) -> None:
        changed = bytearray(data)
        if 0 <= self.at < len(changed):
            changed[self.at] ^= 1
        self.at -= len(changed)
        super()._write(memoryview(changed))


class Recorded(MemoryChannel):
    """Keeps what is written."""

    def __init__(self, channel: MemoryChannel) -> None:
        super().__init__(channel._outgoing, channel._incoming, 5.0)
        self.written = bytearray()

    def _write(self, data: memoryview) -> None:
        self.written += data
        super()._write(data)


def opened(role: Role, channel: MemoryChannel, **options: object) -> MoietyError | Session:
    """The session, or what was said instead of one."""
    try:
        return open_session(role, channel, **options)  # type: ignore[arg-type]
    except MoietyError as error:
        channel.close()
        return error


def both(
    channels: tuple[MemoryChannel, MemoryChannel],
    server: dict[str, object],
    client: dict[str, object],
) -> tuple[MoietyError | Session, MoietyError | Session]:
    def side(role: Role, options: dict[str, object]) -> Callable[[], MoietyError | Session]:
        return lambda: opened(role, channels[role], **options)

    return run_both(side(Role.SERVER, server), side(Role.CLIENT, client), channels)


@pytest.mark.parametrize(
    ("sender", "part"), [(role, part) for role, parts in PARTS.items() for part in parts]
)
def test_a_changed_byte_ends_the_set_up(sender: Role, part: str) -> None:
    channels = list(channel_pair(5.0))
    faulty = Flipping(channels[sender]._outgoing, channels[sender]._incoming, 5.0)
    faulty.at = PARTS[sender][part]
    channels[sender] = faulty
    outcome = both((channels[0], channels[1]), {}, {})
    said = outcome[1 - sender]
    # A point that is none is refused as such, and a changed message may show at its sender first.
    assert isinstance(said, UntrustedPeer | NetworkFailure)
    if part in ("trees", "tag"):
        assert isinstance(said, UntrustedPeer)
        assert "was not confirmed" in str(said)
    if sender is Role.CLIENT:
        assert not isinstance(outcome[Role.SERVER], Session)


@pytest.mark.parametrize("replayed", list(Role))
def test_recorded_bytes_are_refused(replayed: Role) -> None:
    """All that a party sent in one set-up, played back to its peer in the next."""
    first, second = (Recorded(channel) for channel in channel_pair(5.0))
    outcome = both((first, second), {}, {})
    assert all(isinstance(side, Session) for side in outcome)
    ends = channel_pair(5.0)
    ends[replayed].send(bytes((first, second)[replayed].written))
    said = opened(Role(1 - replayed), ends[1 - replayed])
    assert isinstance(said, UntrustedPeer)
    assert "belongs to another connection" in str(said)
    assert said.exit_code == 9


@pytest.mark.parametrize(
    ("server", "client"),
    [
        ({"binding": b"a" * 32}, {"binding": b"b" * 32}),
        ({"silent_from": 2}, {"silent_from": 3}),
    ],
)
def test_parties_that_agreed_on_different_things_do_not_open_a_session(
    server: dict[str, object], client: dict[str, object]
) -> None:
    """The server, who checks first, refuses; the client gets no answer."""
    said, unanswered = both(channel_pair(5.0), server, client)
    assert isinstance(said, UntrustedPeer)
    assert isinstance(unanswered, NetworkFailure)


def test_each_role_and_each_transcript_has_its_own_tag() -> None:
    ours, theirs = Secret.fresh(Prg.from_os()), Secret.fresh(Prg.from_os())
    shared = ours.shared(theirs.share)
    assert shared == theirs.shared(ours.share)
    tags = {tag_of(role, shared, hashed) for role in Role for hashed in (b"x" * 32, b"y" * 32)}
    assert len(tags) == 4
    assert {len(tag) for tag in tags} == {TAG_BYTES}
    assert "scalar" not in repr(ours)


@pytest.mark.parametrize("share", [bytes(32), b"\1" + bytes(31)])
def test_a_share_of_small_order_is_refused(share: bytes) -> None:
    with pytest.raises(NetworkFailure, match="invalid share"):
        Secret.fresh(Prg.from_os()).shared(share)


def test_a_tag_that_differs_in_one_bit_is_refused() -> None:
    tag = bytes(range(TAG_BYTES))
    check(tag, bytes(tag))
    for at in (0, TAG_BYTES - 1):
        wrong = bytearray(tag)
        wrong[at] ^= 128
        with pytest.raises(UntrustedPeer):
            check(tag, bytes(wrong))
