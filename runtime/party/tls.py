"""TLS 1.3, both sides with a certificate, as a stream that one thread may read while another one
writes.

OpenSSL's state of a connection is for one thread at a time, so it works on memory (BIOs) under a
lock, and the socket is used outside of it. A send encrypts many records in one call; a receive
takes from the socket what is there, and gives it out record by record.

The handshake proves that the peer has the key of the certificate that it shows, and no more: whose
it is, is for `Credentials.judge`, before anything else is sent or read (endpoints.py).
"""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time

from cryptography import x509
from OpenSSL import SSL, crypto

from moiety.protocols.errors import BadInput, NetworkFailure, UntrustedPeer
from moiety.runtime.party.credentials import Credentials, Shown
from moiety.runtime.party.framing import PeerClosed, looks_like

_SUITES = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
"""All are beyond the 128 bits of the protocols; the first is the fastest."""
_RECORD = 16 * 1024
_CHUNK = 64 * 1024
"""What is encrypted in one call, and asked of the socket in one."""
_MADE = _CHUNK + 1024
"""More than a chunk's records take."""
_EXPORTER = b"EXPORTER-Channel-Binding"
"""RFC 9266."""
_PARTIAL_WRITE = 0x1
"""OpenSSL's SSL_MODE_ENABLE_PARTIAL_WRITE, a record per call, which pyOpenSSL sets without a name
for it.
"""
_HANDSHAKE = 0x16
"""The first byte of TLS."""
_CHAIN_ERRORS = {
    10: "it has expired",
    9: "it is not yet valid",
    18: "it is self-signed",
    19: "its authority is another one",
    20: "its authority is another one",
    21: "its authority is another one",
    26: "it is not made out for this side of a connection",
}
"""OpenSSL's verdicts on a chain, as far as they are common."""
_NOT_OURS = (
    "bad record mac",
    "decryption failed",
    "bad signature",
    "digest check failed",
    "invalid session id",
)


class NotTls(NetworkFailure):
    """What the peer said first is not TLS: `start` has it."""

    def __init__(self, peer: str, start: bytes) -> None:
        super().__init__(f"{peer} does not speak TLS: {looks_like(start)}")
        self.start = start


def context_of(credentials: Credentials) -> SSL.Context:
    """What a connection with these is made from. Raises `BadInput` where OpenSSL will not have
    them.
    """
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_tls13_ciphersuites(_SUITES)
    context.clear_mode(_PARTIAL_WRITE)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    try:
        context.use_certificate(credentials.chain[0])
        context.use_privatekey(credentials.key)
        for between in credentials.chain[1:]:
            context.add_extra_chain_cert(between)
    except SSL.Error as error:
        raise BadInput(f"TLS does not take this side's key: {_words(error)}") from error
    store = context.get_cert_store()
    assert store is not None
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    for authority in credentials.authorities:
        store.add_cert(crypto.X509.from_cryptography(authority))
    return context


