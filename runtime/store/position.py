"""Where a store stands, as its party tells the peer: a signed claim, and what it remembers of the
peer's.

    claim      counter, the ledger's last tag, the next item, what is prepared; signed
    echo       the last claim that the peer has signed, with its signature
    catalogue  index and digest of each item that can be used, where it is wanted

Before anything is sent the parties exchange positions. A store that was brought back from a copy
claims less than its peer remembers: the peer refuses it. Its own party learns the same from the
echo, which it has signed itself. A position that cannot be read is garbage on the line; a signature
that does not hold is somebody else's.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from moiety.protocols.errors import NetworkFailure, UntrustedPeer
from moiety.runtime.store.binding import LINEAGE_BYTES, Role
from moiety.runtime.store.ledger import LAST_INDEX

ENTRIES = 1 << 16
"""Items of a catalogue, at most."""
VERSION = 1
_ROLES: Final[tuple[Role, ...]] = ("server", "client")
_CLAIM = struct.Struct(f">B{LINEAGE_BYTES}sQ32sQQI32s")
_ENTRY = struct.Struct(">Q32s")
_SIGNATURE = 64
SIGNED_BYTES = _CLAIM.size + _SIGNATURE
_DOMAIN = b"moiety store position 1"


@dataclass(frozen=True)
class Entry:
    """An item that can be used, and what both parties agree on for it."""

    index: int
    digest: bytes


Catalogue = tuple[Entry, ...]


def catalogue_bytes(entries: Sequence[Entry]) -> bytes:
    return b"".join(_ENTRY.pack(each.index, each.digest) for each in entries)


@dataclass(frozen=True)
class Claim:
    """`counter`: lines of the ledger, of which the last has the tag `head`; `next`, `fresh`: as of
    `ledger.Book`; `count` and `catalogue` (its SHA-256): of the items that can be used.
    """

    role: Role
    lineage: bytes
    counter: int
    head: bytes
    next: int
    fresh: int
    count: int
    catalogue: bytes

    def encode(self) -> bytes:
        return _CLAIM.pack(
            _ROLES.index(self.role),
            self.lineage,
            self.counter,
            self.head,
            self.next,
            self.fresh,
            self.count,
            self.catalogue,
        )

    @classmethod
    def decode(cls, data: bytes) -> Claim:
        role, lineage, counter, head, start, fresh, count, catalogue = _CLAIM.unpack(data)
        if role >= len(_ROLES) or not counter or count > ENTRIES:
            raise _garbage()
        if start > fresh or fresh > LAST_INDEX + 1 or count > fresh - start:
            raise _garbage()
        return cls(_ROLES[role], lineage, counter, head, start, fresh, count, catalogue)


@dataclass(frozen=True)
class Signed:
    """A claim and the signature of the store that makes it."""

    claim: Claim
    signature: bytes

    @classmethod
    def by(cls, key: Ed25519PrivateKey, claim: Claim) -> Signed:
        return cls(claim, key.sign(_DOMAIN + claim.encode()))

    def check(self, key: Ed25519PublicKey, whose: str) -> None:
        """Raises `UntrustedPeer`."""
        try:
            key.verify(self.signature, _DOMAIN + self.claim.encode())
        except InvalidSignature:
            raise UntrustedPeer(
                f"a store's position does not have the signature of {whose}: it was changed on the "
                "way, or another store speaks; nothing prepared is used"
            ) from None

    def encode(self) -> bytes:
        return self.claim.encode() + self.signature

    @classmethod
    def decode(cls, data: bytes) -> Signed:
        """Raises `NetworkFailure`."""
        if len(data) != SIGNED_BYTES:
            raise _garbage()
        return cls(Claim.decode(data[: _CLAIM.size]), data[_CLAIM.size :])


@dataclass(frozen=True)
class Position:
    """What is sent. `echo`: None where the peer was never met; `catalogue`: None where only the
    claim is wanted.
    """

    own: Signed
    echo: Signed | None
    catalogue: Catalogue | None

    @property
    def claim(self) -> Claim:
        return self.own.claim

    def encode(self) -> bytes:
        echo = self.echo.encode() if self.echo else b""
        listed = catalogue_bytes(self.catalogue or ())
        parts = bytes([VERSION, self.echo is not None, self.catalogue is not None])
        return parts + self.own.encode() + echo + listed

    @classmethod
    def decode(cls, data: bytes) -> Position:
        """Every position has one encoding. Raises `NetworkFailure` for all other bytes."""
        if len(data) < 3 + SIGNED_BYTES or data[0] != VERSION or max(data[1:3]) > 1:
            raise _garbage()
        own, rest = Signed.decode(data[3 : 3 + SIGNED_BYTES]), data[3 + SIGNED_BYTES :]
        echo = None
        if data[1]:
            echo, rest = Signed.decode(rest[:SIGNED_BYTES]), rest[SIGNED_BYTES:]
        if not data[2]:
            if rest:
                raise _garbage()
            return cls(own, echo, None)
        return cls(own, echo, _catalogue(own.claim, rest))


def _catalogue(claim: Claim, data: bytes) -> Catalogue:
    """The entries that a claim stands for."""
    if len(data) != claim.count * _ENTRY.size:
        raise _garbage()
    if hashlib.sha256(data).digest() != claim.catalogue:
        raise _garbage()
    entries = tuple(Entry(*each) for each in _ENTRY.iter_unpack(data))
    indices = [claim.next - 1, *(each.index for each in entries), claim.fresh]
    if any(a >= b for a, b in pairwise(indices)) and entries:
        raise _garbage()
    return entries


def _garbage() -> NetworkFailure:
    return NetworkFailure("the peer's position of its store is not understood")
