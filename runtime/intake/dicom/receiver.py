"""A C-STORE service: what a PACS sends is laid into a folder, whole files under their UIDs.

A file is written beside its place as `.part`, flushed to disk and renamed, and only then is the
sender told that it is stored. A UID that comes again with the same bytes is the file that is there;
with others it is kept under a name of its own, for the intake to judge.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from pynetdicom import (
    AE,
    ALL_TRANSFER_SYNTAXES,
    AllStoragePresentationContexts,
    VerificationPresentationContexts,
    evt,
)

from moiety.protocols.errors import BadInput, NetworkFailure
from moiety.runtime.intake.dicom.header import is_uid

STORED, OUT_OF_RESOURCES, NOT_UNDERSTOOD = 0x0000, 0xA700, 0xC000
"""Status words of a C-STORE (PS3.4 B.2.3)."""

GRACE = 10.0
"""Seconds in which associations may end when the service is stopped."""

LONGEST_TITLE = 16


def parse_title(text: str) -> str:
    """An application entity's title. Raises `BadInput`."""
    title = text.strip()
    if not 0 < len(title) <= LONGEST_TITLE or not title.isascii() or "\\" in title:
        raise BadInput(f"'{text}' is no AE title: 1 to {LONGEST_TITLE} ASCII characters, no \\")
    if not title.isprintable():
        raise BadInput("an AE title has printable characters alone")
    return title


def file_name(uid: str) -> str:
    """A name for the file of a SOP instance; UIDs that are none become their hash, so that no
    sender chooses a path.
    """
    known = uid if is_uid(uid) else f"uid-{hashlib.sha256(uid.encode()).hexdigest()[:32]}"
    return f"{known}.dcm"


@dataclass
class Folder:
    """Where files are laid. One writer at a time; safe from several threads."""

    path: Path
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def prepare(self) -> None:
        """Make the folder, and see that it can be written to. Raises `BadInput`."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = self.path / f".{os.getpid()}.part"
            probe.touch(mode=0o600)
            probe.unlink()
        except OSError as error:
            raise BadInput(f"{self.path}: no folder to write to ({error.strerror})") from error

    def store(self, uid: str, data: bytes) -> tuple[str, bool]:
        """The name that `data` is under, and whether it is new. Raises `OSError`."""
        with self._lock:
            name = file_name(uid)
            if not self._is_free(name, data):
                name = f"{name.removesuffix('.dcm')}-{hashlib.sha256(data).hexdigest()[:16]}.dcm"
            place = self.path / name
            if place.exists():
                return name, False
            self._write(place, data)
            return name, True

    def _is_free(self, name: str, data: bytes) -> bool:
        place = self.path / name
        return not place.exists() or place.read_bytes() == data

    def _write(self, place: Path, data: bytes) -> None:
        part = place.with_name(f".{place.name}.part")
        try:
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.rename(place)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        folder = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class Receiver:
    """Listens while it is entered. `calling`: the titles of those who may send; `most`: how many
    files are taken before `wait` returns; `say`: told of every event, without header values.
    """

    def __init__(
        self,
        title: str,
        calling: Sequence[str],
        folder: Folder,
        say: Callable[[str], None],
        most: int | None = None,
    ) -> None:
        if not calling:
            raise BadInput("no AE title may send: name those that may (--calling)")
        self._folder, self._say, self._most = folder, say, most
        self._taken = 0
        self._enough = threading.Event()
        self._count = threading.Lock()
        self._entity = AE(ae_title=parse_title(title))
        self._entity.require_called_aet = True
        self._entity.require_calling_aet = [parse_title(each) for each in calling]
        for context in (*AllStoragePresentationContexts, *VerificationPresentationContexts):
            self._entity.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)
        self._server: Any = None

    def listen(self, host: str, port: int) -> int:
        """Start to listen; the port. Raises `NetworkFailure`."""
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_REJECTED, self._rejected),
        ]
        try:
            self._server = self._entity.start_server(
                (host, port), block=False, evt_handlers=handlers
            )
        except OSError as error:
            raise NetworkFailure(f"cannot listen on {host}:{port} ({error.strerror})") from error
        found: int = self._server.server_address[1]
        return found

    @property
    def taken(self) -> int:
        return self._taken

    def wait(self) -> None:
        """Until as many files were taken as wanted; without such a number, for ever."""
        while not self._enough.wait(timeout=1.0):
            pass

    def __enter__(self) -> Receiver:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Take no other senders, and let those that are there finish, for a while."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        end = time.monotonic() + GRACE
        while self._entity.active_associations and time.monotonic() < end:
            time.sleep(0.05)
        self._entity.shutdown()

    def _store(self, event: Any) -> int:
        try:
            uid = str(event.request.AffectedSOPInstanceUID)
            data = event.encoded_dataset()
        except Exception:  # a request of which pynetdicom makes no data set
            self._say("refused: not a data set")
            return NOT_UNDERSTOOD
        try:
            name, new = self._folder.store(uid, data)
        except OSError as error:
            self._say(f"not stored, the sender was told so: {error.strerror}")
            return OUT_OF_RESOURCES
        self._say(f"stored {name}, {len(data)} bytes" if new else f"{name} was here already")
        with self._count:
            self._taken += 1
            if self._taken == self._most:
                self._enough.set()
        return STORED

    def _rejected(self, event: Any) -> None:
        host = event.assoc.requestor.address
        self._say(f"{host} was rejected: its AE title may not send, or it called another one")
