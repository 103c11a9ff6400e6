"""Where connections are made: addresses, the client's `connect`, the server's `Listener`."""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
from dataclasses import dataclass, replace

from moiety.protocols.errors import BadInput, ContractViolation, NetworkFailure, UntrustedPeer
from moiety.runtime.party import handshake
from moiety.runtime.party.certificates import fingerprint
from moiety.runtime.party.credentials import Credentials, Distrust
from moiety.runtime.party.framing import MAGIC, Limits, Line
from moiety.runtime.party.tls import NotTls, TlsStream, context_of
from moiety.runtime.party.transport import TcpChannel, reason

_PORTS = re.compile(r"(.*:[0-9]+)-([0-9]{1,5})")
_TICK = 0.5
"""Seconds after which a blocked call looks at its clocks."""
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class OutOfDescriptors(NetworkFailure):
    """The system has none for another connection, for now."""


def parse_address(text: str) -> tuple[str, int]:
    """`HOST:PORT`, `[IPv6]:PORT` or `:PORT` (this machine). Raises `BadInput`."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise BadInput(f"'{text}' is not an address; write HOST:PORT, for example 127.0.0.1:7700")
    return host or "127.0.0.1", int(port)


def parse_listen(text: str) -> tuple[str, range]:
    """As `parse_address`, or `HOST:FIRST-LAST`: the ports of which one is to be taken."""
    found = _PORTS.fullmatch(text)
    host, first = parse_address(found[1] if found else text)
    last = int(found[2]) if found else first
    if not (found is None or 0 < first <= last <= 65535):
        raise BadInput(f"'{text}' is not a range of ports; write HOST:7701-7799, for example")
    return host, range(first, last + 1)


def is_loopback(host: str) -> bool:
    """Whether a connection to `host` stays within this machine."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower() == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _check_line(host: str, credentials: Credentials | None, insecure: bool) -> None:
    """The rule for TCP without TLS: within this machine, or where the user has said so. Raises
    `BadInput`, and so for keys that TLS does not take.
    """
    if credentials is not None:
        context_of(credentials)
    elif not insecure and not is_loopback(host):
        raise BadInput(
            f"{host} is not an address within this machine, and without a key the line would be "
            "open to all who sit on it. Make a key (moiety keys new), trust the other side's "
            "(moiety keys trust NAME FINGERPRINT), and give --keys DIR; or, inside a tunnel or a "
            "network that you trust, say --insecure on both sides"
        )


