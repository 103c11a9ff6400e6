"""The key of all stores of a party: 32 bytes of the operating system's, in a file beside the
identity key that its owner alone may read. Whatever a store needs is derived from it (HKDF).
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from moiety.protocols.errors import BadInput
from moiety.runtime.operation.files import check_private, make_folder, sync_folder, unusable
from moiety.runtime.program.atomic import OWNER_ALONE

NAME = "store.key"
KEY_BYTES = 32
NONCE_BYTES = 16
PURPOSE = "the key of stores"


@dataclass(frozen=True)
class StoreKey:
    """`secret` is the file's content; what uses it never sees it, but a key for its purpose."""

    secret: bytes = field(repr=False)

    @classmethod
    def at(cls, keys: Path) -> StoreKey:
        """The key of this folder, made if there is none. Raises `BadInput`."""
        path = keys / NAME
        try:
            if not path.exists():
                _make(path)
        except OSError as error:
            raise unusable(path, PURPOSE, error) from error
        return cls.read(keys)

    @classmethod
    def read(cls, keys: Path) -> StoreKey:
        """The key of this folder. Raises `BadInput` where there is none, it is damaged, or others
        may read it.
        """
        path = keys / NAME
        if not path.exists():
            raise BadInput(
                f"{path}: there is no key of stores; --keys names the folder that has it"
            )
        check_private(keys)
        check_private(path)
        try:
            secret = path.read_bytes()
        except OSError as error:
            raise unusable(path, PURPOSE, error) from error
        if len(secret) != KEY_BYTES:
            raise BadInput(
                f"{path}: {len(secret)} bytes, and a key of stores has {KEY_BYTES}: it is damaged; "
                "bring it back from a copy, or remove it together with all stores made with it"
            )
        return cls(secret)

    @staticmethod
    def nonce() -> bytes:
        """Random bytes for one store."""
        return os.urandom(NONCE_BYTES)

    def signer(self, nonce: bytes) -> Ed25519PrivateKey:
        """By which a store's positions are signed."""
        return Ed25519PrivateKey.from_private_bytes(self.derive(b"signer", nonce))

    def derive(self, purpose: bytes, salt: bytes) -> bytes:
        """32 bytes for one purpose, independent of all others."""
        info = b"moiety store 1 " + purpose
        return HKDF(hashes.SHA256(), KEY_BYTES, salt, info).derive(self.secret)


def _make(path: Path) -> None:
    """Whole under its name or not at all; of two processes that make one, the first wins."""
    make_folder(path.parent, 0o700)
    temporary = path.with_name(f".{NAME}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ALONE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
        sync_folder(path.parent)
