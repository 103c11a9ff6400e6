"""A connection as a protocol sees it: a `Channel` over one connected stream.

What the socket takes at once is sent by the caller, so that no other thread has to wake up first.
One thread per connection sends the rest, so that `send` never waits for the peer to read: both
sides may send large data at once. What waits to be sent is bounded (`Limits.queue_bytes`); a sender
beyond the bound is held back until the network has taken some. Receiving is done in the caller's
thread, straight into the buffer that is returned: nothing is copied on the way.

Two clocks guard a wait. *Silence*: no frame at all, not even a keep-alive, for `Limits.silence`
seconds: the peer or the network is dead. *Patience*: keep-alives come, but not the awaited data, or
the peer does not read, or what it has begun is not complete: it hangs, or computes for longer than
anything does, or the network is too slow.

The transport takes any connected stream that one thread may read while another one writes
(framing.Stream): a socket, or TLS over one (tls.py); runtime/party/endpoints makes them.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from moiety.protocols.channel import Channel
from moiety.protocols.errors import ContractViolation, NetworkFailure, UntrustedPeer
from moiety.runtime.party.framing import (
    HEADER,
    MAGIC,
    PLAIN,
    Frame,
    Limits,
    Line,
    PeerClosed,
    PeerError,
    Stream,
    looks_like,
)
from moiety.runtime.party.signals import held

_COALESCE = 16 * 1024
"""Bytes after which messages leave: so soon that the peer works on the first part of a flight while
the rest is made.
"""
_JOIN = 32 * 1024
"""Payload up to which a frame is copied into one piece."""
_GATHERED = 16
"""Pieces in one call."""


class TcpChannel(Channel):
    """A `Channel` over one connected stream, and the control frames beside it. `line`: between whom
    it is.

    `wire_sent` and `wire_received` count every byte of every frame, control and headers included;
    `meter` counts protocol bytes alone. One thread uses a channel at a time. Failures raise
    `NetworkFailure`; after one the channel can only be closed.
    """

    def __init__(
        self, stream: Stream, peer: str, limits: Limits | None = None, line: Line = PLAIN
    ) -> None:
        super().__init__()
        self.peer = peer
        self.line = line
        self.limits = limits or Limits()
        self.wire_sent = 0
        self.wire_received = 0
        self._sock = stream
        self._pending: list[memoryview] = []
        self._pending_bytes = 0
        self._queue: deque[memoryview] = deque()
        self._queued_bytes = 0
        self._writable = select.poll()
        self._writable.register(stream, select.POLLOUT)
        self._wake = threading.Condition()
        self._writer: threading.Thread | None = None
        self._putting = False
        self._last_put = time.monotonic()
        self._finishing = False
        self._closed = False
        self._write_failure: NetworkFailure | UntrustedPeer | None = None
        self._left_in_frame = 0
        self._receiving = False
        self._deadline: float | None = None

    @property
    def transferring(self) -> bool:
        """Whether something is under way: a frame that was begun and is waited for, or what the
        network has not taken yet.
        """
        return self._receiving or self._queued_bytes > 0

    # --- sending ----------------------------------------------------------------------------------

    def _write(self, data: memoryview) -> None:
        self._pending.append(data)
        self._pending_bytes += data.nbytes
        if self._pending_bytes >= _COALESCE:
            self.flush()

    def flush(self) -> None:
        """Hand what was sent so far to the network or the writer thread; waits only when
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
        frame, total = _frame(kind, parts, nbytes), HEADER.size + nbytes
        with self._wake:
            if self._queued_bytes:
                self._await_room(total)
            if self._closed:
                raise NetworkFailure(f"the connection with {self.peer} is closed")
            if not self._write_failure:
                self._queue.extend(frame)
                self._queued_bytes += total
                self._put_at_once()
                if self._writer is None:
                    self._writer = threading.Thread(
                        target=self._write_loop, name=f"moiety-writer {self.peer}", daemon=True
                    )
                    self._writer.start()
        if self._write_failure:
            self._explain_write_failure()

    def _await_room(self, nbytes: int) -> None:
        """With the lock held: until so many bytes more may wait."""
        patience = time.monotonic() + self.limits.patience
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
                    f"{self.peer} has not read what was sent "
                    f"for {self.limits.patience:g} s: it hangs"
                )

    def _put_at_once(self) -> None:
        """With the lock held: send what the socket takes without waiting. The writer does the rest,
        and meets what went wrong.
        """
        with contextlib.suppress(OSError):
            while self._queue and not self._putting and self._writable.poll(0):
                with held():
                    self._put_some()
        if self._queue:
            self._wake.notify_all()

    def _put_some(self) -> None:
        """With the lock held: give the socket what is first, and keep the rest. What a frame that
        leaves twice does at the peer is a failed check, which counts against this side's key. So
        signals are held; and where all the same something comes in between, such as the
        KeyboardInterrupt of a program that has not asked for `Stopped`, nobody knows what has left,
        and nothing may follow it.
        """
        try:
            count = self._send_first()
            self._count_put(count)
            while count and count >= self._queue[0].nbytes:
                count -= self._queue.popleft().nbytes
            if count:
                self._queue[0] = self._queue[0][count:]
        except OSError:
            raise  # the socket has taken nothing
        except BaseException:
            self.abort()
            raise

    def _send_first(self) -> int:
        """Gives the socket what is first in the queue; returns how many bytes it took. A header
        goes with its payload where the socket gathers, which TLS does not.
        """
        if len(self._queue) == 1 or not isinstance(self._sock, socket.socket):
            return self._sock.send(self._queue[0])
        return self._sock.sendmsg(itertools.islice(self._queue, _GATHERED))

    def _count_put(self, nbytes: int) -> None:
        self.wire_sent += nbytes
        self._queued_bytes -= nbytes
        self._last_put = time.monotonic()

    def _write_loop(self) -> None:
        try:
            while (data := self._next_to_put()) is not None:
                self._put_bytes(data)
                with self._wake:
                    self._putting = False
                    self._count_put(data.nbytes)
                    self._wake.notify_all()
        except (NetworkFailure, UntrustedPeer) as failure:
            with self._wake:
                self._write_failure = failure
                self._queue.clear()
                self._queued_bytes = 0
                self._wake.notify_all()

    def _next_to_put(self) -> memoryview | None:
        """The writer's next; a keep-alive when nothing else was sent for a while, None at the
        end.
        """
        with self._wake:
            while not self._queue and not self._finishing:
                idle = time.monotonic() - self._last_put
                if idle < self.limits.keepalive:
                    self._wake.wait(timeout=self.limits.keepalive - idle)
                else:
                    self._queue.extend(_frame(Frame.KEEPALIVE, [], 0))
                    self._queued_bytes += HEADER.size
            self._putting = bool(self._queue)
            return self._queue.popleft() if self._queue else None

    def _put_bytes(self, data: memoryview) -> None:
        sent, last_progress = 0, time.monotonic()
        while sent < data.nbytes:
            try:
                count = self._sock.send(data[sent:])
            except TimeoutError:
                if time.monotonic() - last_progress > self.limits.patience:
                    raise NetworkFailure(
                        f"{self.peer} has not read what was sent "
                        f"for {self.limits.patience:g} s: it hangs or is gone"
                    ) from None
                if self._closed:
                    raise NetworkFailure(f"the connection with {self.peer} is closed") from None
                continue
            except OSError as error:
                raise PeerClosed(
                    f"{self.peer} closed the connection ({reason(error)})", orderly=False
                ) from error
            sent += count
            last_progress = time.monotonic()

    def _explain_write_failure(self) -> None:
        """Raise what stopped the writer, or better the peer's own last word when it left one in
        the socket.
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
        while done < nbytes:
            if not self._left_in_frame:
                self._left_in_frame = self._next_frame(time.monotonic() + self.limits.patience)
            count = min(self._left_in_frame, nbytes - done)
            self._receiving = True
            self._fill(buffer[done : done + count])
            self._receiving = False
            self._left_in_frame -= count
            done += count
        return buffer

    def receive_message(self) -> bytes:
        """The payload of the next MESSAGE frame. Raises `PeerClosed` when the peer ends instead."""
        self.flush()
        if self._left_in_frame:
            raise NetworkFailure(
                f"{self.peer} is out of step: "
                f"{self._left_in_frame} protocol bytes more than were due"
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
        header = bytearray(HEADER.size)
        while True:
            self._fill(memoryview(header), at_boundary=True)
            magic, code, length = HEADER.unpack(header)
            if magic != MAGIC:
                raise NetworkFailure(
                    f"{self.peer} does not speak this protocol: {looks_like(bytes(header))}"
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
                            f"{self.peer} is alive but has sent nothing for "
                            f"{self.limits.patience:g} s: it hangs, or its machine is overloaded"
                        )
                case Frame.ERROR:
                    raise PeerError(self._control(length))
                case Frame.GOODBYE:
                    raise PeerClosed(f"{self.peer} ended the connection", orderly=True)
                case _ if code == wanted and (length or wanted is not Frame.DATA):
                    return int(length)
                case Frame.DATA | Frame.MESSAGE:
                    raise NetworkFailure(
                        f"{self.peer} is out of step: "
                        f"frame {Frame(code).name} where {wanted.name} was due"
                    )
                case _:
                    raise NetworkFailure(f"{self.peer} sent a frame of unknown kind {code}")

    def _control(self, length: int) -> bytes:
        payload = bytearray(length)
        self._fill(memoryview(payload))
        return bytes(payload)

    def _fill(self, target: memoryview, at_boundary: bool = False) -> None:
        done, heard = 0, time.monotonic()
        begun = math.inf
        while done < target.nbytes:
            try:
                count = self._sock.recv_into(target[done:])
            except TimeoutError:
                self._check_clocks(heard, begun)
                continue
            except OSError as error:
                raise PeerClosed(
                    f"{self.peer} closed the connection ({reason(error)})", orderly=False
                ) from error
            if count == 0:
                where = (
                    "without a goodbye" if at_boundary and not done else "in the middle of a frame"
                )
                raise PeerClosed(
                    f"{self.peer} closed the connection {where}: "
                    "its process ended or the network dropped it",
                    orderly=False,
                )
            done += count
            self.wire_received += count
            heard = time.monotonic()
            begun = min(begun, heard)
            self._check_clocks(heard, begun)

    def _check_clocks(self, heard: float, begun: float) -> None:
        now = time.monotonic()
        if self._deadline is not None and now > self._deadline:
            raise NetworkFailure(
                f"{self.peer} was too slow: nothing complete arrived in the time allowed"
            )
        if now - heard > self.limits.silence:
            raise NetworkFailure(
                f"{self.peer} has been silent for {self.limits.silence:g} s: "
                "its machine or the network is down"
            )
        if now - begun > self.limits.patience:
            raise NetworkFailure(
                f"{self.peer} is too slow: what it has begun is not complete after "
                f"{self.limits.patience:g} s"
            )

    # --- ending -----------------------------------------------------------------------------------

    def close(self, error: bytes | None = None) -> None:
        """Send what is queued, then a goodbye, and close; or `error`, before which no flight is
        completed: what broke it may have left a part of it. Never raises; waits a few seconds at
        most.
        """
        if self._closed:
            return
        if error is not None:
            self._pending, self._pending_bytes = [], 0
        with contextlib.suppress(NetworkFailure, UntrustedPeer):
            self.send_message(
                error if error is not None else b"", Frame.GOODBYE if error is None else Frame.ERROR
            )
        with self._wake:
            self._finishing = True
            self._wake.notify_all()
        if self._writer is not None:
            self._writer.join(timeout=5.0)
        self._closed = True
        # Closing with unread data makes the kernel send a reset, which can overtake our last frame.
        # So read the rest first.
        with contextlib.suppress(OSError, NetworkFailure, UntrustedPeer):
            self._sock.shutdown(socket.SHUT_WR)
            until = time.monotonic() + 1.0
            scrap = bytearray(1 << 16)
            while (
                self._write_failure is None
                and time.monotonic() < until
                and self._sock.recv_into(memoryview(scrap))
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


def reason(error: BaseException) -> str:
    """The operating system's words for it."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _frame(kind: Frame, parts: list[memoryview], nbytes: int) -> list[memoryview]:
    """A frame as it is sent: in one piece, but for a large last part."""
    header = HEADER.pack(MAGIC, kind, nbytes)
    if nbytes <= _JOIN:
        return [memoryview(b"".join((header, *parts)))]
    return [memoryview(b"".join((header, *parts[:-1]))), parts[-1]]
