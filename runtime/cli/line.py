"""With what a party's connections are secured, by its options."""

from __future__ import annotations

from pathlib import Path

import typer

from moiety.runtime.cli import ui
from moiety.runtime.party.credentials import Credentials, KeyFiles
from moiety.runtime.party.endpoints import is_loopback
from moiety.runtime.party.keystore import KeyStore, default_store


def credentials_for(
    host: str,
    keys: Path | None,
    certificate: Path | None,
    key: Path | None,
    authorities: Path | None,
    insecure: bool,
    peer: str | None = None,
) -> Credentials | None:
    """As `key_files_for`, read. Raises `BadInput`, too."""
    files = key_files_for(host, keys, certificate, key, authorities, insecure, peer)
    return files.read() if files else None


def key_files_for(
    host: str,
    keys: Path | None,
    certificate: Path | None,
    key: Path | None,
    authorities: Path | None,
    insecure: bool,
    peer: str | None = None,
) -> KeyFiles | None:
    """None for plain TCP: within this machine where no key is named, and with --insecure, of which
    the user is warned. Else the files of --cert, or the key of --keys or of the user's own store.
    Raises `typer.BadParameter` for options that contradict each other.
    """
    if (certificate is None) != (key is None):
        raise typer.BadParameter("--cert and --key go together")
    named = bool(keys or certificate or authorities or peer)
    if insecure:
        if certificate or authorities or peer:
            raise typer.BadParameter("--insecure contradicts --cert, --ca and --peer")
        ui.warn("--insecure: the line is open to all who sit on it")
        return None
    if not named and is_loopback(host):
        return None
    if not named and not KeyStore(default_store()).key_file.exists():
        return None  # who connects or listens refuses it, with all ways out
    return KeyFiles(
        store=keys or default_store(),
        certificate=certificate,
        key=key,
        authorities=authorities,
        peer=peer,
    )


def in_words(credentials: Credentials | None) -> str:
    return f"TLS with the key {credentials.own}" if credentials else "plain TCP, without keys"
