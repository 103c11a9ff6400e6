"""Certificates and keys in files: read, checked, made.

A certificate of Moiety's own is self-signed, of an Ed25519 key; its fingerprint says all. Those of
an existing PKI may be of any kind that TLS 1.3 takes.
"""

from __future__ import annotations

import datetime
import os
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import NameOID

from moiety.protocols.errors import BadInput, MoietyError
from moiety.runtime.operation.files import check_private
from moiety.runtime.operation.fingerprint import Fingerprint

PrivateKey = (
    ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
    | ec.EllipticCurvePrivateKey
    | rsa.RSAPrivateKey
)
_CLOCKS_DIFFER = datetime.timedelta(hours=1)
UNREADABLE = (ValueError, UnsupportedAlgorithm, x509.InvalidVersion, InternalError)
"""What keys and certificates that are none, or damaged, make the library raise."""


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def fingerprint(certificate: x509.Certificate) -> Fingerprint:
    return Fingerprint.of(certificate.public_bytes(serialization.Encoding.DER))


def self_signed(key: ed25519.Ed25519PrivateKey, name: str, days: int) -> x509.Certificate:
    """Valid from now (an hour ago, for clocks that differ)."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begin = now() - _CLOCKS_DIFFER
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + _CLOCKS_DIFFER + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, None)
    )


def key_bytes(key: ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def certificate_bytes(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def read_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """Those of a PEM file, one at least; DER is taken too. Raises `BadInput`."""
    data = _read(path)
    try:
        if b"-----BEGIN" in data:
            return tuple(x509.load_pem_x509_certificates(data))
        return (x509.load_der_x509_certificate(data),)
    except UNREADABLE as error:
        raise BadInput(
            f"{path}: no certificate in it that can be read; give a PEM file that begins with "
            "-----BEGIN CERTIFICATE-----"
        ) from error


def read_key(path: Path) -> PrivateKey:
    """The private key of a PEM file that its owner alone may read. Raises `BadInput`."""
    check_private(path)
    try:
        key = serialization.load_pem_private_key(_read(path), password=None)
    except TypeError as error:
        raise BadInput(
            f"{path}: the key is encrypted, and nobody is there to type its passphrase; write it "
            "without one: openssl pkey -in FILE -out NEW (into a folder of mode 0700)"
        ) from error
    except UNREADABLE as error:
        raise BadInput(f"{path}: no private key in PEM format in it that can be read") from error
    if not isinstance(key, PrivateKey):
        raise BadInput(
            f"{path}: keys of this kind cannot be used with TLS 1.3; take Ed25519, ECDSA or RSA"
        )
    return key


def check_dates(certificate: x509.Certificate, whose: str, kind: type[MoietyError]) -> None:
    """Raises `kind` where the certificate is not yet valid, or not any more."""
    begin, end, here = certificate.not_valid_before_utc, certificate.not_valid_after_utc, now()
    clock = f"it is {date(here)} here"
    if here < begin:
        raise kind(f"{whose} is not valid before {date(begin)}, and {clock}; look at both clocks")
    if here > end:
        raise kind(f"{whose} has expired on {date(end)}, and {clock}; a new one is needed")


def date(moment: datetime.datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise BadInput(f"{path}: " + ("not a file" if path.exists() else "no such file"))
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({os.strerror(error.errno or 0)})") from error
