"""TCP: the only file that knows sockets. Framing, limits, timeouts, keep-alive, orderly ends.

Frame, little endian: magic `b"MOI"`, kind u8, payload length u32, payload. Kinds:

    DATA       protocol bytes, a stream cut into frames without regard to messages (a protocol always knows how much
    comes next)
    MESSAGE    one JSON control message (runtime/party/handshake.py)
    ERROR      JSON `Refusal`; the sender closes after it
    GOODBYE    empty; an orderly end
    KEEPALIVE  empty; "this process lives", sent by the writer thread whenever nothing else was for some seconds

Sending is done by one thread per connection, so that `send` never waits for the peer to read: both
sides may send large data at once. What waits to be sent is bounded (`Limits.queue_bytes`); a sender
beyond the bound is held back until the network has taken some. Receiving is done in the caller's
thread, straight into the buffer that is returned: nothing is copied on the way.

Two clocks guard a wait. *Silence*: no frame at all, not even a keep-alive, for `Limits.silence`
seconds: the peer or the network is dead. *Patience*: keep-alives come, but not the awaited data (or
the peer does not read): it hangs, or computes for longer than anything does.

The transport takes any connected stream socket that one thread may read while another one writes;
`secure` below is where a connected socket becomes an encrypted one.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from moiety.protocols.channel import Channel
from moiety.protocols.errors import BadInput, ContractViolation, NetworkFailure

MAGIC = b"MOI"
_HEADER = struct.Struct("<3sBI")
_COALESCE = 256 * 1024
_JOIN = 32 * 1024
_TICK = 0.5


class Frame(IntEnum):
    DATA = 1
    MESSAGE = 2
    ERROR = 3
    GOODBYE = 4
    KEEPALIVE = 5


@dataclass(frozen=True)
class Limits:
    """Seconds and bytes; the defaults suit a run over the internet with steps of some minutes."""

    silence: float = 60.0
    patience: float = 600.0
    keepalive: float = 5.0
    frame_bytes: int = 16 << 20
    message_bytes: int = 64 << 10
    queue_bytes: int = 512 << 20
    socket_buffer: int = 4 << 20


class PeerError(NetworkFailure):
    """The peer sent an ERROR frame; `payload` is its body, undecoded."""

    def __init__(self, payload: bytes) -> None:
        super().__init__("the peer ended the connection with an error")
        self.payload = payload


class PeerClosed(NetworkFailure):
    """The peer ended the connection; `orderly` when it said goodbye."""

    def __init__(self, message: str, orderly: bool) -> None:
        super().__init__(message)
        self.orderly = orderly


class TcpChannel(Channel):
    """A `Channel` over one connected socket, and the control frames beside it.

    `wire_sent` and `wire_received` count every byte of every frame, control and headers included;
    `meter` counts protocol bytes alone. One thread uses a channel at a time. Failures raise
    `NetworkFailure`; after one the channel can only be closed.
    """

    def __init__(self, sock: socket.socket, peer: str, limits: Limits | None = None) -> None:
        super().__init__()
        self.peer = peer
        self.limits = limits or Limits()
        self.wire_sent = 0
        self.wire_received = 0
        self._sock = sock
        self._pending: list[memoryview] = []
        self._pending_bytes = 0
        self._queue: deque[tuple[Frame, list[memoryview], int]] = deque()
        self._queued_bytes = 0
        self._wake = threading.Condition()
        self._writer: threading.Thread | None = None
        self._finishing = False
        self._closed = False
        self._write_failure: NetworkFailure | None = None
        self._left_in_frame = 0
        self._deadline: float | None = None

    # --- sending ----------------------------------------------------------------------------------

    def _write(self, data: memoryview) -> None:
        self._pending.append(data)
        self._pending_bytes += data.nbytes
        if self._pending_bytes >= _COALESCE:
            self.flush()

    def flush(self) -> None:
        """Hand what was sent so far to the writer thread; waits only when
        `queue_bytes` are still unsent.
        """
        if not self._pending:
            return
        pending, total = self._pending, self._pending_bytes
        self._pending, self._pending_bytes = [], 0
        limit = self.limits.frame_bytes
        if total <= limit:
            self._enqueue(Frame.DATA, pending, total)
            return
        for view in pending:
            for start in range(0, view.nbytes, limit):
                piece = view[start : start + limit]
                self._enqueue(Frame.DATA, [piece], piece.nbytes)

    def send_message(self, payload: bytes, kind: Frame = Frame.MESSAGE) -> None:
        """One control frame, after everything sent before it."""
        if len(payload) > self.limits.message_bytes:
            raise ContractViolation(
                f"control message of {len(payload)} bytes, limit {self.limits.message_bytes}"
            )
        self.flush()
        self._enqueue(kind, [memoryview(payload)] if payload else [], len(payload))

    def _enqueue(self, kind: Frame, parts: list[memoryview], nbytes: int) -> None:
        patience = time.monotonic() + self.limits.patience
        with self._wake:
            while (
                self._queued_bytes
                and self._queued_bytes + nbytes > self.limits.queue_bytes
                and not self._write_failure
            ):
                if (
                    not self._wake.wait(timeout=max(0.0, patience - time.monotonic()))
                    and time.monotonic() >= patience
                ):
                    raise NetworkFailure(
                        f"{self.peer} has not read what was sent for {self.limits.patience:g} s: it hangs"
                    )
            if self._closed:
                raise NetworkFailure(f"the connection with {self.peer} is closed")
            if not self._write_failure:
                self._queue.append((kind, parts, nbytes))
                self._queued_bytes += nbytes
                if self._writer is None:
                    self._writer = threading.Thread(
                        target=self._write_loop, name=f"moiety-writer {self.peer}", daemon=True
                    )
                    self._writer.start()
                self._wake.notify_all()
        if self._write_failure:
            self._explain_write_failure()

    def _write_loop(self) -> None:
        try:
            while True:
                with self._wake:
                    if not self._queue and not self._finishing:
                        self._wake.wait(timeout=self.limits.keepalive)
                    if self._queue:
                        kind, parts, nbytes = self._queue.popleft()
                    elif self._finishing:
                        return
                    else:
                        kind, parts, nbytes = Frame.KEEPALIVE, [], 0
                self._put(kind, parts, nbytes)
                with self._wake:
                    self._queued_bytes -= nbytes
                    self._wake.notify_all()
        except NetworkFailure as failure:
            with self._wake:
                self._write_failure = failure
                self._queue.clear()
                self._queued_bytes = 0
                self._wake.notify_all()

    def _put(self, kind: Frame, parts: list[memoryview], nbytes: int) -> None:
        header = _HEADER.pack(MAGIC, kind, nbytes)
        if nbytes <= _JOIN:
            self._put_bytes(memoryview(b"".join((header, *parts))))
        else:
            for part in (memoryview(header), *parts):
                self._put_bytes(part)

    def _put_bytes(self, data: memoryview) -> None:
        sent, last_progress = 0, time.monotonic()
        while sent < data.nbytes:
            try:
                count = self._sock.send(data[sent:])
            except TimeoutError:
                if time.monotonic() - last_progress > self.limits.patience:
                    raise NetworkFailure(
                        f"{self.peer} has not read what was sent for {self.limits.patience:g} s: it hangs or is gone"
                    ) from None
                if self._closed:
                    raise NetworkFailure(f"the connection with {self.peer} is closed") from None
                continue
            except OSError as error:
                raise PeerClosed(
                    f"{self.peer} closed the connection ({_reason(error)})", orderly=False
                ) from error
            sent += count
            self.wire_sent += count
            last_progress = time.monotonic()

    def _explain_write_failure(self) -> None:
        """Raise what stopped the writer, or better the peer's own last word
        when it left one in the socket.
        """
        assert self._write_failure is not None
        with contextlib.suppress(PeerClosed), self.deadline(1.0):
            while True:
                skipped = self._left_in_frame or self._next_frame()
                self._fill(memoryview(bytearray(skipped)))
                self._left_in_frame = 0
        raise self._write_failure

    # --- receiving --------------------------------------------------------------------------------

    def _read(self, nbytes: int) -> memoryview:
        self.flush()
        buffer = np.empty(nbytes, np.uint8).data
        done = 0
        patience = time.monotonic() + self.limits.patience
        while done < nbytes:
            if not self._left_in_frame:
                self._left_in_frame = self._next_frame(patience)
            count = min(self._left_in_frame, nbytes - done)
            self._fill(buffer[done : done + count])
            self._left_in_frame -= count
            done += count
            patience = time.monotonic() + self.limits.patience
        return buffer

    def receive_message(self) -> bytes:
        """The payload of the next MESSAGE frame. Raises `PeerClosed` when the peer ends instead."""
        self.flush()
        if self._left_in_frame:
            raise ContractViolation(
                f"{self._left_in_frame} protocol bytes unread before a control message"
            )
        return self._control(
            self._next_frame(time.monotonic() + self.limits.patience, Frame.MESSAGE)
        )

    @contextmanager
    def deadline(self, seconds: float) -> Iterator[None]:
        """All receiving inside must be over in `seconds`, whatever the peer trickles."""
        before, self._deadline = self._deadline, time.monotonic() + seconds
        try:
            yield
        finally:
            self._deadline = before

    def _next_frame(self, patience: float | None = None, wanted: Frame = Frame.DATA) -> int:
        """Reads headers until one of kind `wanted`; returns its payload length (> 0 for DATA)."""
        header = bytearray(_HEADER.size)
        while True:
            self._fill(memoryview(header), at_boundary=True)
            magic, code, length = _HEADER.unpack(header)
            if magic != MAGIC:
                raise NetworkFailure(
                    f"{self.peer} does not speak this protocol: {_looks_like(bytes(header))}"
                )
            limit = self.limits.frame_bytes if code == Frame.DATA else self.limits.message_bytes
            if length > limit:
                raise NetworkFailure(
                    f"{self.peer} announced a frame of {length} bytes, the limit is {limit}"
                )
            match code:
                case Frame.KEEPALIVE:
                    self._control(length)
                    if patience is not None and time.monotonic() > patience:
                        raise NetworkFailure(
                            f"{self.peer} is alive but has sent nothing for {self.limits.patience:g} s: it hangs, "
                            "or its machine is overloaded"
                        )
                case Frame.ERROR:
                    raise PeerError(self._control(length))
                case Frame.GOODBYE:
                    raise PeerClosed(f"{self.peer} ended the connection", orderly=True)
                case _ if code == wanted and (length or wanted is not Frame.DATA):
                    return int(length)
                case Frame.DATA | Frame.MESSAGE:
                    raise NetworkFailure(
                        f"{self.peer} is out of step: frame {Frame(code).name} where {wanted.name} was due"
                    )
                case _:
                    raise NetworkFailure(f"{self.peer} sent a frame of unknown kind {code}")

    def _control(self, length: int) -> bytes:
        payload = bytearray(length)
        self._fill(memoryview(payload))
        return bytes(payload)

    def _fill(self, target: memoryview, at_boundary: bool = False) -> None:
        done, heard = 0, time.monotonic()
        while done < target.nbytes:
            try:
                count = self._sock.recv_into(target[done:])
            except TimeoutError:
                self._check_clocks(heard)
                continue
            except OSError as error:
                raise PeerClosed(
                    f"{self.peer} closed the connection ({_reason(error)})", orderly=False
                ) from error
            if count == 0:
                where = (
                    "without a goodbye" if at_boundary and not done else "in the middle of a frame"
                )
                raise PeerClosed(
                    f"{self.peer} closed the connection {where}: its process ended or the network dropped it",
                    orderly=False,
                )
            done += count
            self.wire_received += count
            heard = time.monotonic()
            self._check_clocks(heard)

    def _check_clocks(self, heard: float) -> None:
        now = time.monotonic()
        if self._deadline is not None and now > self._deadline:
            raise NetworkFailure(
                f"{self.peer} was too slow: nothing complete arrived in the time allowed"
            )
        if now - heard > self.limits.silence:
            raise NetworkFailure(
                f"{self.peer} has been silent for {self.limits.silence:g} s: its machine or the network is down"
            )

    # --- ending -----------------------------------------------------------------------------------

    def close(self, error: bytes | None = None) -> None:
        """Send what is queued, then a goodbye (or `error`), and close. Never raises;
        waits a few seconds at most.
        """
        if self._closed:
            return
        with contextlib.suppress(NetworkFailure):
            self.send_message(
                error if error is not None else b"", Frame.GOODBYE if error is None else Frame.ERROR
            )
        with self._wake:
            self._finishing = True
            self._wake.notify_all()
        if self._writer is not None:
            self._writer.join(timeout=5.0)
        self._closed = True
        # Closing with unread data makes the kernel send a reset, which can overtake our last
        # frame. So read the rest first.
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
            until = time.monotonic() + 1.0
            scrap = bytearray(1 << 16)
            while (
                self._write_failure is None
                and time.monotonic() < until
                and self._sock.recv_into(scrap)
            ):
                pass
        self.abort()

    def abort(self) -> None:
        """Close at once, without a word; wakes a thread that waits in it."""
        self._closed = True
        with self._wake:
            self._finishing = True
            self._wake.notify_all()
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()


def parse_address(text: str) -> tuple[str, int]:
    """`HOST:PORT`, `[IPv6]:PORT` or `:PORT` (this machine). Raises `BadInput`."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise BadInput(f"'{text}' is not an address; write HOST:PORT, for example 127.0.0.1:7700")
    return host or "127.0.0.1", int(port)


