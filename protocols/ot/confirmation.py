"""Key confirmation: in the set-up each party proves that it takes part in this one.

Each party sends a fresh X25519 share, and at the end of its last flight a tag: a MAC over the hash
of all messages so far (ot/keys.Transcript), under a key from the shared secret and that hash. A tag
is right only if its sender saw the same messages, in the same connection: recorded bytes answer to
a share that was drawn before, and a changed byte changes the hash. The server's tag covers all
messages. The client's, a flight earlier, covers all that the server has received until then, and
whether the client received the rest is for the client to check. The key is used for nothing else.

Without certificates in the hash the secret is shared with whoever answers: who relays every message
under shares of its own still sits between. Keeping such a one out is for TLS (runtime/party/tls),
whose certificates are in the hash.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from enum import IntEnum

from nacl import bindings as sodium
from nacl.exceptions import CryptoError

from moiety.protocols.errors import NetworkFailure, UntrustedPeer
from moiety.protocols.prg import Prg

SHARE_BYTES = 32
TAG_BYTES = 32


@dataclass(frozen=True)
class Secret:
    """One party's half of the secret of one set-up, and the share of it that is sent."""

    scalar: bytes = field(repr=False)
    share: bytes

    @classmethod
    def fresh(cls, prg: Prg) -> Secret:
        scalar = prg.bytes(SHARE_BYTES).tobytes()
        return cls(scalar, sodium.crypto_scalarmult_base(scalar))

    def shared(self, theirs: bytes) -> bytes:
        """What both parties know, from the peer's share. Raises `NetworkFailure` for a share that
        gives the same secret with every other.
        """
        try:
            return sodium.crypto_scalarmult(self.scalar, theirs)
        except (CryptoError, RuntimeError) as error:
            raise NetworkFailure(
                "the peer sent an invalid share of the set-up's secret; "
                "is it a Moiety peer of this version?"
            ) from error


def tag_of(role: IntEnum, shared: bytes, transcript: bytes) -> bytes:
    """The proof of the party `role` that it has seen all messages with the hash `transcript`."""
    key = hashlib.sha256(b"moiety confirmation key" + shared + transcript).digest()
    return hmac.digest(key, b"moiety confirmation " + role.name.encode(), "sha256")


def check(expected: bytes, received: bytes) -> None:
    """Raises `UntrustedPeer` unless they are equal, in a time that does not tell where they
    differ.
    """
    if not hmac.compare_digest(expected, received):
        raise UntrustedPeer(
            "the set-up was not confirmed: what arrived belongs to another connection, as bytes "
            "do that somebody has recorded and plays back, or it was changed on the way; nothing "
            "was computed. Try again, over TLS (moiety keys)"
        )
