"""Take DICOM images from a PACS into a folder (hospital).

A C-STORE service for the titles that are named with --calling, in every transfer syntax; C-ECHO is
answered. Files are written whole, under their SOP Instance UIDs, and only then acknowledged; what
they are worth is decided by `moiety infer`. Prints `listening HOST:PORT` and logs one line per
event to stderr, without anything that names a patient. SIGINT or SIGTERM stops it in good order.

DICOM's own protocol is not encrypted: listen on loopback or on a network that you trust.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moiety.runtime.cli import ui
from moiety.runtime.intake import extras
from moiety.runtime.party.signals import Stopped

if TYPE_CHECKING:
    from moiety.runtime.intake.dicom import receiver as service
else:
    service = extras.Later("moiety.runtime.intake.dicom.receiver", "moiety receive")

EXAMPLES = (
    "moiety receive --calling PACS1 -o incoming/",
    "moiety receive --ae-title MOIETY --listen 10.0.0.5 --port 11112 --calling PACS1,WS2 "
    "-o incoming/",
)


def command(
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Where files are laid; made if it is not there, for its owner alone.",
            show_default=False,
        ),
    ],
    calling: Annotated[
        str,
        typer.Option(
            metavar="TITLE,...",
            help="AE titles that may send; all others are rejected.",
            show_default=False,
        ),
    ],
    ae_title: Annotated[str, typer.Option(metavar="TITLE", help="This service's own.")] = "MOIETY",
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="0 takes any free one.")
    ] = 11112,
    listen: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="0.0.0.0 is every network of this machine."),
    ] = "127.0.0.1",
    most: Annotated[
        int | None,
        typer.Option("--max", min=1, metavar="N", help="Stop after N files.", show_default=False),
    ] = None,
) -> None:
    folder = service.Folder(output)
    folder.prepare()
    titles = [title for title in calling.split(",") if title.strip()]
    with service.Receiver(ae_title, titles, folder, ui.say, most) as receiver:
        try:
            print(f"listening {listen}:{receiver.listen(listen, port)}", flush=True)
            receiver.wait()
        except Stopped as stopped:
            ui.say(str(stopped))
    ui.say(f"{receiver.taken} files were taken into {output}")
