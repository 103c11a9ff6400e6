"""Keys, certificates and connections under TLS, for tests."""

from __future__ import annotations

import datetime
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from moiety.runtime.party.certificates import PrivateKey, certificate_bytes, now
from moiety.runtime.party.credentials import Credentials
from moiety.runtime.party.endpoints import Listener, connect
from moiety.runtime.party.framing import Limits
from moiety.runtime.party.keystore import KeyStore
from moiety.runtime.party.transport import TcpChannel

QUICK = Limits(silence=5, patience=20, keepalive=0.3)
DAY = datetime.timedelta(days=1)


def two_stores(folder: Path) -> tuple[KeyStore, KeyStore]:
    """(vendor, hospital), who trust each other."""
    vendor, hospital = KeyStore(folder / "vendor"), KeyStore(folder / "hospital")
    theirs, ours = vendor.new("vendor", 10), hospital.new("hospital", 10)
    vendor.trust("hospital", ours)
    hospital.trust("vendor", theirs)
    return vendor, hospital


def two_credentials(folder: Path) -> tuple[Credentials, Credentials]:
    vendor, hospital = two_stores(folder)
    return Credentials.of_store(vendor.folder), Credentials.of_store(hospital.folder)


def dated(credentials: Credentials, begin_days: float, end_days: float) -> Credentials:
    """The same key, with a certificate that is valid between these days from now."""
    key = credentials.key
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    made = issued("dated", key, None, begin=now() + begin_days * DAY, end=now() + end_days * DAY)
    return replace(credentials, chain=(made,))


def issued(
    name: str,
    key: PrivateKey,
    issuer: tuple[x509.Certificate, PrivateKey] | None,
    hosts: tuple[x509.GeneralName, ...] = (),
    authority: bool = False,
    begin: datetime.datetime | None = None,
    end: datetime.datetime | None = None,
) -> x509.Certificate:
    """A certificate of a PKI; self-signed without an issuer."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = issuer[1] if issuer else key
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin or now() - DAY)
        .not_valid_after(end or now() + DAY)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if hosts:
        made = made.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
    kind = hashes.SHA256() if isinstance(signer, ec.EllipticCurvePrivateKey) else None
    return made.sign(signer, kind)


def save_pem(folder: Path, name: str, key: Any, *chain: x509.Certificate) -> tuple[Path, Path]:
    """(certificate file, key file)."""
    certificates, secret = folder / f"{name}.pem", folder / f"{name}.key"
    certificates.write_bytes(b"".join(certificate_bytes(each) for each in chain))
    secret.touch(mode=0o600)
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificates, secret


def in_thread(body: Callable[[], Any]) -> Future[Any]:
    """What `body` returns or raises, in time."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(body())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def accepting(listener: Listener, seconds: float = 5.0) -> Future[TcpChannel]:
    """The next connection of the listener, opened in a thread."""

    def accept() -> TcpChannel:
        incoming = None
        while incoming is None:
            incoming = listener.take()
        return incoming.open(seconds)

    return in_thread(accept)


def joined(
    server: Credentials | None, client: Credentials | None, limits: Limits = QUICK
) -> tuple[TcpChannel, TcpChannel]:
    """(server's end, client's end) of a connection over real TCP."""
    listener = Listener.at("127.0.0.1", 0, limits, server)
    try:
        theirs = accepting(listener)
        ours = connect("127.0.0.1", listener.port, limits=limits, credentials=client)
        return theirs.result(timeout=20), ours
    finally:
        listener.close()


class Relay:
    """Between a client and a server: hands on what either sends, and keeps it. `change` may alter
    a piece on its way to the server.
    """

    def __init__(self, address: tuple[str, int], change: Callable[[bytes], bytes] = bytes) -> None:
        self.up, self.down = bytearray(), bytearray()
        self._address, self._change = address, change
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.port = self._sock.getsockname()[1]
        self._thread = in_thread(self._run)

    def _run(self) -> None:
        client, _ = self._sock.accept()
        with client, socket.create_connection(self._address) as server:
            up = in_thread(lambda: _pump(client, server, self.up, self._change))
            _pump(server, client, self.down, bytes)
            up.result(timeout=20)

    def wait(self) -> None:
        """Until both have ended."""
        self._thread.result(timeout=30)
        self._sock.close()


def _pump(
    source: socket.socket, target: socket.socket, kept: bytearray, change: Callable[[bytes], bytes]
) -> None:
    try:
        while data := source.recv(1 << 16):
            kept += data
            target.sendall(change(data))
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, target):
            end.close()


def play_to_client(recorded: bytes) -> tuple[int, Future[None]]:
    """A port at which a server says what it has said before, whatever it hears."""
    sock = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with sock, sock.accept()[0] as client:
            client.sendall(recorded)
            while client.recv(1 << 16):
                pass

    return sock.getsockname()[1], in_thread(serve)


def play_to_server(recorded: bytes, address: tuple[str, int]) -> bytes:
    """What a server answers to a client that says what it has said before."""
    heard = bytearray()
    with socket.create_connection(address) as sock:
        sock.settimeout(20)
        try:  # a server that refuses may have closed before it is told all
            sock.sendall(recorded)
            sock.shutdown(socket.SHUT_WR)
            while data := sock.recv(1 << 16):
                heard += data
        except ConnectionError:
            pass
    return bytes(heard)
