"""Channel over TCP: framing, limits, timeouts, and what a peer sees when the other one goes."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moiety.protocols.errors import BadInput, NetworkFailure
from moiety.runtime.party.endpoints import Listener, connect, parse_address, parse_listen
from moiety.runtime.party.framing import Frame, Limits, PeerClosed, PeerError
from moiety.runtime.party.tls import TlsStream
from moiety.runtime.party.transport import TcpChannel
from tests.support.lines import joined, two_credentials

QUICK = Limits(silence=1.5, patience=2.5, keepalive=0.1)


def accept(listener: Listener) -> TcpChannel:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        channel = listener.accept()
        if channel is not None:
            return channel
    raise AssertionError("nobody connected")


Connect = Callable[[Limits], tuple[TcpChannel, TcpChannel]]
"""Makes (server's end, client's end)."""


@pytest.fixture(params=["plain", "TLS"])
def make_pair(request: pytest.FixtureRequest, tmp_path: Path) -> Connect:
    if request.param == "plain":
        return lambda limits: joined(None, None, limits)
    vendor, hospital = two_credentials(tmp_path)
    return lambda limits: joined(vendor, hospital, limits)


@pytest.fixture
def pair(make_pair: Connect) -> Iterator[tuple[TcpChannel, TcpChannel]]:
    server, client = make_pair(QUICK)
    yield server, client
    server.abort()
    client.abort()


@pytest.fixture
def raw() -> Iterator[tuple[TcpChannel, socket.socket]]:
    """A channel whose peer is a bare socket in the test's hands."""
    listener = Listener.at("127.0.0.1", 0, QUICK)
    sock = socket.create_connection(("127.0.0.1", listener.port))
    channel = accept(listener)
    yield channel, sock
    channel.abort()
    sock.close()
    listener.close()


def trickled(sock: socket.socket, start: bytes, stop: threading.Event) -> threading.Thread:
    """`start`, and then a byte every now and then, until `stop` or for ten seconds."""

    def trickle() -> None:
        sock.sendall(start)
        with contextlib.suppress(OSError):
            for _ in range(200):
                if stop.wait(0.05):
                    return
                sock.send(b"x")
            sock.shutdown(socket.SHUT_RDWR)

    thread = threading.Thread(target=trickle)
    thread.start()
    return thread


def both(first: Callable[[], Any], second: Callable[[], Any]) -> tuple[Any, Any]:
    with ThreadPoolExecutor(2) as pool:
        futures: list[Future[Any]] = [pool.submit(first), pool.submit(second)]
        return futures[0].result(timeout=60), futures[1].result(timeout=60)


def test_bytes_arrive_in_order_whatever_their_cutting(pair: tuple[TcpChannel, TcpChannel]) -> None:
    server, client = pair
    rng = np.random.default_rng(1)
    data = rng.integers(0, 256, 3_000_000, dtype=np.uint8)
    cuts = np.sort(rng.integers(0, data.size, 300))

    def send() -> None:
        for piece in np.split(data, cuts):
            client.send(piece)
        client.flush()

    def receive() -> np.ndarray[Any, Any]:
        other = np.sort(rng.integers(0, data.size, 200))
        sizes = np.diff(np.concatenate([[0], other, [data.size]]))
        return np.concatenate([server.recv(int(n)) for n in sizes])

    _, got = both(send, receive)
    assert np.array_equal(got, data)
    assert client.meter.total.sent == server.meter.total.received == data.size
    assert server.wire_received >= data.size


def test_both_sides_send_50_megabytes_before_either_reads(make_pair: Connect) -> None:
    server, client = make_pair(Limits())
    messages = [np.full(50_000_000, value, np.uint8) for value in (7, 9)]

    def party(channel: TcpChannel, mine: int, theirs: int) -> None:
        channel.send(messages[mine])
        channel.flush()
        barrier.wait(timeout=60)
        assert np.array_equal(channel.recv(50_000_000), messages[theirs])

    barrier = threading.Barrier(2)
    both(lambda: party(server, 0, 1), lambda: party(client, 1, 0))
    server.close()
    client.close()


def test_array_keeps_dtype_bytes_and_small_sends_share_a_frame(
    raw: tuple[TcpChannel, socket.socket],
) -> None:
    channel, sock = raw
    channel.send(np.array([[1, 2], [3, 4]], np.uint64)[:, ::-1])
    channel.send(b"xyz")
    channel.flush()
    payload = np.array([2, 1, 4, 3], np.uint64).tobytes() + b"xyz"
    expected = struct.pack("<3sBI", b"MOI", Frame.DATA, len(payload)) + payload
    received = b""
    while len(received) < len(expected):
        received += sock.recv(4096)
    assert received == expected


