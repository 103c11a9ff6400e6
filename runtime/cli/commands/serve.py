"""Serve a compiled model to hospitals, one client at a time (vendor).

Prints `listening HOST:PORT` and logs one line per event to stderr. Clients with another Program or
release are refused; whatever else connects is dropped. A client that fails ends its own session
only. SIGINT or SIGTERM stops the server at once, in good order, with exit code 0.

Beyond this machine both sides need keys, and trust in each other's (moiety keys), or --insecure.
"""

from __future__ import annotations

from typing import Annotated

import typer

from moiety.runtime.cli import ui
from moiety.runtime.cli.line import credentials_for, in_words
from moiety.runtime.cli.options import (
    AuthorityOption,
    CertificateOption,
    CompiledArgument,
    InsecureOption,
    KeyOption,
    KeysOption,
    OtOption,
    ThreadsOption,
    sizes,
    warn_of,
)
from moiety.runtime.cli.progress import watching
from moiety.runtime.party.endpoints import Listener, parse_address
from moiety.runtime.party.generator_choice import parse_ot
from moiety.runtime.party.server import Server, ServerOptions, log
from moiety.runtime.party.signals import Stopped
from moiety.runtime.program import artifacts

EXAMPLES = (
    "moiety serve compiled/ --listen 0.0.0.0:7700",
    "moiety serve compiled/ --listen 127.0.0.1:0 --once     [dim](any free port; prints it)[/dim]",
    "moiety serve compiled/ --batch 4,16 --threads 8",
    "moiety serve compiled/ --listen 0.0.0.0:7700 --cert vendor.pem --key vendor.key --ca pki.pem",
)


def command(
    folder: CompiledArgument,
    listen: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="Where to listen; port 0 takes any free one. 0.0.0.0 is every network of this "
            "machine.",
        ),
    ] = "127.0.0.1:7700",
    once: Annotated[
        bool, typer.Option("--once", help="Stop after one client; the same as --max-clients 1.")
    ] = False,
    max_clients: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Stop after N clients were served, however they ended.",
            show_default=False,
        ),
    ] = None,
    waiting: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Clients that may wait while another one is served; further ones are refused.",
        ),
    ] = 8,
    batch: Annotated[
        str,
        typer.Option(
            metavar="B,...",
            help="Numbers of images that a client may put into one run, besides 1: less traffic "
            "and fewer rounds per image, more memory. Each takes its own preparation.",
        ),
    ] = "1",
    threads: ThreadsOption = 1,
    hint_file: Annotated[
        bool,
        typer.Option(
            "--hint-file/--no-hint-file",
            help="Keep what is prepared from the weights beside them (hints*.safetensors, as "
            "secret as they are), for the next start.",
        ),
    ] = True,
    ot: OtOption = "auto",
    keys: KeysOption = None,
    cert: CertificateOption = None,
    key: KeyOption = None,
    ca: AuthorityOption = None,
    insecure: InsecureOption = False,
) -> None:
    ui.one_thread()
    ui.log_to_stderr()
    host, port = parse_address(listen)
    credentials = credentials_for(host, keys, cert, key, ca, insecure)
    batches = tuple(sorted({1, *(sizes(batch, "--batch") or ())}))
    program, weights = artifacts.load_vendor(folder)
    warn_of(program.rounding)
    listener = Listener.at(host, port, None, credentials, insecure)
    log.info(
        "preparing '%s', Program %s..., %s rounding",
        program.name,
        program.digest()[:16],
        program.rounding,
    )
    options = ServerOptions(
        max_clients=1 if once else max_clients,
        waiting=waiting,
        ot=parse_ot(ot),
        threads=threads,
    )
    server = Server.of(program, weights, listener, options, batches)
    print(f"listening {listener.address}", flush=True)
    log.info("listening at %s, %s", listener.address, in_words(credentials))
    try:
        with server:
            with watching("preparing") as watch:
                server.prepare(watch, folder / artifacts.WEIGHTS if hint_file else None)
            server.run()
    except Stopped as stopped:
        log.info("stopping: %s", stopped)
    log.info("ended: %s", server.summary.line())
