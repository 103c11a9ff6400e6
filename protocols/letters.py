"""Messages that wait: what a party makes while the peer works leaves with its next flight, and what
has come is read when there is time for it.

A protocol runs on `Letters` as on any channel. Whoever has the connection posts what was written,
and collects as many bytes as the peer's letters have, which both know.
"""

from __future__ import annotations

from moiety.protocols.arrays import U8
from moiety.protocols.channel import Channel
from moiety.protocols.errors import ContractViolation


class Letters(Channel):
    """Those of one party, written and read in order."""

    def __init__(self) -> None:
        super().__init__()
        self._written: list[memoryview] = []
        self._come = memoryview(b"")

    def _write(self, data: memoryview) -> None:
        self._written.append(data)

    def _read(self, nbytes: int) -> memoryview:
        if nbytes > self._come.nbytes:
            raise ContractViolation(
                f"{nbytes} bytes of the peer's letters are read, and {self._come.nbytes} are there"
            )
        read, self._come = self._come[:nbytes], self._come[nbytes:]
        return read

    def close(self) -> None:
        """Raises `ContractViolation` where something is left that nobody has sent or read."""
        left = sum(each.nbytes for each in self._written), self._come.nbytes
        if left != (0, 0):
            raise ContractViolation(f"{left[0]} bytes of letters are not sent, {left[1]} not read")

    def post(self, channel: Channel) -> None:
        """Sends what was written since the last time."""
        written, self._written = self._written, []
        for each in written:
            channel.send(each)

    def collect(self, channel: Channel, nbytes: int) -> None:
        """Receives so many bytes. Raises `ContractViolation` where others have not been read."""
        if self._come.nbytes:
            raise ContractViolation(f"{self._come.nbytes} bytes of the peer's letters are not read")
        received: U8 = channel.recv(nbytes)
        self._come = received.data