def test_queue_bound_holds_a_sender_back(make_pair: Connect) -> None:
    limits = Limits(
        queue_bytes=1 << 20, frame_bytes=1 << 18, silence=5, patience=20, socket_buffer=1 << 16
    )
    server, client = make_pair(limits)
    data = np.arange(4_000_000, dtype=np.uint32)

    def slow_reader() -> np.ndarray[Any, Any]:
        time.sleep(0.3)
        assert client._queued_bytes <= 1 << 20
        return server.recv(data.nbytes).view(np.uint32)

    def sender() -> None:
        client.send(data)
        client.flush()

    _, got = both(sender, slow_reader)
    assert np.array_equal(got, data)
    server.abort()
    client.abort()


def test_keepalive_outlasts_the_silence_limit_while_the_peer_computes(
    pair: tuple[TcpChannel, TcpChannel],
) -> None:
    server, client = pair
    client.send(b"start")
    client.flush()

    def slow() -> None:
        server.send_message(b"{}")
        time.sleep(2.0)
        server.send(b"result")
        server.flush()

    def wait() -> bytes:
        client.receive_message()
        return client.recv(6).tobytes()

    assert both(slow, wait)[1] == b"result"


def test_silent_peer_times_out(raw: tuple[TcpChannel, socket.socket]) -> None:
    with pytest.raises(NetworkFailure, match=r"silent for 1\.5 s"):
        raw[0].recv(1)


def test_peer_that_only_keeps_alive_exhausts_patience(pair: tuple[TcpChannel, TcpChannel]) -> None:
    server, client = pair
    server.send_message(b"{}")
    client.receive_message()
    at_last = threading.Timer(10.0, server.abort)
    at_last.start()
    with pytest.raises(NetworkFailure, match="alive but has sent nothing"):
        client.recv(1)
    at_last.cancel()


def test_deadline_stops_a_trickle(raw: tuple[TcpChannel, socket.socket]) -> None:
    channel, sock = raw
    stop = threading.Event()
    thread = trickled(sock, struct.pack("<3sBI", b"MOI", Frame.MESSAGE, 1000), stop)
    try:
        with pytest.raises(NetworkFailure, match="nothing complete"), channel.deadline(0.5):
            channel.receive_message()
    finally:
        stop.set()
        thread.join()


def test_patience_ends_with_a_frame_that_trickles(raw: tuple[TcpChannel, socket.socket]) -> None:
    """Bytes that keep coming do not put it off: nothing else ends a client's wait."""
    channel, sock = raw
    stop = threading.Event()
    thread = trickled(sock, struct.pack("<3sBI", b"MOI", Frame.DATA, 10_000), stop)
    try:
        with pytest.raises(NetworkFailure, match=r"begun is not complete after 2\.5 s"):
            channel.recv(10_000)
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("deadline", [None, 0.5])
def test_a_record_that_trickles_is_silence(deadline: float | None, tmp_path: Path) -> None:
    """Of a TLS record there is nothing to read before it is whole, and the clocks go on."""
    server, client = joined(*two_credentials(tmp_path), QUICK)
    stream = server._sock
    assert isinstance(stream, TlsStream)
    stop = threading.Event()
    thread = trickled(stream._sock, struct.pack(">BHH", 23, 0x303, 10_000), stop)
    allowed = contextlib.nullcontext() if deadline is None else client.deadline(deadline)
    try:
        words = "silent for 1.5 s" if deadline is None else "was too slow"
        with pytest.raises(NetworkFailure, match=words), allowed:
            client.receive_message()
    finally:
        stop.set()
        thread.join()
        for end in (server, client):
            end.abort()


def test_nothing_that_comes_last_keeps_a_channel_open(tmp_path: Path) -> None:
    """What was done is done: bytes that were changed after it are not looked at, nor do they keep
    the handle.
    """
    server, client = joined(*two_credentials(tmp_path), QUICK)
    stream, other = server._sock, client._sock
    assert isinstance(stream, TlsStream)
    assert isinstance(other, TlsStream)
    stream._sock.sendall(struct.pack(">BHH", 23, 0x303, 40) + bytes(40))
    client.close()
    assert other.fileno() == -1
    server.abort()


def test_goodbye_is_told_from_a_lost_connection(pair: tuple[TcpChannel, TcpChannel]) -> None:
    server, client = pair
    threading.Thread(target=server.close).start()
    with pytest.raises(PeerClosed) as caught:
        client.recv(1)
    assert caught.value.orderly


