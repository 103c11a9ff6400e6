"""Where connections are made: addresses, the client's `connect`, the server's `Listener`."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass

from moiety.protocols.errors import BadInput, NetworkFailure
from moiety.runtime.party.framing import Limits
from moiety.runtime.party.transport import TcpChannel, reason

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


def secure(sock: socket.socket) -> socket.socket:
    """Makes a connected socket the stream that frames travel on. Plain TCP: use it inside a trusted
    network or a tunnel.
    """
    return sock


def _open(sock: socket.socket, peer: str, limits: Limits) -> TcpChannel:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, limits.socket_buffer)
    stream = secure(sock)
    stream.settimeout(min(_TICK, limits.silence / 2))
    return TcpChannel(stream, peer, limits)


def connect(
    host: str, port: int, timeout: float = 10.0, limits: Limits | None = None
) -> TcpChannel:
    """Connect as the client. Raises `NetworkFailure` saying what to look at."""
    where = f"{host}:{port}"
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
    return _open(sock, f"server {where}", limits or Limits())


@dataclass(frozen=True, eq=False)
class Incoming:
    """A connection that was accepted, and nothing more: who reads or writes it first opens it."""

    sock: socket.socket
    address: str
    port: int
    limits: Limits

    @property
    def peer(self) -> str:
        return f"client {self.address}:{self.port}"

    def open(self) -> TcpChannel:
        """Raises `NetworkFailure`."""
        return _open(self.sock, self.peer, self.limits)

    def silent(self) -> bool:
        """Once there is something to read: whether that is the end, and nothing was said."""
        try:
            return not self.sock.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def close(self) -> None:
        self.sock.close()


class Listener:
    """The server's listening socket. `port` and `address` (for `parse_address`) are real where 0
    was asked for.
    """

    def __init__(self, sock: socket.socket, limits: Limits) -> None:
        self._sock = sock
        self._limits = limits
        host, self.port = sock.getsockname()[:2]
        self.address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @classmethod
    def at(cls, host: str, port: int, limits: Limits | None = None) -> Listener:
        """Listens; port 0 takes any free one. Raises `NetworkFailure` when the address is taken or
        not this machine's.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            sock = socket.create_server((host, port), family=family, backlog=128)
        except (OSError, OverflowError) as error:
            raise NetworkFailure(
                f"cannot listen at {host}:{port}: {reason(error)}; choose another --listen address"
            ) from error
        sock.settimeout(_TICK)
        return cls(sock, limits or Limits())

    @property
    def sock(self) -> socket.socket:
        """What is ready to be read when somebody connects."""
        return self._sock

    def accept(self) -> TcpChannel | None:
        """The next connection, open; None and errors as `take`."""
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
        return Incoming(sock, address[0], address[1], self._limits)

    def close(self) -> None:
        self._sock.close()
