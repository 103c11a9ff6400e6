"""What is prepared ahead of the images: how much there is, whether it is sound, what can go.

FOLDER is a store, or a folder of stores, one for each Program, weights and peer. A prepared item is
used once. When it is used, or given up, its file is removed and the store's ledger says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from moiety.protocols.errors import BadArtifact
from moiety.runtime.cli import ui
from moiety.runtime.cli.options import KEYS_VARIABLE
from moiety.runtime.party.keystore import default_store
from moiety.runtime.store import care
from moiety.runtime.store.key import StoreKey
from moiety.runtime.store.limits import Limits
from moiety.runtime.store.store import Store

EXAMPLES = (
    "moiety store status prepared/",
    "moiety store verify prepared/ --json",
    "moiety store prune prepared/ --max-age-days 7",
)

app = typer.Typer()

FolderArgument = Annotated[
    Path,
    typer.Argument(
        metavar="FOLDER", help="A store, or a folder that has stores in it.", show_default=False
    ),
]
KeysOption = Annotated[
    Path | None,
    typer.Option(
        "--keys",
        metavar="DIR",
        envvar=KEYS_VARIABLE,
        help="The folder of keys, with the key of the stores; the default is moiety/keys in the "
        "user's configuration.",
        show_default=False,
    ),
]
AgeOption = Annotated[
    float | None,
    typer.Option(
        "--max-age-days",
        min=0,
        metavar="DAYS",
        help="What was prepared longer ago is too old to be used.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command()
def status(
    folder: FolderArgument,
    keys: KeysOption = None,
    max_age_days: AgeOption = None,
    json: JsonOption = False,
) -> None:
    """Show what is prepared, used and given up, also while a party is at work."""
    key, limits = _key(keys), Limits(age_days=max_age_days)
    found = [care.status(each, key, limits) for each in care.stores_in(folder)]
    if json:
        _print(found)
        return
    for each in found:
        ui.show(_facts(each))


def _facts(status: care.Status) -> Table:
    shown = ui.facts()
    peer = (
        "" if status.peer_counter is None else f"; the peer's, as last heard, {status.peer_counter}"
    )
    rows = {
        f"{status.role}'s store": Path(status.folder).name,
        "Program": status.program[:16],
        "prepared": f"{status.prepared}, {ui.megabytes(status.nbytes)}",
        "oldest": status.oldest or "-",
        "too old": str(status.expired),
        "used": str(status.used),
        "given up": str(status.burned),
        "next item": str(status.next),
        "records": f"{status.counter}{peer}",
        "disk": f"{ui.megabytes(status.free_bytes)} free",
    }
    for name, value in rows.items():
        shown.add_row(name, escape(value))
    return shown


@app.command()
def verify(folder: FolderArgument, keys: KeysOption = None, json: JsonOption = False) -> None:
    """Read all of it and check that it is as it was written. Exit code 6 where something is not."""
    key = _key(keys)
    found = {}
    for each in care.stores_in(folder):
        with Store.open(each, key) as store:
            found[each.name] = care.verify(store)
    if json:
        _print(found)
    else:
        _show_items(found)
    damaged = sum(item.problem is not None for items in found.values() for item in items)
    if damaged:
        raise BadArtifact(
            f"{folder}: damaged items: {damaged}; they will not be used, and `moiety store prune` "
            "removes them"
        )


@app.command()
def prune(
    folder: FolderArgument,
    keys: KeysOption = None,
    max_age_days: AgeOption = None,
    json: JsonOption = False,
) -> None:
    """Give up what is too old or damaged, and remove all files that are of no use."""
    key, limits = _key(keys), Limits(age_days=max_age_days)
    found = {}
    for each in care.stores_in(folder):
        with Store.open(each, key, limits=limits) as store:
            found[each.name] = care.prune(store)
    if json:
        _print(found)
        return
    if not any(done.expired or done.damaged or done.files for done in found.values()):
        ui.say("nothing is too old, damaged or left over: there is nothing to remove")
        return
    shown = ui.table("", "store", "too old", "damaged", "files removed", "MB", right=4)
    for name, done in found.items():
        counts = (len(done.expired), len(done.damaged), len(done.files))
        shown.add_row(escape(name), *map(str, counts), ui.megabytes(done.nbytes))
    ui.show(shown)


def _key(keys: Path | None) -> StoreKey:
    return StoreKey.read(keys or default_store())


def _print(found: object) -> None:
    print(msgspec.json.format(msgspec.json.encode(found)).decode())


def _show_items(found: Mapping[str, Sequence[care.Checked]]) -> None:
    if not any(found.values()):
        ui.say("no item waits to be used: there is nothing to verify")
        return
    shown = ui.table("", "store", "state", "item", "MB", right=2)
    for name, items in found.items():
        for item in items:
            state = "damaged" if item.problem else "sound"
            shown.add_row(escape(name), state, str(item.index), ui.megabytes(item.nbytes))
    ui.show(shown)
    for problem in (item.problem for items in found.values() for item in items if item.problem):
        ui.say(problem)
