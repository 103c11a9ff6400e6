"""Who this side is, and whom it believes: what a TLS connection is made with, and the one place
where the peer's certificate is judged.

A peer is believed whose certificate is *pinned* (its fingerprint is in the key store, whatever
signed it), or else *vouched for* by an authority of --ca, and as a server also made out to the host
that was asked for. Both ways its dates must hold.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography import x509
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import (
    verify_certificate_hostname,
    verify_certificate_ip_address,
)

from moiety.protocols.errors import BadInput, UntrustedPeer
from moiety.runtime.operation.fingerprint import Fingerprint
from moiety.runtime.party.certificates import (
    UNREADABLE,
    PrivateKey,
    check_dates,
    fingerprint,
    read_certificates,
    read_key,
)
from moiety.runtime.party.keystore import KeyStore

OWN = "this side"
"""The name of whoever has this side's own key."""


class Distrust(UntrustedPeer):
    """This side does not believe the peer: `message` for its own user, `told` for the peer's."""

    def __init__(self, message: str, told: str) -> None:
        super().__init__(message)
        self.told = told


@dataclass(frozen=True)
class Shown:
    """What the peer has shown: its certificate, and what is wrong with the chain up to an
    authority ("" nothing). `host`: the name by which this side, a client, looked for it.
    """

    certificate: x509.Certificate
    chain_error: str
    host: str | None = None


@dataclass(frozen=True)
class Credentials:
    """`chain`: this side's certificate, and those between it and its authority. `peer`: the one
    name of `store` that is believed, None for all. `known`: believed beside those of `store`.
    """

    key: PrivateKey = field(repr=False)
    chain: tuple[x509.Certificate, ...]
    store: KeyStore | None = None
    authorities: tuple[x509.Certificate, ...] = ()
    peer: str | None = None
    known: Mapping[str, Fingerprint] = field(default_factory=dict)

    @classmethod
    def of_store(
        cls, folder: Path, peer: str | None = None, authorities: Path | None = None
    ) -> Credentials:
        """This side's key of the store, and the peers that it trusts. Raises `BadInput`."""
        store = KeyStore(folder)
        key, certificate = store.own()
        vouching = read_certificates(authorities) if authorities else ()
        return cls(key, (certificate,), store, vouching, peer).checked(store.certificate_file)

    @classmethod
    def of_files(
        cls,
        certificate: Path,
        key: Path,
        authorities: Path | None = None,
        store: Path | None = None,
        peer: str | None = None,
    ) -> Credentials:
        """PEM files of a PKI; peers of `store` are trusted as well. Raises `BadInput`."""
        return cls(
            read_key(key),
            read_certificates(certificate),
            KeyStore(store) if store else None,
            read_certificates(authorities) if authorities else (),
            peer,
        ).checked(certificate)

    def checked(self, file: Path) -> Credentials:
        """These, if they are of use now. Raises `BadInput` that names the certificate's `file`."""
        check_dates(self.chain[0], f"{file}: this side's certificate", BadInput)
        try:
            belongs = self.chain[0].public_key() == self.key.public_key()
        except UNREADABLE:
            belongs = False
        if not belongs:
            raise BadInput(f"{file}: this certificate is not of this side's private key")
        if self.peer is not None and self.peer not in self._pinned():
            raise BadInput(
                f"'{self.peer}' is not trusted; run: moiety keys trust {self.peer} FINGERPRINT"
            )
        return self

    @property
    def own(self) -> Fingerprint:
        """Of this side's certificate."""
        return fingerprint(self.chain[0])

    def only(self, peer: Fingerprint, name: str = "") -> Credentials:
        """The same, to believe this one peer and nobody else."""
        return replace(self, store=None, authorities=(), peer=None, known={name or OWN: peer})

    def with_own(self) -> Credentials:
        """The same, to believe those as well who have this side's own key."""
        return replace(self, known={**self.known, OWN: self.own})

    def judge(self, shown: Shown, who: str) -> str:
        """The name under which the peer is believed. Raises `Distrust`."""
        theirs = fingerprint(shown.certificate)
        pinned = {known: name for name, known in self._pinned().items()}
        name = pinned.get(theirs, "")
        if self.peer is not None and name != self.peer:
            raise self._distrust(who, theirs, f"is not '{self.peer}'")
        if not name:
            self._check_authority(shown, who, theirs)
        try:
            check_dates(shown.certificate, f"the certificate of {who}, {theirs},", UntrustedPeer)
        except UntrustedPeer as error:
            told = str(error).replace(f"of {who}", "that you showed")
            raise Distrust(str(error), told) from error
        return name

    def _pinned(self) -> dict[str, Fingerprint]:
        return {**self.known, **(self.store.trusted() if self.store else {})}

    def _check_authority(self, shown: Shown, who: str, theirs: Fingerprint) -> None:
        if not self.authorities:
            raise self._distrust(who, theirs, "is not trusted here")
        if shown.chain_error:
            raise self._distrust(
                who, theirs, f"is neither trusted here nor signed by --ca ({shown.chain_error})"
            )
        if shown.host is not None and not _made_out_to(shown.certificate, shown.host):
            raise self._distrust(
                who, theirs, f"is signed by --ca, but not made out to '{shown.host}'"
            )

    def _distrust(self, who: str, theirs: Fingerprint, why: str) -> Distrust:
        return Distrust(
            f"the key of {who} {why}: {theirs} (this side's is {self.own}). If it is the one that "
            f"its owner reads to you by telephone, run: moiety keys trust NAME {theirs}",
            f"your key {why.replace('here', 'there')}: {theirs} (theirs is {self.own}). Let them "
            f"compare it with you by telephone, and run: moiety keys trust NAME {theirs}",
        )


@dataclass(frozen=True, kw_only=True)
class KeyFiles:
    """Where credentials are read from: what one process tells another of them, instead of a key.
    `certificate` and `key`: of a PKI, both or neither; else the own key of `store`.
    """

    store: Path
    certificate: Path | None = None
    key: Path | None = None
    authorities: Path | None = None
    peer: str | None = None

    def read(self) -> Credentials:
        """Raises `BadInput`."""
        if self.certificate and self.key:
            return Credentials.of_files(
                self.certificate, self.key, self.authorities, self.store, self.peer
            )
        return Credentials.of_store(self.store, self.peer, self.authorities)


def _made_out_to(certificate: x509.Certificate, host: str) -> bool:
    try:
        if _is_address(host):
            verify_certificate_ip_address(certificate, host)
        else:
            verify_certificate_hostname(certificate, host)
    except (CertificateError, VerificationError, ValueError):
        return False
    return True


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
