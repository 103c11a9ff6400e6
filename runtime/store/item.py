"""The file of an item: named streams of bytes, encrypted and authenticated in chunks (AES-256-GCM).

    header     magic, 64 bytes
    chunk ...  1 MiB of one stream and its tag; of a stream's last chunk less
    footer     the streams: name, length, where each chunk begins; and its tag
    trailer    where the footer begins, 8 bytes

A file's key is derived from the key of stores, the store's binding, the item's index and 32 random
bytes, which the ledger keeps: a second attempt at the same index has another key, so no nonce, the
number of the stream and of the chunk, ever meets a key twice. With each chunk go the binding, the
index, the stream's name, the chunk's number and whether it is the last: a chunk from elsewhere, cut
off, doubled or moved is refused.
"""

from __future__ import annotations

import errno
import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from moiety.protocols.errors import BadArtifact, BadInput, ContractViolation
from moiety.runtime.operation.files import unusable
from moiety.runtime.program.decoding import UNREADABLE
from moiety.runtime.store.direct import Blocks, Spool
from moiety.runtime.store.key import StoreKey

Bytes = bytes | bytearray | memoryview
"""Contiguous; of an array `array.data`."""

CHUNK = 1 << 20
TAG = 16
SALT_BYTES = 32
DIGEST_BYTES = 32
STREAMS = 1 << 16
"""At most, of an item."""
PURPOSE = "a prepared item"
_MAGIC = b"moiety prepared item 1".ljust(64, b"\0")
_TRAILER = 8
AHEAD = 2
"""Chunks of a stream that are opened before they are asked for."""
FOOTER = (1 << 32) - 1
"""In place of a stream's number."""


class Stream(msgspec.Struct, frozen=True, array_like=True):
    """`at`: where each chunk begins in the file."""

    name: str
    length: int
    at: tuple[int, ...]


_footer = msgspec.json.Decoder(tuple[Stream, ...])


class DamagedItem(BadArtifact):
    """An item's file is not as it was written, or cannot be read. Others are not affected."""


@dataclass(frozen=True)
class ItemKey:
    """What seals and opens the chunks of one item's file."""

    binding: bytes
    index: int
    _cipher: AESGCM = field(repr=False)

    @classmethod
    def derived(cls, key: StoreKey, binding: bytes, index: int, salt: bytes) -> ItemKey:
        secret = key.derive(b"item" + index.to_bytes(8, "big") + salt, binding)
        return cls(binding, index, AESGCM(secret))

    def seal(self, stream: int, name: str, chunk: int, last: bool, data: Bytes) -> bytes:
        return self._cipher.encrypt(_nonce(stream, chunk), data, self._beside(name, chunk, last))

    def open(self, stream: int, name: str, chunk: int, last: bool, data: Bytes) -> bytes:
        """Raises `InvalidTag`."""
        return self._cipher.decrypt(_nonce(stream, chunk), data, self._beside(name, chunk, last))

    def _beside(self, name: str, chunk: int, last: bool) -> bytes:
        numbers = self.index.to_bytes(8, "big") + chunk.to_bytes(8, "big") + bytes([last])
        return self.binding + numbers + name.encode()


def _nonce(stream: int, chunk: int) -> bytes:
    return stream.to_bytes(4, "big") + chunk.to_bytes(8, "big")


def _flat(data: Bytes) -> memoryview:
    """As single bytes; an empty array cannot be cast."""
    view = memoryview(data)
    return view.cast("B") if view.nbytes else memoryview(b"")


