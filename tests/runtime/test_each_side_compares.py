"""Each side holds the other to the handshake by itself, whatever the other one lets pass: here the
other one compares nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest

from moiety.protocols.errors import NetworkFailure, PeerMismatch, UntrustedPeer
from moiety.protocols.session import Role
from moiety.runtime.operation.fingerprint import Fingerprint
from moiety.runtime.party import handshake
from moiety.runtime.party.client import Client
from moiety.runtime.party.framing import Line, PeerClosed
from moiety.runtime.program.linear_layers import MAX_BATCH
from tests.support.runnable import small

PROGRAM = small()[0]
OURS = {role: handshake.hello(role, PROGRAM, ot="silent") for role in Role}


class Unheeding:
    """A peer that says these messages, one after the other, and heeds none."""

    peer = "peer 10.0.0.7:7700"
    line = Line()

    def __init__(self, *says: handshake.Message) -> None:
        self._says = [msgspec.json.encode(each) for each in says]
        self.heard: list[bytes] = []
        self.within: list[float] = []
        self._deadlines: list[float] = []
        self.closed: bytes | None = None

    def send_message(self, payload: bytes) -> None:
        self.heard.append(payload)

    def receive_message(self) -> bytes:
        self.within += self._deadlines[-1:]
        if not self._says:
            raise PeerClosed("it has said all", orderly=True)
        return self._says.pop(0)

    @contextmanager
    def deadline(self, seconds: float) -> Iterator[None]:
        self._deadlines.append(seconds)
        yield
        self._deadlines.pop()

    def close(self, error: bytes | None = None) -> None:
        self.closed = error


def other(last: str) -> str:
    return last[:-1] + ("0" if last[-1] != "0" else "1")


def changes(theirs: handshake.Hello) -> dict[str, dict[str, Any]]:
    """What the two sides differ in -> another Hello; a text in its last character alone."""
    cryptography = theirs.cryptography
    one_less = dict(list(cryptography.items())[1:])
    return {
        "protocol version": {"protocol": theirs.protocol + 1},
        "package version": {"package": other(theirs.package)},
        "the Program": {"program": other(theirs.program)},
        "the generator of correlations": {"ot": "softspoken"},
        "rounding": {"rounding": "stochastic"},
        "the parameter 'new'": {"cryptography": cryptography | {"new": "x"}},
        f"the parameter '{min(cryptography)}'": {
            "cryptography": cryptography
            | {min(cryptography): other(cryptography[min(cryptography)])}
        },
        f"the parameter '{next(iter(cryptography))}'": {"cryptography": one_less},
    }


@pytest.mark.parametrize("what", changes(OURS[Role.CLIENT]))
@pytest.mark.parametrize("role", list(Role))
def test_a_difference_ends_it_at_either_side(role: Role, what: str) -> None:
    theirs = OURS[Role(1 - role)]
    channel: Any = Unheeding(theirs)
    assert handshake.meet(channel, OURS[role], 7.0) == theirs
    assert channel.within == [7.0]
    channel = Unheeding(msgspec.structs.replace(theirs, **changes(theirs)[what]))
    with pytest.raises(PeerMismatch, match=f"differ in {what}"):
        handshake.meet(channel, OURS[role], 7.0)


@pytest.mark.parametrize("what", changes(OURS[Role.CLIENT]))
def test_a_client_goes_no_further_than_the_difference(what: str) -> None:
    """Not to the choice of a generator, and not to the set-up: it has said its Hello alone."""
    theirs = OURS[Role.SERVER]
    channel: Any = Unheeding(msgspec.structs.replace(theirs, **changes(theirs)[what]))
    with pytest.raises(PeerMismatch, match=f"differ in {what}"):
        Client(PROGRAM, ot="silent").join(channel)
    assert len(channel.heard) == 1
    assert b"the client stopped" in channel.closed


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        ("client", "client", "both sides are the client"),
        ("server", "server", "both sides are the server"),
        ("client", "worker", "a worker does not serve a client"),
        ("worker", "client", "a client does not serve a worker"),
    ],
)
def test_who_does_not_talk_to_whom(ours: Any, theirs: Any, words: str) -> None:
    hello = OURS[Role.CLIENT]
    with pytest.raises(PeerMismatch, match=words):
        handshake.compare(
            msgspec.structs.replace(hello, role=ours), msgspec.structs.replace(hello, role=theirs)
        )


def test_either_side_may_leave_the_generator_to_the_other() -> None:
    server, client = (OURS[role] for role in Role)
    for each in (server, client):
        left = msgspec.structs.replace(each, ot="auto")
        handshake.compare(left, server if each is client else client)


@pytest.mark.parametrize("message", ["Ready", "Elsewhere"])
def test_a_word_for_another_connection_ends_it(message: str) -> None:
    makes: dict[str, Callable[[str], handshake.Message]] = {
        "Ready": lambda nonce: handshake.Ready(nonce=nonce),
        "Elsewhere": lambda nonce: handshake.Elsewhere(
            host="127.0.0.1", port=7701, ticket="t", nonce=nonce
        ),
    }
    for nonce in ("", "0" * 32, OURS[Role.CLIENT].nonce):
        channel: Any = Unheeding(OURS[Role.SERVER], makes[message](nonce))
        with pytest.raises(UntrustedPeer, match="belongs to another connection"):
            Client(PROGRAM).join(channel)
        assert b'"untrusted"' in channel.closed


def test_a_client_is_not_sent_from_one_worker_to_the_next() -> None:
    """Nor to a port that there is not; the connection that it was given is all that it has."""
    told = handshake.Elsewhere(host="127.0.0.1", port=7701, ticket="t", nonce="n")
    with pytest.raises(NetworkFailure, match="cannot follow"):
        Client(PROGRAM)._opened(Mock(peer="server"), Mock(), told)


def test_every_hello_has_a_nonce_of_its_own() -> None:
    """128 bits, no two of which are alike; and so has what rests on them."""
    nonces = [handshake.hello(Role.CLIENT, PROGRAM).nonce for _ in range(64)]
    assert len(set(nonces)) == 64
    assert {len(bytes.fromhex(nonce)) for nonce in nonces} == {16}
    for place in range(32):
        assert len({nonce[place] for nonce in nonces}) > 4


FIELDS: dict[str, Any] = {
    "protocol": 99,
    "package": "9",
    "role": "worker",
    "program": "00" * 32,
    "program_name": "another",
    "rounding": "stochastic",
    "cryptography": {},
    "ot": "softspoken",
    "backend": "another",
    "batches": {8: "ab"},
    "nonce": "00" * 16,
    "ticket": "another",
}


@pytest.mark.parametrize("whose", list(Role))
def test_the_binding_is_of_every_word(whose: Role) -> None:
    """Of both Hellos; a field that is added to it comes into it, too."""
    assert {*FIELDS} == {field.name for field in msgspec.structs.fields(handshake.Hello)} - {
        "magic"
    }
    line = Line(Fingerprint(b"c" * 32), Fingerprint(b"s" * 32), exporter=b"e" * 32)

    def bound(**changed: Any) -> bytes:
        said = dict(OURS) | {whose: msgspec.structs.replace(OURS[whose], **changed)}
        return handshake.binding(line, said[Role.CLIENT], said[Role.SERVER])

    others = {bound(**{name: value}) for name, value in FIELDS.items()}
    assert len(others | {bound()}) == len(FIELDS) + 1
    assert len(bound()) == 32


def test_the_binding_has_whole_keys_and_the_whole_exporter() -> None:
    """Of two lines that differ in the last byte of one."""
    ends = [b"c" * 32, b"s" * 32, b"e" * 32]

    def bound(own: bytes, peer: bytes, exporter: bytes) -> bytes:
        line = Line(Fingerprint(own), Fingerprint(peer), exporter=exporter)
        return handshake.binding(line, OURS[Role.CLIENT], OURS[Role.SERVER])

    changed = [[*ends[:at], ends[at][:-1] + b"x", *ends[at + 1 :]] for at in range(3)]
    assert len({bound(*each) for each in (ends, *changed)}) == 4


def test_a_client_takes_the_sizes_that_both_know_alike() -> None:
    """Up to what its user wants, and to what a run can hold."""
    layouts = {size: f"layout of {size}" for size in (1, 2, 8, MAX_BATCH, MAX_BATCH + 1)}
    assert handshake.batch_sizes(layouts, MAX_BATCH + 1, layouts.__getitem__) == (
        MAX_BATCH,
        8,
        2,
        1,
    )
    assert handshake.batch_sizes(layouts, 7, layouts.__getitem__) == (2, 1)
    assert handshake.batch_sizes({0: "x", -2: "x"}, 8, layouts.__getitem__) == (1,)
    with pytest.raises(PeerMismatch, match="plan runs of 8 images differently"):
        handshake.batch_sizes(layouts | {8: "layout of 9"}, 8, layouts.__getitem__)
