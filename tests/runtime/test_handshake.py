"""What the two sides say about themselves, and what they compare."""

from __future__ import annotations

import json
from unittest.mock import Mock

import msgspec
import pytest

from moiety.protocols.errors import NetworkFailure, PeerMismatch
from moiety.protocols.session import Role
from moiety.runtime.party import handshake
from moiety.runtime.party.framing import PeerError, PeerRefused
from tests.support.runnable import small

MISMATCHES: dict[str, dict[str, object]] = {
    "protocol version": {"protocol": 99},
    "package version": {"package": "9.9"},
    "the parameter 'vole'": {"cryptography": {**handshake.CRYPTOGRAPHY, "vole": "other"}},
    "the parameter 'new'": {"cryptography": {**handshake.CRYPTOGRAPHY, "new": "x"}},
    "the Program": {"program": "00" * 32},
    "rounding": {"rounding": "stochastic"},
}


@pytest.mark.parametrize("what", MISMATCHES)
@pytest.mark.parametrize("role", list(Role))
def test_every_field_of_the_handshake_is_compared(what: str, role: Role) -> None:
    program, _ = small()
    ours, theirs = handshake.hello(role, program), handshake.hello(Role(1 - role), program)
    handshake.compare(ours, theirs)
    with pytest.raises(PeerMismatch, match=f"differ in {what}"):
        handshake.compare(ours, msgspec.structs.replace(theirs, **MISMATCHES[what]))


def test_two_of_a_kind_do_not_talk() -> None:
    program, _ = small()
    hello = handshake.hello(Role.CLIENT, program)
    with pytest.raises(PeerMismatch, match="both sides are the client"):
        handshake.compare(hello, hello)


def test_peer_text_cannot_forge_log_lines() -> None:
    program, _ = small()
    ours, theirs = handshake.hello(Role.SERVER, program), handshake.hello(Role.CLIENT, program)
    forged = msgspec.structs.replace(
        theirs, package="1\n2026-01-01 INFO all is well \x1b[2J" + "x" * 1000
    )
    with pytest.raises(PeerMismatch) as caught:
        handshake.compare(ours, forged)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("field", ["type", "role", "magic", "program"])
def test_what_is_not_understood_cannot_forge_log_lines_either(field: str) -> None:
    """The reader's own words quote the peer's."""
    forged = json.dumps(
        {"type": "hello", field: "x\n2026-01-01 INFO all is well \x1b[2J" + "y" * 999}
    )
    channel = Mock(peer="client 10.0.0.7:7700", receive_message=Mock(return_value=forged.encode()))
    with pytest.raises(NetworkFailure, match="not understood") as caught:
        handshake.receive(channel, handshake.Hello)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b'{"type": "begin", "index": "\xff"}',
        b'{"type": "begin", "index": 0, "deep": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    ],
    ids=range(4),
)
def test_unreadable_messages_are_the_peers_failure(payload: bytes) -> None:
    channel = Mock(peer="client 10.0.0.7:7700", receive_message=Mock(return_value=payload))
    with pytest.raises(NetworkFailure, match=r"client 10\.0\.0\.7:7700 sent a control message"):
        handshake.receive(channel, handshake.Begin)
    assert "unreadable" in str(handshake.refused(PeerError(payload)))


@pytest.mark.parametrize(
    ("seconds", "kept"), [("30.5", 30.5), ("1e300", None), ("1e5", None), ("-1", None)]
)
def test_no_server_makes_a_client_wait_for_ever(seconds: str, kept: float | None) -> None:
    error = PeerError(f'{{"reason":"busy","message":"later","seconds":{seconds}}}'.encode())
    refused = handshake.refused(error)
    assert isinstance(refused, PeerRefused)
    assert refused.seconds == kept