def secure(sock: socket.socket) -> socket.socket:
    """Makes a connected socket the stream that frames travel on. Plain TCP: use it inside
    a trusted network or a tunnel.
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
            f"nothing listens at {where}: connection refused; is `moiety serve` running there, on this port, "
            "and does its firewall let you in?"
        ) from error
    except TimeoutError as error:
        raise NetworkFailure(
            f"no answer from {where} within {timeout:g} s; check the address and the firewalls between"
        ) from error
    except OSError as error:
        raise NetworkFailure(f"cannot connect to {where}: {_reason(error)}") from error
    return _open(sock, f"server {where}", limits or Limits())


class Listener:
    """The server's listening socket. `port` and `address` (for `parse_address`)
    are real where 0 was asked for.
    """

    def __init__(self, sock: socket.socket, limits: Limits) -> None:
        self._sock = sock
        self._limits = limits
        host, self.port = sock.getsockname()[:2]
        self.address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    def accept(self) -> TcpChannel | None:
        """The next connection, or None after half a second without one. Raises
        `NetworkFailure` when closed.
        """
        try:
            sock, address = self._sock.accept()
        except TimeoutError:
            return None
        except ConnectionError:
            return None
        except OSError as error:
            raise NetworkFailure(f"the listening socket is closed ({_reason(error)})") from error
        return _open(sock, f"client {address[0]}:{address[1]}", self._limits)

    def close(self) -> None:
        self._sock.close()


def listen(host: str, port: int, limits: Limits | None = None) -> Listener:
    """Raises `NetworkFailure` when the address is taken or not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        sock = socket.create_server((host, port), family=family, backlog=32)
    except (OSError, OverflowError) as error:
        raise NetworkFailure(
            f"cannot listen at {host}:{port}: {_reason(error)}; choose another --listen address"
        ) from error
    sock.settimeout(_TICK)
    return Listener(sock, limits or Limits())


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _looks_like(start: bytes) -> str:
    if start[:4] in (b"GET ", b"POST", b"HEAD", b"PUT ", b"OPTI", b"HTTP", b"CONN"):
        return "that is HTTP"
    if start[:1] == b"\x16" and start[1:2] == b"\x03":
        return "that is TLS"
    if start[:4] == b"SSH-":
        return "that is SSH"
    return f"its first bytes are {start.hex(' ')}"