class TlsStream:
    """A connected socket under TLS: as much of a socket as `TcpChannel` needs."""

    def __init__(self, sock: socket.socket, credentials: Credentials, server: bool) -> None:
        self._sock = sock
        self._chain_error = ""
        context = context_of(credentials)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, self._note)
        self._tls = SSL.Connection(context, None)
        (self._tls.set_accept_state if server else self._tls.set_connect_state)()
        self._lock = threading.Lock()
        self._unsent = memoryview(b"")
        self._stands_for = 0
        self._arrived = memoryview(bytearray(_CHUNK))

    def _note(self, tls: object, certificate: object, code: int, depth: int, good: int) -> bool:
        """Keeps the first thing that is wrong with the peer's chain; `judge` is told."""
        if code and not self._chain_error:
            self._chain_error = _CHAIN_ERRORS.get(code, f"OpenSSL's verification error {code}")
        return True

    # --- the handshake ----------------------------------------------------------------------------

    def shake_hands(self, peer: str, seconds: float) -> None:
        """Raises `NotTls` before anything was sent in answer, `UntrustedPeer` for bytes of another
        connection, `NetworkFailure` for all else.
        """
        until = time.monotonic() + seconds
        heard = False
        while not self._step(peer):
            left = until - time.monotonic()
            if left <= 0:  # whoever trickles bytes never lets a receive time out
                raise _too_slow(peer, seconds)
            self._sock.settimeout(left)
            count = self._receive(peer, seconds)
            start = bytes(self._arrived[:count])
            if not heard and start[0] != _HANDSHAKE:
                raise NotTls(peer, start[:8])
            heard = True
            self._tls.bio_write(start)

    def _step(self, peer: str) -> bool:
        """As far as what has arrived allows; True at the end."""
        try:
            self._tls.do_handshake()
            done = True
        except SSL.WantReadError:
            done = False
        except SSL.Error as error:
            with contextlib.suppress(OSError):
                self._sock.sendall(self._made())  # the alert that says it
            raise _failure(peer, error) from error
        try:
            self._sock.sendall(self._made())
        except OSError as error:
            raise PeerClosed(f"{peer} closed the connection ({error})", orderly=False) from error
        return done

    def _receive(self, peer: str, seconds: float) -> int:
        try:
            count = self._sock.recv_into(self._arrived)
        except TimeoutError:
            raise _too_slow(peer, seconds) from None
        except OSError as error:
            raise PeerClosed(f"{peer} closed the connection ({error})", orderly=False) from error
        if not count:
            raise PeerClosed(
                f"{peer} closed the connection in the TLS handshake: does it speak TLS?",
                orderly=False,
            )
        return count

    def shown(self, host: str | None) -> Shown:
        """After the handshake: what the peer has shown."""
        certificate = self._tls.get_peer_certificate(as_cryptography=True)
        assert isinstance(certificate, x509.Certificate)
        return Shown(certificate, self._chain_error, host)

    def exporter(self) -> bytes:
        """32 bytes that both ends of this connection have, and of no other."""
        return self._tls.export_keying_material(_EXPORTER, 32)

    # --- the stream -------------------------------------------------------------------------------

    def send(self, data: memoryview, /) -> int:
        """Bytes of `data` that have left; 0 where they are on their way. The next call must begin
        with what did not leave.
        """
        if not self._unsent:
            chunk = data[:_CHUNK]
            with self._lock:
                try:
                    self._tls.send(chunk)
                except SSL.Error as error:
                    raise _failure("the peer", error) from error
                self._unsent = memoryview(self._made())
            self._stands_for = chunk.nbytes
        count = self._sock.send(self._unsent)
        self._unsent = self._unsent[count:]
        return 0 if self._unsent else self._stands_for

    def recv_into(self, buffer: memoryview, /) -> int:
        """Some bytes, 0 at the end. Raises `TimeoutError` where no record is whole in time: bytes
        of one that keep coming do not put it off.
        """
        seconds = self._sock.gettimeout()
        until = math.inf if seconds is None else time.monotonic() + seconds
        while not (done := self._decrypted(buffer)):
            if self._tls.get_shutdown() & SSL.RECEIVED_SHUTDOWN:
                return 0
            if time.monotonic() > until:
                raise TimeoutError("no whole record")
            count = self._sock.recv_into(self._arrived)
            if not count:
                return 0
            with self._lock:
                self._tls.bio_write(self._arrived[:count])
        return done

    def _decrypted(self, buffer: memoryview) -> int:
        """As much as has arrived in whole records, and fits."""
        done = 0
        with self._lock:
            try:
                while done < buffer.nbytes:
                    wanted = min(buffer.nbytes - done, _RECORD)
                    done += self._tls.recv_into(buffer[done:], wanted)
            except (SSL.WantReadError, SSL.ZeroReturnError):
                pass
            except SSL.Error as error:
                raise _failure("the peer", error) from error
        return done

    def _made(self) -> bytes:
        """What the connection wants to have sent."""
        made = b""
        try:
            made = self._tls.bio_read(_MADE)
            while len(made) % _MADE == 0:
                made += self._tls.bio_read(_MADE)
        except SSL.WantReadError:
            pass
        return made

    def fileno(self) -> int:
        return self._sock.fileno()

    def settimeout(self, seconds: float | None, /) -> None:
        self._sock.settimeout(seconds)

    def shutdown(self, how: int, /) -> None:
        if how == socket.SHUT_WR and not self._unsent:
            with self._lock, contextlib.suppress(SSL.Error, OSError):
                self._tls.shutdown()
                self._sock.send(self._made())
        self._sock.shutdown(how)

    def close(self) -> None:
        self._sock.close()


def _too_slow(peer: str, seconds: float) -> NetworkFailure:
    return NetworkFailure(f"{peer} did not finish the TLS handshake within {seconds:g} s")


def _failure(peer: str, error: SSL.Error) -> NetworkFailure | UntrustedPeer:
    words = _words(error)
    if any(reason in words for reason in _NOT_OURS):
        return UntrustedPeer(
            f"what {peer} sent cannot be decrypted ({words}): it belongs to another connection, as "
            "bytes do that somebody has recorded and plays back, or it was changed on the way"
        )
    if "unsupported protocol" in words or "protocol version" in words:
        return NetworkFailure(f"{peer} speaks an older TLS than 1.3, which this side does not")
    if "did not return a certificate" in words or "certificate required" in words:
        return NetworkFailure(
            f"TLS with {peer}: a side has shown no certificate ({words}); is it Moiety?"
        )
    return NetworkFailure(f"TLS with {peer} failed: {words}")


def _words(error: SSL.Error) -> str:
    reasons = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return "; ".join(str(entry[-1]) for entry in reasons) or str(error) or type(error).__name__
