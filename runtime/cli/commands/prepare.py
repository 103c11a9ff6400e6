"""Do what does not depend on the images before they are there (hospital).

Most of an inference can be computed ahead, together with the vendor's server, and kept at both
sides: each prepared item then serves one run of `moiety infer`, which takes a fraction of the time.
An item is used once, whatever happens. The server must offer it (`moiety serve --prepared`).

Items that are finished stay when this command is stopped or the connection breaks: give it again.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated

import msgspec
import typer

from moiety.protocols.errors import BadInput, MoietyError
from moiety.runtime.cli import ui
from moiety.runtime.cli.line import credentials_for
from moiety.runtime.cli.options import (
    AuthorityOption,
    CertificateOption,
    ConnectOption,
    InsecureOption,
    KeyOption,
    KeysOption,
    OtOption,
    PeerOption,
    ProgramArgument,
    SilenceOption,
    ThreadsOption,
)
from moiety.runtime.cli.prepared import (
    SkipOption,
    StoreOption,
    cellar_at,
    check_offered,
    fill,
    say_given_up,
)
from moiety.runtime.cli.programs import open_program
from moiety.runtime.party.client import Client
from moiety.runtime.party.endpoints import parse_address
from moiety.runtime.party.framing import Limits
from moiety.runtime.party.generator_choice import parse_ot
from moiety.runtime.party.memory import keep_freed
from moiety.runtime.party.signals import Stopped
from moiety.runtime.party.stock import NewStore

EXAMPLES = (
    "moiety prepare model.moiety --connect vendor.example:7700 --keep 40",
    "moiety prepare model.moiety --connect 10.0.0.7:7700 --count 10 --batch 16 --store /data/ahead",
)


class Took(msgspec.Struct, frozen=True, kw_only=True):
    """What preparing took. Seconds and bytes sent and received are of the items alone; `setup_...`
    is what comes once, before them, both ways. `stored`: bytes on this side's disk; `usable`: items
    by now.
    """

    items: int
    images: int
    seconds: float
    bytes_sent: int
    bytes_received: int
    stored: int
    usable: int
    setup_seconds: float
    setup_bytes: int


def command(
    program_file: ProgramArgument,
    connect: ConnectOption = "127.0.0.1:7700",
    count: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Items that are made, one for each run.  \\[default: 1]",
            show_default=False,
        ),
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="K", help="Make as many as are missing until K can be used, or none."
        ),
    ] = None,
    batch: Annotated[
        int,
        typer.Option(
            min=1,
            max=64,
            metavar="N",
            help="Images of the runs that they are for; the server must offer runs of so many.",
        ),
    ] = 1,
    store: StoreOption = None,
    skip_to: SkipOption = 0,
    anew: Annotated[
        bool,
        typer.Option(
            "--anew",
            help="Give up what is prepared for runs of so many images, at both sides, and begin "
            "new stores, as when one side's is lost or was brought back from a backup.",
        ),
    ] = False,
    timeout: SilenceOption = 60.0,
    threads: ThreadsOption = 1,
    ot: OtOption = "auto",
    keys: KeysOption = None,
    peer: PeerOption = None,
    cert: CertificateOption = None,
    key: KeyOption = None,
    ca: AuthorityOption = None,
    insecure: InsecureOption = False,
    json: Annotated[bool, typer.Option("--json", help="Print what it took as JSON.")] = False,
) -> None:
    if count is not None and keep is not None:
        raise BadInput("--count says how many items are made, and --keep how many there are then")
    if anew and skip_to:
        raise BadInput("--anew gives up all that is prepared, and --skip-to a part; give one")
    ui.one_thread()
    keep_freed()
    host, port = parse_address(connect)
    credentials = credentials_for(host, keys, cert, key, ca, insecure, peer)
    generator = parse_ot(ot)
    program = open_program(program_file)
    cellar = cellar_at(store, program_file, keys)
    client = Client(program, ot=generator, batch=batch, threads=threads)
    with client.connect(host, port, Limits(silence=timeout), credentials, insecure) as connection:
        check_offered(connection, batch)
        connection.executor.check_preparing()  # before --anew gives up what there is
        new = NewStore.ANEW if anew else NewStore.IF_NOTHING_IS_LOST
        had = connection.meet_stock(cellar, batch, new, skip_to)
        say_given_up(connection, batch, skip_to)
        if had:
            ui.say(f"{had} prepared before are there")
        wanted = (count or 1) if keep is None else max(0, keep - had)
        made: list[int] = []
        before, begun = replace(connection.channel.meter.total), time.monotonic()
        try:
            fill(connection, batch, wanted, made)
        except (MoietyError, Stopped):
            ui.say(f"{len(made)} of {wanted} were prepared, and can be used")
            raise
    total, seconds = connection.channel.meter.total, time.monotonic() - begun
    sent, received = total.sent - before.sent, total.received - before.received
    if json:
        took = Took(
            items=wanted,
            images=batch,
            seconds=seconds,
            bytes_sent=sent,
            bytes_received=received,
            stored=sum(made),
            usable=had + wanted,
            setup_seconds=connection.setup_seconds,
            setup_bytes=before.sent + before.received,
        )
        print(msgspec.json.encode(took).decode())
        return
    if not wanted:
        ui.say(f"nothing is missing: {had} can be used")
        return
    ui.say(
        f"prepared {wanted}, each for a run of {ui.images(batch)}, in {seconds:.1f} s: "
        f"{ui.megabytes(sum(made))} in {cellar.root}, {ui.megabytes(sent)} sent, "
        f"{ui.megabytes(received)} received, beside {connection.setup_seconds:.1f} s and "
        f"{ui.megabytes(before.sent + before.received)} of set-up; {had + wanted} can be used"
    )
