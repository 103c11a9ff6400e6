"""What is owed leaves in front of the next message, what is expected is read before it."""

from __future__ import annotations

import numpy as np

from moiety.protocols.arrays import U8
from tests.support.two_party import channel_pair


def octets(text: bytes) -> U8:
    return np.frombuffer(text, np.uint8)


def test_what_is_owed_leaves_with_the_next_message() -> None:
    sender, receiver = channel_pair()
    first, second = receiver.expect(5), receiver.expect(3)
    sender.owe(octets(b"first"))
    sender.owe(octets(b"two"))
    assert sender.meter.total.sent == 0
    sender.send(b"then")
    assert receiver.recv(4).tobytes() == b"then"
    assert (second().tobytes(), first().tobytes()) == (b"two", b"first")
    assert receiver.meter.total.received == sender.meter.total.sent == 12
    assert receiver.meter.total.flights == sender.meter.total.flights == 1


def test_what_is_expected_can_be_taken_alone_and_twice() -> None:
    sender, receiver = channel_pair()
    expected = [receiver.expect(1) for _ in range(3)]
    sender.owe(octets(b"a"))
    sender.owe(octets(b"b"))
    sender.settle()
    assert expected[1]().tobytes() == b"b"
    assert expected[0]().tobytes() == expected[0]().tobytes() == b"a"
    sender.send(b"c!")
    assert receiver.recv(1).tobytes() == b"!"
    assert expected[2]().tobytes() == b"c"


def test_settling_nothing_sends_nothing() -> None:
    sender, _ = channel_pair()
    sender.settle()
    assert sender.meter.total.flights == 0
