"""What a store is for, and how two parties found one together.

A store belongs to one party and to one (Program, weights, peer). At its creation each side sends an
`Offer`: random bytes, and the public half of a signing key that is made for this store alone, so
that stores work in every mode of the line, with certificates or without. The hash of both offers
and of all that the store is for is its lineage, the same at both parties.

An offer is as good as the line that it came over: send it only when the peer is known (TLS), or
take it as the rest of a line without keys is taken.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from moiety.protocols.errors import BadInput, NetworkFailure
from moiety.runtime.store.key import NONCE_BYTES, StoreKey

FORMAT = 1
KEYLESS = "0" * 64
"""The fingerprint of who has no certificate, as on a line without TLS."""
LINEAGE_BYTES = 16
PUBLIC_BYTES = 32

Role = Literal["client", "server"]

_HEX = re.compile("[0-9a-f]{64}")
_OFFER = b"moiety store offer 1"


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What a store is for. `program`: the Program's digest; `commitment`: the Program's to the
    vendor's weights; `own`, `peer`: fingerprints, or `KEYLESS`. All are 64 hexadecimal digits.
    """

    role: Role
    program: str
    commitment: str
    own: str = KEYLESS
    peer: str = KEYLESS

    def check(self) -> None:
        """Raises `BadInput` where something is no digest: a Program without a commitment has no
        store, as nothing would tell a retrained model's weights from these.
        """
        for name in ("program", "commitment", "own", "peer"):
            if not _HEX.fullmatch(value := getattr(self, name)):
                raise BadInput(
                    f"a store is bound to 64 hexadecimal digits of its {name}, not to "
                    f"'{value[:80]}'; compile the model anew where its Program has no commitment"
                )

    def shared(self) -> bytes:
        """The same bytes at both parties."""
        ends = (self.own, self.peer) if self.role == "client" else (self.peer, self.own)
        return bytes.fromhex(self.program + self.commitment + "".join(ends))

    def differing(self, wanted: Terms) -> str:
        """What of these terms is not as it should be."""
        words = {
            "role": "the other party",
            "program": "another Program",
            "commitment": "other weights",
            "own": "another key of this side",
            "peer": "another peer",
        }
        return ", ".join(
            said for name, said in words.items() if getattr(self, name) != getattr(wanted, name)
        )

    def folder_in(self, root: Path) -> Path:
        """Where the store for these terms is kept, beside those for others."""
        name = hashlib.sha256(b"moiety store folder 1" + self.role.encode() + self.shared())
        return root / name.hexdigest()[:32]


class Binding(Terms, frozen=True, kw_only=True):
    """The terms, the store's format, and the lineage (32 hexadecimal digits)."""

    format: int = FORMAT
    lineage: str

    def digest(self) -> bytes:
        """What all that is in a store is authenticated with. No other store and no other party has
        the same.
        """
        numbers = self.format.to_bytes(4, "big") + self.role.encode() + bytes.fromhex(self.lineage)
        return hashlib.sha256(b"moiety store binding 1" + self.shared() + numbers).digest()

    @property
    def terms(self) -> Terms:
        return Terms(
            role=self.role,
            program=self.program,
            commitment=self.commitment,
            own=self.own,
            peer=self.peer,
        )


@dataclass(frozen=True)
class Offer:
    """What a party sends at the creation of a store."""

    nonce: bytes
    public: bytes

    def encode(self) -> bytes:
        return _OFFER + self.nonce + self.public

    @classmethod
    def decode(cls, data: bytes) -> Offer:
        """Raises `NetworkFailure` for bytes that are no offer."""
        body = data.removeprefix(_OFFER)
        if len(data) - len(body) != len(_OFFER) or len(body) != NONCE_BYTES + PUBLIC_BYTES:
            raise NetworkFailure("the peer's offer of a store is not understood")
        return cls(body[:NONCE_BYTES], body[NONCE_BYTES:])


@dataclass(frozen=True)
class Founding:
    """This side's half of a store that is about to be made."""

    terms: Terms
    offer: Offer

    @classmethod
    def begin(cls, key: StoreKey, terms: Terms) -> Founding:
        """Draws this side's random bytes. Raises as `Terms.check`."""
        terms.check()
        nonce = key.nonce()
        return cls(terms, Offer(nonce, key.signer(nonce).public_key().public_bytes_raw()))

    def binding(self, peer: Offer) -> Binding:
        """Raises `NetworkFailure` where the peer has sent this side's own offer back."""
        if peer == self.offer or peer.public == self.offer.public:
            raise NetworkFailure("the peer sent this side's own offer of a store back")
        first, second = (self.offer, peer) if self.terms.role == "client" else (peer, self.offer)
        whole = self.terms.shared() + first.encode() + second.encode()
        lineage = hashlib.sha256(b"moiety store lineage 1" + whole).digest()[:LINEAGE_BYTES]
        return Binding(
            role=self.terms.role,
            program=self.terms.program,
            commitment=self.terms.commitment,
            own=self.terms.own,
            peer=self.terms.peer,
            lineage=lineage.hex(),
        )
