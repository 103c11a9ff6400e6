"""This side's key, and the keys that it trusts: a folder that its owner alone can enter.

key.pem            the private key, mode 0600 from its first byte
certificate.pem    its certificate, self-signed; the peer may have it
trusted/NAME       the fingerprint of a peer
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519

from moiety.protocols.errors import BadInput
from moiety.runtime.operation.files import check_private
from moiety.runtime.operation.fingerprint import Fingerprint
from moiety.runtime.party.certificates import (
    PrivateKey,
    certificate_bytes,
    fingerprint,
    key_bytes,
    read_certificates,
    read_key,
    self_signed,
)
from moiety.runtime.program.atomic import OWNER_ALONE, replacing

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def default_store() -> Path:
    """The user's folder of keys."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "moiety" / "keys"


@dataclass(frozen=True)
class KeyStore:
    """The folder; what is in it is read when it is asked for, so that `moiety keys trust` takes
    effect on a server that runs.
    """

    folder: Path

    @property
    def key_file(self) -> Path:
        return self.folder / "key.pem"

    @property
    def certificate_file(self) -> Path:
        return self.folder / "certificate.pem"

    def new(self, name: str, days: int, replace: bool = False) -> Fingerprint:
        """Make this side's key. Raises `BadInput` where there is one, unless it is to be
        replaced.
        """
        if self.key_file.exists() and not replace:
            raise BadInput(
                f"{self.key_file}: there is a key already, which peers may trust; "
                "`moiety keys show` shows it, and --replace makes another one"
            )
        self._make_folder(self.folder)
        key = ed25519.Ed25519PrivateKey.generate()
        certificate = self_signed(key, name, days)
        _write(self.key_file, key_bytes(key))
        _write(self.certificate_file, certificate_bytes(certificate))
        return fingerprint(certificate)

    def own(self) -> tuple[PrivateKey, x509.Certificate]:
        """This side's key and certificate. Raises `BadInput` where there is none, and where others
        may read it.
        """
        if not self.key_file.exists():
            raise BadInput(f"{self.folder}: no key in it; run: moiety keys new")
        check_private(self.folder)
        return read_key(self.key_file), read_certificates(self.certificate_file)[0]

    def trust(self, name: str, peer: Fingerprint) -> None:
        """Raises `BadInput` where the name stands for another key, or the key has another name."""
        place = self._place(name)
        for other, known in self.trusted().items():
            if other == name and known != peer:
                raise BadInput(
                    f"'{name}' is trusted with another key, {known}; "
                    f"if it is to be replaced, run first: moiety keys remove {name}"
                )
            if other != name and known == peer:
                raise BadInput(f"this key is trusted already, as '{other}'")
        self._make_folder(self.folder)
        self._make_folder(place.parent)
        _write(place, f"{peer}\n".encode())

    def remove(self, name: str) -> Fingerprint:
        """Trust this peer no more. Raises `BadInput` where there is none of this name."""
        known = self.trusted()
        if name not in known:
            names = ", ".join(known) or "nobody"
            raise BadInput(f"'{name}' is not trusted; {self.folder} knows {names}")
        self._place(name).unlink()
        return known[name]

    def trusted(self) -> dict[str, Fingerprint]:
        """Name -> key of all who are trusted, sorted. Raises `BadInput` for a damaged file."""
        folder = self.folder / "trusted"
        if not folder.is_dir():
            return {}
        check_private(self.folder)
        files = sorted(file for file in folder.iterdir() if _NAME.fullmatch(file.name))
        return {file.name: _fingerprint_in(file) for file in files}

    def _place(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise BadInput(
                f"'{name[:80]}' is not a name for a peer: take up to 64 letters, digits, '.', '_', "
                "'-', a letter or digit first"
            )
        return self.folder / "trusted" / name

    def _make_folder(self, folder: Path) -> None:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise BadInput(f"{folder}: cannot be made ({error.strerror})") from error
        check_private(folder)


def _fingerprint_in(file: Path) -> Fingerprint:
    try:
        return Fingerprint.parse(file.read_text(encoding="ascii").strip())
    except (OSError, ValueError, BadInput) as error:
        raise BadInput(
            f"{file}: no fingerprint in it that can be read ({error}); "
            f"remove it and run: moiety keys trust {file.name} FINGERPRINT"
        ) from error


def _write(path: Path, data: bytes) -> None:
    try:
        with replacing(path, OWNER_ALONE) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise BadInput(f"{path}: cannot be written ({error.strerror})") from error