def _open(
    sock: socket.socket,
    peer: str,
    limits: Limits,
    credentials: Credentials | None,
    host: str | None,
    seconds: float,
) -> TcpChannel:
    """A channel over a connected socket, under TLS where there are credentials, with a peer that
    they believe. `host`: a client's word for the server, None at a server.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, limits.socket_buffer)
    tick = min(_TICK, limits.silence / 2)
    if credentials is None:
        sock.settimeout(tick)
        return TcpChannel(sock, peer, limits)
    stream = _shake_hands(sock, peer, limits, credentials, host is None, seconds)
    stream.settimeout(tick)
    return _believed(stream, peer, limits, credentials, host)


def _shake_hands(
    sock: socket.socket,
    peer: str,
    limits: Limits,
    credentials: Credentials,
    server: bool,
    seconds: float,
) -> TlsStream:
    """Raises `UntrustedPeer` where the peer speaks this protocol without TLS, else as
    `TlsStream.shake_hands`.
    """
    stream = TlsStream(sock, credentials, server)
    try:
        stream.shake_hands(peer, seconds)
    except NotTls as error:
        if not error.start.startswith(MAGIC):
            sock.close()
            raise
        sock.settimeout(_TICK)
        handshake.refuse(
            TcpChannel(sock, peer, limits),
            "untrusted",
            "this side speaks TLS only; give --keys DIR (moiety keys new makes a key)",
        )
        raise UntrustedPeer(
            f"{peer} speaks without TLS, and this side has keys: start the other side with keys, "
            "too (moiety keys new, then --keys DIR), or neither"
        ) from error
    except BaseException:
        sock.close()
        raise
    return stream


def _believed(
    stream: TlsStream, peer: str, limits: Limits, credentials: Credentials, host: str | None
) -> TcpChannel:
    """The channel, if the credentials believe the peer; else it is told, and `Distrust` raised."""
    shown = stream.shown(host)
    line = Line(credentials.own, fingerprint(shown.certificate), exporter=stream.exporter())
    channel = TcpChannel(stream, peer, limits, line)
    try:
        name = credentials.judge(shown, peer)
    except Distrust as error:
        handshake.refuse(channel, "untrusted", error.told)
        raise
    except BaseException:
        channel.abort()
        raise
    channel.line = replace(line, name=name)
    return channel


def connect(
    host: str,
    port: int,
    timeout: float = 10.0,
    limits: Limits | None = None,
    credentials: Credentials | None = None,
    insecure: bool = False,
) -> TcpChannel:
    """Connect as the client, with TLS where there are `credentials`; without them only within this
    machine, or if `insecure`. Raises `NetworkFailure` saying what to look at, `UntrustedPeer`,
    `BadInput`.
    """
    where = f"{host}:{port}"
    _check_line(host, credentials, insecure)
    try:
        sock = socket.create_connection((host, port), timeout=timeout)
    except socket.gaierror as error:
        raise NetworkFailure(
            f"cannot find the machine '{host}' ({error.strerror}); check the name in --connect"
        ) from error
    except ConnectionRefusedError as error:
        raise NetworkFailure(
            f"nothing listens at {where}: connection refused; is `moiety serve` running there, "
            "on this port, and does its firewall let you in?"
        ) from error
    except TimeoutError as error:
        raise NetworkFailure(
            f"no answer from {where} within {timeout:g} s; "
            "check the address and the firewalls between"
        ) from error
    except OSError as error:
        raise NetworkFailure(f"cannot connect to {where}: {reason(error)}") from error
    limits = limits or Limits()
    return _open(sock, f"server {where}", limits, credentials, host, limits.silence)


@dataclass(frozen=True, eq=False)
class Incoming:
    """A connection that was accepted, and nothing more: who reads or writes it first opens it."""

    sock: socket.socket
    address: str
    port: int
    limits: Limits
    credentials: Credentials | None = None

    @property
    def peer(self) -> str:
        return f"client {self.address}:{self.port}"

    def open(self, seconds: float = handshake.HANDSHAKE_SECONDS) -> TcpChannel:
        """With TLS where the listener has credentials, in at most so many seconds. Raises
        `NetworkFailure`, and `UntrustedPeer` after a word to the peer; the socket is closed then.
        """
        return _open(self.sock, self.peer, self.limits, self.credentials, None, seconds)

    def silent(self) -> bool:
        """Once there is something to read: whether that is the end, and nothing was said."""
        try:
            return not self.sock.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def close(self) -> None:
        self.sock.close()


def _listening(host: str, ports: range) -> socket.socket:
    """At the first of the ports that is free. Raises `NetworkFailure`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in ports:
        try:
            sock = socket.create_server((host, port), family=family, backlog=128)
        except (OSError, OverflowError) as error:
            taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            if taken and port != ports[-1]:
                continue
            raise NetworkFailure(
                f"cannot listen at {host}:{port}: {reason(error)}; choose another --listen address"
            ) from error
        sock.settimeout(_TICK)
        return sock
    raise ContractViolation("no port to listen at")


class Listener:
    """The server's listening socket, for TLS where there are `credentials`. `port` and `address`
    (for `parse_address`) are real where 0 was asked for.
    """

    def __init__(
        self, sock: socket.socket, limits: Limits, credentials: Credentials | None = None
    ) -> None:
        self._sock = sock
        self._limits = limits
        self._credentials = credentials
        host, self.port = sock.getsockname()[:2]
        self.address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @classmethod
    def at(
        cls,
        host: str,
        ports: int | range,
        limits: Limits | None = None,
        credentials: Credentials | None = None,
        insecure: bool = False,
    ) -> Listener:
        """Listens; port 0 takes any free one, a range its first free one. Without `credentials`
        only within this machine, or if `insecure`. Raises `NetworkFailure` when the address is
        taken or not this machine's, `BadInput`.
        """
        _check_line(host, credentials, insecure)
        sock = _listening(host, range(ports, ports + 1) if isinstance(ports, int) else ports)
        return cls(sock, limits or Limits(), credentials)

    @property
    def sock(self) -> socket.socket:
        """What is ready to be read when somebody connects."""
        return self._sock

    def accept(self) -> TcpChannel | None:
        """The next connection, open; None and errors as `take` and `Incoming.open`."""
        incoming = self.take()
        return None if incoming is None else incoming.open()

    def take(self) -> Incoming | None:
        """The next connection; None after half a second without one. Raises `OutOfDescriptors`,
        and `NetworkFailure` when closed.
        """
        try:
            sock, address = self._sock.accept()
        except (TimeoutError, BlockingIOError, ConnectionError):
            return None
        except OSError as error:
            if error.errno in _EXHAUSTED:
                raise OutOfDescriptors(reason(error)) from error
            raise NetworkFailure(f"the listening socket is closed ({reason(error)})") from error
        return Incoming(sock, address[0], address[1], self._limits, self._credentials)

    def close(self) -> None:
        """Nobody comes in any more; who is in stays."""
        self._sock.close()