def chunks_of(length: int) -> int:
    """An empty stream has an empty chunk, so that it cannot be taken away."""
    return max(1, -(-length // CHUNK))


# --- writing --------------------------------------------------------------------------------------


class StreamWriter:
    """A stream of an item that is being written; it holds less than two chunks in memory."""

    def __init__(self, item: ItemWriter, number: int, name: str) -> None:
        self._item, self._number, self.name = item, number, name
        self._held, self._filled = memoryview(bytearray(CHUNK)), 0
        self._at: list[int] = []
        self.length = 0

    def write(self, data: Bytes) -> None:
        """Raises `BadInput` where the disk does not take them: then the item cannot be finished."""
        view = _flat(data)
        self.length += len(view)
        done = 0
        while len(view) - done + self._filled > CHUNK:  # what is left may be the last chunk
            take = CHUNK - self._filled
            if self._filled:
                self._held[self._filled :] = view[done : done + take]
                self._put(self._held, False)
                self._filled = 0
            else:
                self._put(view[done : done + take], False)
            done += take
        end = self._filled + len(view) - done
        self._held[self._filled : end] = view[done:]
        self._filled = end

    def finish(self) -> Stream:
        self._put(self._held[: self._filled], True)
        return Stream(self.name, self.length, tuple(self._at))

    def _put(self, data: Bytes, last: bool) -> None:
        sealed = self._item.key.seal(self._number, self.name, len(self._at), last, data)
        self._at.append(self._item.put(sealed))


class ItemWriter:
    """An item that is being written to a file of another name."""

    def __init__(self, path: Path, key: ItemKey) -> None:
        self.path, self.key = path, key
        self.digest: bytes | None = None
        self.size = 0
        self._streams: dict[str, StreamWriter] = {}
        try:
            path.unlink(missing_ok=True)
            self._file = Spool(path)
        except OSError as error:
            raise unusable(path, PURPOSE, error) from error
        self.put(_MAGIC)

    def stream(self, name: str) -> StreamWriter:
        """The stream of this name, begun when it is first asked for. Streams may be written in
        turns.
        """
        if name not in self._streams:
            if not name or self.digest is not None or len(self._streams) == STREAMS:
                raise ContractViolation(f"no stream '{name}' can be begun in {self.path}")
            self._streams[name] = StreamWriter(self, len(self._streams), name)
        return self._streams[name]

    def seal(self, digest: bytes) -> None:
        """What both parties agree on for this item, 32 bytes: a hash of all that they exchanged to
        prepare it. Nothing can be written afterwards.
        """
        if len(digest) != DIGEST_BYTES or self.digest is not None:
            raise ContractViolation(f"{self.path} is sealed once, with {DIGEST_BYTES} bytes")
        streams = [stream.finish() for stream in self._streams.values()]
        where = self.put(self.key.seal(FOOTER, "", 0, True, msgspec.json.encode(streams)))
        self.put(where.to_bytes(_TRAILER, "big"))
        self.digest = digest

    def sync(self) -> None:
        """The file is on the disk when this returns. Raises `BadInput`."""
        try:
            self._file.finish()
        except OSError as error:
            raise unusable(self.path, PURPOSE, error) from error

    def put(self, data: bytes) -> int:
        """Where it begins in the file."""
        if self.digest is not None:
            raise ContractViolation(f"{self.path} is sealed")
        try:
            self._file.write(data)
        except OSError as error:
            raise unusable(self.path, PURPOSE, error) from error
        self.size += len(data)
        return self.size - len(data)

    def discard(self) -> None:
        """The file is no more, whatever state it was in."""
        self._file.discard()
        self.path.unlink(missing_ok=True)


# --- reading --------------------------------------------------------------------------------------


class StreamReader:
    """A stream of an item, read from its beginning. In memory it holds one chunk, and those that
    follow, which a thread of the item's opens while this one is used.
    """

    def __init__(self, item: ItemReader, number: int, stream: Stream) -> None:
        self._item, self._number, self._stream = item, number, stream
        self._chunk, self._held = -1, b""
        self._coming: dict[int, Future[bytes]] = {}
        self._at = 0

    @property
    def length(self) -> int:
        """Bytes."""
        return self._stream.length

    def take(self, nbytes: int) -> memoryview:
        """The next bytes, read-only; a copy only where they do not lie in one chunk. Raises
        `DamagedItem` where they are not as they were written.
        """
        if not 0 <= nbytes <= self.length - self._at:
            raise ContractViolation(
                f"{nbytes} bytes from {self._at} on of '{self._stream.name}', which has "
                f"{self.length}"
            )
        parts: list[memoryview] = []
        end = self._at + nbytes
        while self._at < end:
            chunk, begin = divmod(self._at, CHUNK)
            parts.append(self._open(chunk)[begin : begin + end - self._at])
            self._at += len(parts[-1])
        return parts[0] if len(parts) == 1 else memoryview(b"".join(parts))

    def read(self) -> bytes:
        """All that is left. Raises as `take`."""
        return bytes(self.take(self.length - self._at))

    def check(self) -> None:
        """Authenticates every chunk. Raises as `take`."""
        for chunk in range(len(self._stream.at)):
            self._open(chunk)

    def _open(self, chunk: int) -> memoryview:
        if chunk != self._chunk:
            self.expect(chunk)
            self._held, self._chunk = self._coming.pop(chunk).result(), chunk
        return memoryview(self._held)

    def expect(self, chunk: int = 0) -> None:
        """This chunk is asked for next, and then those that follow."""
        wanted = range(chunk, min(chunk + 1 + AHEAD, len(self._stream.at)))
        known = self._coming
        self._coming = {each: known.get(each) or self._begun(each) for each in wanted}

    def _begun(self, chunk: int) -> Future[bytes]:
        last = chunk == len(self._stream.at) - 1
        size = self.length - chunk * CHUNK if last else CHUNK
        where = self._stream.at[chunk]
        return self._item.begun(self._number, self._stream.name, chunk, last, where, size)


class ItemReader:
    """An item whose use is on the disk. Close it, or leave its `with`."""

    def __init__(self, path: Path, descriptor: int, key: ItemKey, digest: bytes, size: int) -> None:
        self.index, self.digest, self.size = key.index, digest, size
        self._path, self._descriptor, self._key = path, descriptor, key
        self._blocks: Blocks | None = None
        self._thread = ThreadPoolExecutor(1, "item")
        self._streams: dict[str, StreamReader] | None = None

    def __enter__(self) -> ItemReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def names(self) -> tuple[str, ...]:
        """Of its streams, in the order in which they were begun."""
        return tuple(self._load())

    def stream(self, name: str) -> StreamReader:
        """Raises `DamagedItem`."""
        streams = self._load()
        if name not in streams:
            raise ContractViolation(f"item {self.index} has no stream '{name}'")
        return streams[name]

    def check(self) -> None:
        """Authenticates the whole file. Raises as `stream`."""
        for stream in self._load().values():
            stream.check()

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def begun(
        self, stream: int, name: str, chunk: int, last: bool, at: int, size: int
    ) -> Future[bytes]:
        """A chunk of `size` bytes without its tag, as soon as it is read and opened."""
        if self._descriptor < 0:
            raise ContractViolation(f"item {self.index} is closed")
        try:
            return self._thread.submit(self.opened, stream, name, chunk, last, at, size)
        except RuntimeError as error:  # the system has no room for another thread
            raise BadInput(f"{self._path}: cannot be read: {error}") from error

    def opened(self, stream: int, name: str, chunk: int, last: bool, at: int, size: int) -> bytes:
        """The same at once."""
        sealed = self._bytes(at, size + TAG)
        try:
            return self._key.open(stream, name, chunk, last, sealed)
        except InvalidTag:
            what = f"chunk {chunk} of '{name}'" if name else "the list of streams"
            raise self._damaged(f"{what} is not as it was written") from None

    def _load(self) -> dict[str, StreamReader]:
        if self._streams is None:
            size = os.fstat(self._descriptor).st_size
            if size != self.size:
                raise self._damaged(f"its file has {size} bytes, and {self.size} were written")
            if size < len(_MAGIC) + _TRAILER or self._bytes(0, len(_MAGIC)) != _MAGIC:
                raise self._damaged("it is no item of this release")
            where = int.from_bytes(self._bytes(size - _TRAILER, _TRAILER), "big")
            length = size - _TRAILER - where - TAG
            if where < len(_MAGIC) or length < 0:
                raise self._damaged("it has no list of streams")
            listed = self._listed(self.opened(FOOTER, "", 0, True, where, length))
            self._streams = {
                each.name: StreamReader(self, number, each) for number, each in enumerate(listed)
            }
            for stream in self._streams.values():
                stream.expect()
        return self._streams

    def _listed(self, data: bytes) -> tuple[Stream, ...]:
        try:
            listed = _footer.decode(data)
        except UNREADABLE as error:
            raise self._damaged(f"another release wrote it ({error})") from error
        end = os.fstat(self._descriptor).st_size
        sound = all(
            0 <= each.length <= end
            and len(each.at) == chunks_of(each.length)
            and all(0 <= at <= end for at in each.at)
            for each in listed
        )
        if not sound or len({each.name for each in listed}) != len(listed):
            raise self._damaged("its list of streams makes no sense")
        return listed

    def _bytes(self, at: int, size: int) -> memoryview:
        """They stay until the next call."""
        if self._descriptor < 0:
            raise ContractViolation(f"item {self.index} is closed")
        try:
            if self._blocks is None:
                self._blocks = Blocks(self._descriptor)
            found = self._blocks.read(at, size)
        except OSError as error:
            if error.errno == errno.ENOMEM:  # nothing is wrong with the item
                raise unusable(self._path, PURPOSE, error) from error
            raise self._damaged(f"it cannot be read ({error.strerror or error})") from error
        if len(found) != size:
            raise self._damaged("it was cut")
        return found

    def _damaged(self, why: str) -> DamagedItem:
        return DamagedItem(
            f"{self._path}: prepared item {self.index} is damaged: {why}. It will not be used; the "
            "others can be"
        )
