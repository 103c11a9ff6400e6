"""What is sent ahead belongs to the sender's next flight, and is read where that begins."""

from __future__ import annotations

from tests.support.two_party import channel_pair


def test_what_is_sent_ahead_belongs_to_the_next_flight() -> None:
    sender, receiver = channel_pair()
    receiver.send(b"ask")
    first, second = receiver.expect(5), receiver.expect(3)
    assert sender.recv(3).tobytes() == b"ask"
    sender.send(b"first", ahead=True)
    sender.send(b"two", ahead=True)
    assert sender.meter.total.flights == 1
    sender.send(b"then")
    assert receiver.recv(4).tobytes() == b"then"
    assert (second().tobytes(), first().tobytes()) == (b"two", b"first")
    assert receiver.meter.total.received == sender.meter.total.sent == 12
    assert receiver.meter.total.flights == sender.meter.total.flights == 2


def test_what_is_expected_can_be_taken_first_and_twice() -> None:
    sender, receiver = channel_pair()
    receiver.send(b"ask")
    expected = [receiver.expect(1) for _ in range(2)]
    sender.recv(3)
    for byte in (b"a", b"b"):
        sender.send(byte, ahead=True)
    sender.send(b"!")
    assert expected[1]().tobytes() == b"b"
    assert expected[0]().tobytes() == expected[0]().tobytes() == b"a"
    assert receiver.recv(1).tobytes() == b"!"