def test_lost_connection(raw: tuple[TcpChannel, socket.socket]) -> None:
    channel, sock = raw
    sock.sendall(struct.pack("<3sBI", b"MOI", Frame.DATA, 100) + b"half")
    sock.close()
    with pytest.raises(PeerClosed, match="middle of a frame") as caught:
        channel.recv(100)
    assert not caught.value.orderly


def test_error_frame_reaches_a_peer_that_is_sending(pair: tuple[TcpChannel, TcpChannel]) -> None:
    server, client = pair

    def flood() -> None:
        # A closing channel reads on for a second, so that its last frame is not overtaken
        # by a reset: send for longer.
        until = time.monotonic() + 30
        while time.monotonic() < until:
            client.send(np.zeros(1 << 20, np.uint8))

    def refuse() -> None:
        server.close(error=b'{"reason":"test"}')

    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(refuse)
        with pytest.raises(NetworkFailure) as caught:
            flood()
        closing.result(timeout=30)
    assert isinstance(caught.value, PeerError | PeerClosed)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "that is HTTP"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", "that is TLS"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "that is SSH"),
        (bytes(range(200, 240)), "first bytes are c8 c9"),
        (struct.pack("<3sBI", b"MOI", Frame.DATA, 17 << 20), "announced a frame"),
        (struct.pack("<3sBI", b"MOI", Frame.MESSAGE, 65 << 10), "announced a frame"),
        (struct.pack("<3sBI", b"MOI", 99, 0), "unknown kind 99"),
        (struct.pack("<3sBI", b"MOI", Frame.MESSAGE, 2) + b"{}", "out of step"),
        (struct.pack("<3sBI", b"MOI", Frame.DATA, 0), "out of step"),
    ],
)
def test_garbage(raw: tuple[TcpChannel, socket.socket], start: bytes, message: str) -> None:
    channel, sock = raw
    sock.sendall(start)
    with pytest.raises(NetworkFailure, match=message):
        channel.recv(4)


def test_connection_refused_says_what_to_do() -> None:
    listener = Listener.at("127.0.0.1", 0)
    port = listener.port
    listener.close()
    with pytest.raises(NetworkFailure, match="is `moiety serve` running"):
        connect("127.0.0.1", port)


def test_address_taken() -> None:
    listener = Listener.at("127.0.0.1", 0)
    with pytest.raises(NetworkFailure, match="cannot listen"):
        Listener.at("127.0.0.1", listener.port)
    listener.close()


def test_the_first_free_port_of_a_range() -> None:
    taken = Listener.at("127.0.0.1", 0)
    ports = range(taken.port, taken.port + 10)
    with closing(taken), closing(Listener.at("127.0.0.1", ports)) as listener:
        assert listener.port in ports[1:]
        with pytest.raises(NetworkFailure, match=f"cannot listen at 127.0.0.1:{listener.port}"):
            Listener.at("127.0.0.1", range(listener.port, listener.port + 1))


@pytest.mark.parametrize("text", ["host:7-6", "host:0-9", "host:1-65536", "host:1-2-3", "1-2"])
def test_what_is_no_range_of_ports(text: str) -> None:
    with pytest.raises(BadInput):
        parse_listen(text)
    assert parse_listen("my-host:7700-7702") == ("my-host", range(7700, 7703))
    assert parse_listen("[::1]:0") == ("::1", range(1))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_listening_address_can_be_given_to_the_client(host: str) -> None:
    try:
        listener = Listener.at(host, 0, QUICK)
    except NetworkFailure:
        assert host == "::1", "only IPv6 may be missing on a machine"
        pytest.skip("no IPv6 here")
    client = connect(*parse_address(listener.address), limits=QUICK)
    accept(listener).abort()
    client.abort()
    listener.close()


def test_closed_channel_refuses_to_send(pair: tuple[TcpChannel, TcpChannel]) -> None:
    server, _ = pair
    server.abort()
    server.send(b"x")
    with pytest.raises(NetworkFailure, match="closed"):
        server.flush()


def test_limits_are_a_value() -> None:
    assert replace(QUICK, silence=3.0).patience == QUICK.patience


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1:7700", ("10.0.0.1", 7700)),
        ("[::1]:80", ("::1", 80)),
        (":7700", ("127.0.0.1", 7700)),
        ("host.example:1", ("host.example", 1)),
    ],
)
def test_address(text: str, expected: tuple[str, int]) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text", ["7700", "host", "host:", "host:99999", "host:-1", "host:http", ""]
)
def test_bad_address(text: str) -> None:
    with pytest.raises(BadInput, match="is not an address"):
        parse_address(text)
