"""What is made of the peer's position: whether either store is an older copy of itself."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from moiety.protocols.errors import BadArtifact, PeerMismatch
from moiety.runtime.store.key import StoreKey
from moiety.runtime.store.ledger import Ledger, Met, Prepared
from moiety.runtime.store.position import Claim, Entry, Position, Signed, catalogue_bytes

_OLDER = (
    "Items may have been used since it was copied, and using one twice would show an image, so "
    "nothing in it is used. `moiety prepare --anew` gives up both sides' stores and begins new "
    "ones; until then --on-demand runs without"
)


@dataclass(frozen=True)
class Meeting:
    """This side's ledger, and the key of its store."""

    folder: Path
    key: StoreKey
    ledger: Ledger

    def _signer(self) -> Ed25519PrivateKey:
        return self.key.signer(bytes.fromhex(self.ledger.head.nonce))

    def position(self, usable: Sequence[Prepared], listed: bool) -> Position:
        """Of a store with these items."""
        book, binding = self.ledger.book, self.ledger.head.binding
        entries = tuple(Entry(item.index, bytes.fromhex(item.digest)) for item in usable)
        claim = Claim(
            role=binding.role,
            lineage=bytes.fromhex(binding.lineage),
            counter=self.ledger.counter,
            head=self.ledger.tags[-1],
            next=book.next,
            fresh=book.fresh,
            count=len(entries),
            catalogue=hashlib.sha256(catalogue_bytes(entries)).digest(),
        )
        own = Signed.by(self._signer(), claim)
        return Position(own, self._remembered(), entries if listed else None)

    def meet(self, data: bytes) -> Position:
        """Raises as `Store.meet`."""
        position = Position.decode(data)
        self._check_store(position.claim)
        position.own.check(
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.ledger.head.peer_public)),
            "the peer's store",
        )
        if position.echo is not None:
            self._check_own(position.echo)
        remembered = self._remembered()
        if remembered is not None:
            self._check_peer(position.claim, remembered.claim)
        if position.own != remembered:
            self.ledger.append(Met(signed=position.own.encode().hex()))
        return position

    def confirm(self, data: bytes, index: int) -> Position:
        """Raises as `Store.confirm`."""
        position = self.meet(data)
        if position.claim.next <= index:
            raise PeerMismatch(
                f"the peer has not marked item {index} as used; it is not used here either, and is "
                "lost. If this is so every time, install the same release on both sides"
            )
        return position

    def passed(self) -> int:
        """No item before this one is ever used by the peer, by the last word that it signed."""
        remembered = self._remembered()
        return remembered.claim.next if remembered is not None else 0

    def _remembered(self) -> Signed | None:
        met = self.ledger.book.met
        return Signed.decode(bytes.fromhex(met)) if met else None

    def _check_store(self, claim: Claim) -> None:
        binding = self.ledger.head.binding
        if claim.lineage.hex() != binding.lineage or claim.role == binding.role:
            raise PeerMismatch(
                f"{self.folder}: the peer's store does not belong to this one: another Program, "
                "other weights, or one side was begun anew (moiety prepare --anew)"
            )

    def _check_own(self, echo: Signed) -> None:
        """What this side has once claimed must be in its ledger."""
        echo.check(self._signer().public_key(), "this side's store")
        claim, tags = echo.claim, self.ledger.tags
        if claim.counter > len(tags) or tags[claim.counter - 1] != claim.head:
            raise BadArtifact(
                f"{self.folder}: this store is an older copy: the peer has a claim signed by it "
                f"with {claim.counter} records, and it has {len(tags)} now. {_OLDER}"
            )

    def _check_peer(self, claim: Claim, remembered: Claim) -> None:
        """A claim that is not behind the one remembered, and equals it if it is as old."""
        behind = (
            claim.counter < remembered.counter
            or claim.next < remembered.next
            or claim.fresh < remembered.fresh
            or (claim.counter == remembered.counter and claim.head != remembered.head)
        )
        if behind:
            raise PeerMismatch(
                f"{self.folder}: the peer's store is an older copy: it has {claim.counter} records "
                f"now and had {remembered.counter}. {_OLDER}"
            )
