"""What is prepared ahead of the images, as commands of the client meet it: where it lies, how it is
taken from, and how it is filled.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from moiety.protocols.errors import BadInput, MoietyError
from moiety.runtime.cli import ui
from moiety.runtime.cli.progress import watching
from moiety.runtime.intake.text import printable
from moiety.runtime.operation.files import check_folder
from moiety.runtime.party.client import Connection
from moiety.runtime.party.client_stock import NothingPrepared
from moiety.runtime.party.keystore import default_store
from moiety.runtime.party.stock import Cellar, NewStore
from moiety.runtime.program import Program
from moiety.runtime.store.care import status
from moiety.runtime.store.key import StoreKey
from moiety.runtime.store.ledger import NAME as LEDGER
from moiety.runtime.store.limits import UNLIMITED, Limits
from moiety.runtime.store.store import OWNER_ENTERS

SUFFIX = ".prepared"

StoreOption = Annotated[
    Path | None,
    typer.Option(
        "--store",
        metavar="DIR",
        help="Where prepared items lie.  \\[default: MODEL.prepared beside the Program]",
        show_default=False,
    ),
]
OnDemandOption = Annotated[
    bool, typer.Option("--on-demand", help="Take nothing that was prepared (moiety prepare).")
]
SkipOption = Annotated[
    int,
    typer.Option(
        "--skip-to",
        min=0,
        metavar="N",
        help="Give up all prepared items before this one, at both sides, where the two differ by "
        "many.",
    ),
]
PreparedOption = Annotated[
    Path | None,
    typer.Option(
        "--prepared",
        metavar="DIR",
        help="Let clients prepare runs ahead (moiety prepare), and keep this side's halves there. "
        "As secret as the weights.",
        show_default=False,
    ),
]
PreparedItemsOption = Annotated[
    int,
    typer.Option(
        "--prepared-items",
        min=0,
        metavar="N",
        help="Runs that a client may have prepared, where the access file says nothing else.",
    ),
]


def cellar_of_server(
    root: Path | None, items: int, keys: Path | None, elsewhere: bool
) -> Cellar | None:
    """None where nothing is prepared. `elsewhere`: runs are computed by workers. Raises `BadInput`,
    also for these: a store is open in one process of one machine.
    """
    if root is None:
        return None
    if elsewhere:
        raise BadInput(
            "--prepared is of a server that computes itself, not of --cluster or --front"
        )
    check_folder(root, OWNER_ENTERS, "a folder of stores")
    return Cellar(root, StoreKey.at(keys or default_store()), Limits(items=items))


def cellar_at(
    root: Path | None, program: Path, keys: Path | None, limits: Limits = UNLIMITED
) -> Cellar:
    """`root`, or the folder beside the Program; with the key of stores of this side's keys, which
    is made if there is none. Raises `BadInput`.
    """
    return Cellar(folder_at(root, program), StoreKey.at(keys or default_store()), limits)


def folder_at(root: Path | None, program: Path) -> Path:
    """Where prepared items lie. Raises `BadInput` for what is there and is no folder."""
    folder = root or program.with_name(program.stem + SUFFIX)
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder}: prepared items lie in a folder, and this is none (--store)")
    return folder


def check_offered(connection: Connection, batch: int) -> None:
    """That the server runs so many images together. Raises `BadInput`, which says how many it does,
    and who may change that.
    """
    if batch not in connection.sizes:
        several = sorted(size for size in connection.server.batches if size > 1)
        together = f", or {' or '.join(map(str, several))} together" if several else ""
        raise BadInput(
            f"--batch {batch}: the server runs images one by one{together}; its vendor can offer "
            f"more (moiety serve --batch {batch})"
        )


def fill(connection: Connection, images: int, count: int, made: list[int]) -> None:
    """So many items more; `made` gets the bytes of each as it is finished."""
    begun = time.monotonic()
    with watching("preparing") as watch:
        for done in range(count):
            left = (time.monotonic() - begun) / done * (count - done) if done else 0.0
            what = f"{ui.megabytes(sum(made))}, about {left:.0f} s left, item" if done else "item"
            watch(done, count, what)
            made.append(connection.prepare(images))


def say_given_up(connection: Connection, images: int, skip_to: int) -> int:
    """How many items for runs of so many images were given up, if any were."""
    if gone := connection.given_up(images):
        items = ui.counted(gone, "item")
        ui.say(f"--skip-to {skip_to}: {items} for runs of {ui.images(images)} given up")
    return gone


def holds(root: Path, program: Program, keys: Path | None) -> bool:
    """Whether runs of this Program lie in `root`, prepared with whichever server. A store that
    cannot be read may have some: who opens it says what is wrong with it.
    """
    ledgers = sorted(root.glob(f"*/{LEDGER}"))
    if not ledgers:
        return False
    key = StoreKey.at(keys or default_store())
    for ledger in ledgers:
        try:
            found = status(ledger.parent, key)
        except MoietyError:
            return True
        if found.prepared and (found.role, found.program) == ("client", program.digest()):
            return True
    return False


def nothing_in(root: Path, for_whom: str = "") -> str:
    """Where there might be something."""
    where = f"{printable(root)}{for_whom}"
    return f"nothing is prepared in {where}: computing on demand (moiety prepare)"


@dataclass
class Shelf:
    """What a command takes prepared items from: those in `root`, or beside the `program`."""

    root: Path | None
    program: Path
    keys: Path | None
    on_demand: bool = False
    skip_to: int = 0
    _given_up: int = 0

    @property
    def cellar(self) -> Cellar | None:
        """None where nothing is taken, or nothing was ever prepared: then no key is made either."""
        there = not self.on_demand and folder_at(self.root, self.program).is_dir()
        return cellar_at(self.root, self.program, self.keys) if there else None

    def met(self, connection: Connection) -> None:
        """Opens what is prepared for the sizes of this connection's runs. Where the two sides do
        not agree, or one of them has nothing, it is said, and all is computed when it is asked for.
        """
        if (cellar := self.cellar) is None:
            if self.root is not None and not self.on_demand:
                ui.say(nothing_in(self.root))
            return
        why = "moiety prepare"
        for images in connection.sizes:
            try:
                left = connection.meet_stock(cellar, images, skip_to=self.skip_to)
            except NothingPrepared as error:
                why = str(error)
                continue
            self._given_up += say_given_up(connection, images, self.skip_to)
            if left:
                ui.say(f"prepared: {ui.counted(left, 'run')} of {ui.images(images)}")
        if not any(connection.prepared(images) for images in connection.sizes):
            if self._given_up:
                why = f"--skip-to {self.skip_to} leaves none"
            ui.say(f"nothing is prepared with this server: computing on demand ({why})")

    def empty(self, images: int) -> None:
        """All items for runs of so many images were taken."""
        ui.say(
            f"what was prepared for runs of {ui.images(images)} is used up: computing on demand "
            "from here on (moiety prepare)"
        )

    def top_up(self, connection: Connection, images: int, keep: int) -> None:
        """Until there are so many for runs of so many images, or of one where those are not
        offered. The results are there by then: where no more can be prepared, it is said.
        """
        size = next(size for size in connection.sizes if size <= images)
        cellar = cellar_at(self.root, self.program, self.keys)
        made: list[int] = []
        try:
            had = connection.meet_stock(cellar, size, NewStore.IF_NOTHING_IS_LOST, self.skip_to)
            say_given_up(connection, size, self.skip_to)
            fill(connection, size, max(0, keep - had), made)
        except (NothingPrepared, BadInput) as error:
            ui.warn(f"--keep {keep}: {error}")
        if made:
            ui.say(f"prepared {len(made)}; {connection.prepared(size)} can be used")
