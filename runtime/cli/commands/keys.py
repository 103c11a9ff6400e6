"""This side's key, and the keys of the other side that it trusts.

Each side makes a key once and reads its fingerprint to the other one, by telephone: the hospital
and the vendor compare, character by character, and type it into `trust`. From then on both know
whom they talk to, and nobody between them can read or change what is sent.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moiety.protocols.errors import BadInput
from moiety.runtime.cli import ui
from moiety.runtime.cli.options import KEYS_VARIABLE
from moiety.runtime.operation.fingerprint import Fingerprint
from moiety.runtime.party.certificates import (
    certificate_bytes,
    check_dates,
    date,
    fingerprint,
    read_certificates,
)
from moiety.runtime.party.keystore import KeyStore, default_store

EXAMPLES = (
    "moiety keys new",
    "moiety keys show",
    "moiety keys trust vendor P56IOI7-MZJNU2Y-IQGDREY-DM2MGTI-MGL3BXN-PQ6W5BM-TBBZ4TJ-XZWICQ2",
    "moiety keys list",
    "moiety keys remove vendor",
)

app = typer.Typer()

StoreOption = Annotated[
    Path | None,
    typer.Option(
        "--keys",
        metavar="DIR",
        envvar=KEYS_VARIABLE,
        help="The folder of keys; the default is moiety/keys in the user's configuration.",
        show_default=False,
    ),
]
NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="What this side calls the peer.", show_default=False)
]


@app.command()
def new(
    keys: StoreOption = None,
    name: Annotated[
        str, typer.Option(metavar="TEXT", help="A name in the certificate; it proves nothing.")
    ] = "moiety",
    days: Annotated[
        int, typer.Option(min=1, max=36500, metavar="N", help="How long it is valid.")
    ] = 3650,
    replace: Annotated[
        bool, typer.Option("--replace", help="Even if there is a key; peers must trust it anew.")
    ] = False,
) -> None:
    """Make this side's key and its certificate, and show the fingerprint."""
    store = _store(keys)
    made = store.new(name, days, replace)
    ui.say(f"{store.folder}: a new key; its fingerprint, for the other side to trust, is")
    print(made)


@app.command()
def show(
    keys: StoreOption = None,
    pem: Annotated[
        bool, typer.Option("--pem", help="The certificate itself, which the other side may have.")
    ] = False,
) -> None:
    """Show this side's fingerprint, to be read to the other side."""
    store = _store(keys)
    _, certificate = store.own()
    if pem:
        print(certificate_bytes(certificate).decode(), end="")
        return
    print(fingerprint(certificate))
    ui.say(f"{store.certificate_file}: valid until {date(certificate.not_valid_after_utc)}")
    check_dates(certificate, f"{store.certificate_file}: this side's certificate", BadInput)


@app.command()
def trust(
    name: NameArgument,
    key: Annotated[
        str,
        typer.Argument(
            metavar="FINGERPRINT",
            help="As the other side reads it by telephone; or the file of its certificate.",
            show_default=False,
        ),
    ],
    keys: StoreOption = None,
) -> None:
    """Trust the peer that has the key with this fingerprint."""
    store = _store(keys)
    peer = _named(key)
    store.trust(name, peer)
    ui.say(f"'{name}' is trusted with the key")
    print(peer)


@app.command("list")
def list_(keys: StoreOption = None) -> None:
    """List all who are trusted: fingerprint and name."""
    store = _store(keys)
    known = store.trusted()
    for name, peer in known.items():
        print(f"{peer}  {name}")
    if not known:
        ui.say(f"{store.folder}: nobody is trusted; run: moiety keys trust NAME FINGERPRINT")


@app.command()
def remove(name: NameArgument, keys: StoreOption = None) -> None:
    """Trust this peer no more."""
    gone = _store(keys).remove(name)
    ui.say(f"'{name}' is not trusted any more; its key was {gone}")


def _store(folder: Path | None) -> KeyStore:
    return KeyStore(folder or default_store())


def _named(key: str) -> Fingerprint:
    """The fingerprint that is typed, or of the certificate in the file that is named."""
    file = Path(key)
    if not file.is_file():
        return Fingerprint.parse(key)
    found = fingerprint(read_certificates(file)[0])
    ui.say(f"{file}: compare this fingerprint with the other side, by telephone:\n  {found}")
    return found
