"""TLS between the two sides: who is believed, who is refused, and in whose words."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from moiety.protocols.errors import BadInput, MoietyError, NetworkFailure, UntrustedPeer
from moiety.protocols.session import Role
from moiety.runtime.operation.fingerprint import Fingerprint
from moiety.runtime.party import handshake
from moiety.runtime.party.credentials import Credentials
from moiety.runtime.party.endpoints import Listener, connect, is_loopback
from moiety.runtime.party.framing import Line
from moiety.runtime.party.keystore import KeyStore
from moiety.runtime.party.tls import TlsStream
from moiety.runtime.party.transport import TcpChannel
from tests.support.lines import (
    QUICK,
    Relay,
    accepting,
    dated,
    in_thread,
    issued,
    joined,
    play_to_client,
    play_to_server,
    save_pem,
    two_credentials,
)
from tests.support.runnable import small


def both_sides(
    server: Credentials | None, client: Credentials | None
) -> tuple[MoietyError | TcpChannel, MoietyError | TcpChannel]:
    """What each side has: a channel to a peer that said its Hello, or the refusal."""
    program, _ = small()
    listener = Listener.at("127.0.0.1", 0, QUICK, server)

    def meet(channel: TcpChannel, role: Role) -> TcpChannel:
        try:
            handshake.meet(channel, handshake.hello(role, program), 5.0)
        except BaseException:
            channel.abort()
            raise
        return channel

    arriving = accepting(listener)
    theirs = in_thread(lambda: meet(arriving.result(timeout=20), Role.SERVER))

    def ours() -> TcpChannel:
        channel = connect("127.0.0.1", listener.port, limits=QUICK, credentials=client)
        return meet(channel, Role.CLIENT)

    def outcome(body: Callable[[], TcpChannel]) -> MoietyError | TcpChannel:
        try:
            return body()
        except MoietyError as error:
            return error

    client_has = outcome(ours)
    server_has = outcome(lambda: theirs.result(timeout=20))
    listener.close()
    return server_has, client_has


def test_both_sides_know_each_other(tmp_path: Path) -> None:
    vendor, hospital = two_credentials(tmp_path)
    server, client = joined(vendor, hospital)
    assert (client.line.own, client.line.peer) == (hospital.own, vendor.own)
    assert (server.line.own, server.line.peer) == (vendor.own, hospital.own)
    assert (client.line.name, server.line.name) == ("vendor", "hospital")
    assert server.line.exporter == client.line.exporter != bytes(32)
    others = joined(vendor, hospital)
    ours, theirs = server.line.exporter, others[0].line.exporter
    assert all(ours[at : at + 4] != theirs[at : at + 4] for at in range(0, 32, 4))
    for channel in (server, client, *others):
        channel.abort()


def test_a_key_that_the_server_does_not_know_is_refused_in_words(tmp_path: Path) -> None:
    """Both users read both fingerprints, and the command."""
    vendor, hospital = two_credentials(tmp_path)
    assert vendor.store is not None
    vendor.store.remove("hospital")
    for said in both_sides(vendor, hospital):
        assert isinstance(said, UntrustedPeer)
        assert said.exit_code == 9
        for part in (str(vendor.own), str(hospital.own), f"moiety keys trust NAME {hospital.own}"):
            assert part in str(said)
    vendor.store.trust("hospital", hospital.own)
    assert all(isinstance(side, TcpChannel) for side in both_sides(vendor, hospital))


def test_a_key_that_the_client_does_not_know_is_refused_in_words(tmp_path: Path) -> None:
    vendor, hospital = two_credentials(tmp_path)
    assert hospital.store is not None
    hospital.store.remove("vendor")
    for said in both_sides(vendor, hospital):
        assert isinstance(said, UntrustedPeer)
        assert f"moiety keys trust NAME {vendor.own}" in str(said)


def test_a_client_may_insist_on_one_of_those_whom_it_trusts(tmp_path: Path) -> None:
    vendor, hospital = two_credentials(tmp_path)
    assert hospital.store is not None
    hospital.store.trust("other", KeyStore(tmp_path / "other").new("other", 1))
    assert isinstance(both_sides(vendor, replace(hospital, peer="vendor"))[1], TcpChannel)
    _, said = both_sides(vendor, replace(hospital, peer="other"))
    assert isinstance(said, UntrustedPeer)
    assert "is not 'other'" in str(said)
    with pytest.raises(BadInput, match="'nobody' is not trusted"):
        Credentials.of_store(hospital.store.folder, "nobody")


@pytest.mark.parametrize(
    ("begin", "end", "words"), [(-9, -2, "has expired on"), (2, 9, "is not valid before")]
)
@pytest.mark.parametrize("faulty", list(Role))
def test_certificates_out_of_their_dates_are_refused(
    begin: float, end: float, words: str, faulty: Role, tmp_path: Path
) -> None:
    sides = list(two_credentials(tmp_path))
    sides[faulty] = dated(sides[faulty], begin, end)
    judge = sides[1 - faulty].store
    assert judge is not None
    judge.remove(("vendor", "hospital")[faulty])
    judge.trust("dated", sides[faulty].own)
    year = str(sides[faulty].chain[0].not_valid_after_utc.year)
    for said in both_sides(sides[0], sides[1]):
        assert isinstance(said, UntrustedPeer)
        assert words in str(said)
        assert year in str(said)
    with pytest.raises(BadInput, match=f"this side's certificate {words}"):
        sides[faulty].checked(tmp_path / "certificate.pem")


def test_a_plain_client_is_told_that_the_server_takes_tls(tmp_path: Path) -> None:
    vendor, _ = two_credentials(tmp_path)
    server, client = both_sides(vendor, None)
    assert isinstance(server, UntrustedPeer)
    assert "speaks without TLS" in str(server)
    assert isinstance(client, UntrustedPeer)
    assert "this side speaks TLS only; give --keys DIR" in str(client)


def test_a_client_with_keys_is_told_that_the_server_speaks_without_tls(tmp_path: Path) -> None:
    _, hospital = two_credentials(tmp_path)
    server, client = both_sides(None, hospital)
    assert isinstance(server, MoietyError)
    assert isinstance(client, UntrustedPeer)
    assert "speaks without TLS, and this side has keys" in str(client)


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "does not speak TLS: that is HTTP"),
        (b"SSH-2.0-OpenSSH\r\n", "that is SSH"),
        (b"\x16\x03\x01\xff\xff" + bytes(600), "failed"),
        (b"", "closed the connection in the TLS handshake"),
    ],
)
def test_other_peoples_protocols(start: bytes, words: str, tmp_path: Path) -> None:
    vendor, _ = two_credentials(tmp_path)
    listener = Listener.at("127.0.0.1", 0, QUICK, vendor)
    arriving = accepting(listener)
    with socket.create_connection(("127.0.0.1", listener.port)) as sock:
        sock.sendall(start)
        sock.shutdown(socket.SHUT_WR)
        with pytest.raises(NetworkFailure, match=words):
            arriving.result(timeout=20)
    listener.close()


def test_who_says_nothing_is_dropped_in_time(tmp_path: Path) -> None:
    vendor, _ = two_credentials(tmp_path)
    listener = Listener.at("127.0.0.1", 0, QUICK, vendor)
    arriving = accepting(listener, seconds=0.3)
    with (
        socket.create_connection(("127.0.0.1", listener.port)),
        pytest.raises(NetworkFailure, match="did not finish the TLS handshake"),
    ):
        arriving.result(timeout=20)
    listener.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_browsers_and_older_tls_are_refused(version: ssl.TLSVersion, tmp_path: Path) -> None:
    """1.2 for its age, 1.3 for it shows no certificate."""
    vendor, _ = two_credentials(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = version
    listener = Listener.at("127.0.0.1", 0, QUICK, vendor)
    arriving = accepting(listener)
    with socket.create_connection(("127.0.0.1", listener.port)) as sock:
        with pytest.raises(ssl.SSLError), context.wrap_socket(sock) as browser:
            browser.recv(1)
        words = "older TLS than 1.3" if version < ssl.TLSVersion.TLSv1_3 else "no certificate"
        with pytest.raises(NetworkFailure, match=words):
            arriving.result(timeout=20)
    listener.close()


def recorded_hellos(vendor: Credentials, hospital: Credentials) -> Relay:
    """A connection that came about, as somebody on the line has seen it."""
    listener = Listener.at("127.0.0.1", 0, QUICK, vendor)
    relay = Relay(("127.0.0.1", listener.port))
    arriving = accepting(listener)
    client = connect("127.0.0.1", relay.port, limits=QUICK, credentials=hospital)
    client.send(np.zeros(1000, np.uint8))
    client.flush()
    server = arriving.result(timeout=20)
    assert len(server.recv(1000)) == 1000
    in_thread(client.close)
    server.close()
    relay.wait()
    listener.close()
    return relay


def test_recorded_bytes_are_refused_at_both_ends(tmp_path: Path) -> None:
    vendor, hospital = two_credentials(tmp_path)
    relay = recorded_hellos(vendor, hospital)
    listener = Listener.at("127.0.0.1", 0, QUICK, vendor)
    arriving = accepting(listener)
    play_to_server(bytes(relay.up), ("127.0.0.1", listener.port))
    with pytest.raises(UntrustedPeer, match="it belongs to another connection"):
        arriving.result(timeout=20)
    listener.close()
    port, _ = play_to_client(bytes(relay.down))
    with pytest.raises(UntrustedPeer, match="it belongs to another connection"):
        connect("127.0.0.1", port, limits=QUICK, credentials=hospital)


def test_a_changed_byte_ends_the_connection(tmp_path: Path) -> None:
    vendor, hospital = two_credentials(tmp_path)
    listener = Listener.at("127.0.0.1", 0, QUICK, vendor)

    def change(data: bytes) -> bytes:
        return data if len(data) < 5000 else data[:4000] + bytes([data[4000] ^ 1]) + data[4001:]

    relay = Relay(("127.0.0.1", listener.port), change)
    arriving = accepting(listener)
    client = connect("127.0.0.1", relay.port, limits=QUICK, credentials=hospital)
    server = arriving.result(timeout=20)
    client.send(np.zeros(100_000, np.uint8))
    client.flush()
    with pytest.raises(UntrustedPeer, match="it was changed on the way"):
        server.recv(100_000)
    for end in (client, server):
        end.abort()
    listener.close()


def test_what_a_session_rests_on(tmp_path: Path) -> None:
    """Both sides' binding is one, and another one where anything is different."""
    program, _ = small()
    server, client = (handshake.hello(role, program) for role in Role)
    keys = [Fingerprint.of(name) for name in (b"vendor", b"hospital", b"other")]

    def bound(own: int, peer: int, exporter: bytes = bytes(32), **changed: object) -> bytes:
        theirs = msgspec.structs.replace(server, **changed)
        return handshake.binding(Line(keys[own], keys[peer], "", exporter), client, theirs)

    at_server = handshake.binding(Line(keys[0], keys[1]), server, client)
    assert at_server == bound(1, 0)
    others = {
        handshake.binding(Line(), client, server),
        bound(2, 0),
        bound(1, 2),
        bound(0, 1),
        bound(1, 0, bytes(31) + b"\1"),
        bound(1, 0, program="00" * 32),
        bound(1, 0, protocol=9),
        bound(1, 0, package="9"),
        bound(1, 0, ot="silent"),
    }
    assert len(others | {at_server}) == 10


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.7", False),
        ("localhost.example", False),
        ("vendor.example", False),
    ],
)
def test_plain_tcp_stays_within_the_machine(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
    if not expected:
        with pytest.raises(BadInput, match=r"moiety keys new.*--keys.*--insecure on both sides"):
            Listener.at(host, 0)
        with pytest.raises(BadInput, match="--insecure on both sides"):
            connect(host, 7700)


def test_plain_tcp_beyond_the_machine_must_be_said() -> None:
    Listener.at("0.0.0.0", 0, insecure=True).close()


class Pki:
    """An authority with one between it and the two sides, of elliptic curves as most are."""

    def __init__(self, folder: Path, name: str = "root") -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.root = issued(name, self.key, None, authority=True)
        self.middle_key = ec.generate_private_key(ec.SECP256R1())
        self.middle = issued("middle", self.middle_key, (self.root, self.key), authority=True)
        self.file, _ = save_pem(folder, name, self.key, self.root)

    def side(self, name: str, *hosts: x509.GeneralName) -> Credentials:
        key = ed25519.Ed25519PrivateKey.generate()
        leaf = issued(name, key, (self.middle, self.middle_key), hosts)
        certificate, secret = save_pem(self.folder, name, key, leaf, self.middle)
        return Credentials.of_files(certificate, secret, self.file)


LOCAL = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


def test_certificates_of_a_pki(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    outcome = both_sides(pki.side("server", LOCAL), pki.side("client"))
    assert all(isinstance(side, TcpChannel) for side in outcome)


@pytest.mark.parametrize(
    "host", [x509.DNSName("vendor.example"), x509.IPAddress(ipaddress.ip_address("10.0.0.7"))]
)
def test_a_server_of_a_pki_must_be_the_one_that_was_asked_for(
    host: x509.GeneralName, tmp_path: Path
) -> None:
    pki = Pki(tmp_path)
    _, client = both_sides(pki.side("server", host), pki.side("client"))
    assert isinstance(client, UntrustedPeer)
    assert "not made out to '127.0.0.1'" in str(client)


def test_whom_another_authority_has_signed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    ours, theirs = Pki(tmp_path), Pki(tmp_path / "other", "other")
    server, client = both_sides(ours.side("server", LOCAL), theirs.side("client"))
    assert isinstance(server, UntrustedPeer)
    assert isinstance(client, UntrustedPeer)
    assert "its authority is another one" in str(client)


def test_files_of_a_pki_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    pki.side("a")
    pki.side("b")
    with pytest.raises(BadInput, match=r"a\.pem: this certificate is not of this side's"):
        Credentials.of_files(tmp_path / "a.pem", tmp_path / "b.key", pki.file)
    certificate = x509.load_pem_x509_certificate((tmp_path / "b.pem").read_bytes())
    der = certificate.public_bytes(serialization.Encoding.DER)
    known = bytes.fromhex("300506032b6570032100")  # the kind of its key, and one that nobody knows
    (tmp_path / "odd.pem").write_bytes(der.replace(known, known.replace(b"\x70", b"\x7f")))
    with pytest.raises(BadInput, match=r"odd\.pem: this certificate is not of this side's"):
        Credentials.of_files(tmp_path / "odd.pem", tmp_path / "b.key", pki.file)
    (tmp_path / "a.key").chmod(0o640)
    with pytest.raises(BadInput, match=r"a\.key: others may use it \(mode 0640\).*chmod 600"):
        Credentials.of_files(tmp_path / "a.pem", tmp_path / "a.key", pki.file)
    with pytest.raises(BadInput, match=r"b\.key: no certificate in it"):
        Credentials.of_files(tmp_path / "b.key", tmp_path / "b.key", pki.file)
    with pytest.raises(BadInput, match=r"gone: no such file"):
        Credentials.of_files(tmp_path / "gone", tmp_path / "b.key")


class Trickling(socket.socket):
    """A socket on which another byte is always there, of a record that is never whole."""

    def __init__(self) -> None:
        super().__init__(socket.AF_UNIX)
        self.left = [b"\x16", b"\x03", b"\x01", b"\x40", b"\x00", *[b"\x01"] * 5000]

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        time.sleep(0.001)
        buffer[:1] = self.left.pop(0)
        return 1

    def sendall(self, data: Any, flags: int = 0) -> None:
        assert not data  # there is nothing to answer before the record is whole


def test_a_handshake_that_trickles_ends_at_its_deadline(tmp_path: Path) -> None:
    """Bytes that keep coming do not put it off."""
    vendor, _ = two_credentials(tmp_path)
    with Trickling() as sock:
        stream = TlsStream(sock, vendor, server=True)
        with pytest.raises(NetworkFailure, match=r"did not finish the TLS handshake within 0\.2 s"):
            stream.shake_hands("client", 0.2)
        assert sock.left
