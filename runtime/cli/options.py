"""Arguments and options that several commands have, and the words that they take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from moiety.runtime.cli import ui
from moiety.runtime.program import Rounding

OT_WORDS = "auto|softspoken|silent"
"""What `runtime.party.generator_choice.parse_ot` takes."""

NETWORK_WORDS = "fast|lan|wan|loopback|RTT,BANDWIDTH"
"""What `protocols.network.parse_network` takes."""

CompiledArgument = Annotated[
    Path,
    typer.Argument(
        metavar="DIR",
        help="The folder that `moiety compile -o` wrote, with the Weights.",
        show_default=False,
    ),
]
ProgramArgument = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL.moiety",
        help="The Program, as got from the vendor.",
        show_default=False,
    ),
]
ConnectOption = Annotated[str, typer.Option(metavar="HOST:PORT", help="The vendor's server.")]
PeerOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Whom of those that are trusted (moiety keys list) the server must be.",
        show_default=False,
    ),
]
SilenceOption = Annotated[
    float,
    typer.Option(
        min=1.0,
        metavar="SECONDS",
        help="Longest silence of the server before the run is given up.",
    ),
]
ImagesArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="IMAGES...",
        help="PNG, JPEG, TIFF, BMP, DICOM or NPY files, folders of them, or CSV lists (column "
        "`file`).",
        show_default=False,
    ),
]
INTAKE = "Images"
"""The panel of the help for what follows."""
InputOption = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="NAME=VALUE",
        help="Of a model of several inputs, what belongs to a single image beside it: numbers "
        "(age=63, clinical=63,1) or a file. Of several images: columns of these names in a CSV "
        "list.",
        rich_help_panel=INTAKE,
        show_default=False,
    ),
]
RecursiveOption = Annotated[
    bool,
    typer.Option(
        "--recursive", help="Read the folders inside folders, too.", rich_help_panel=INTAKE
    ),
]
KeepGoingOption = Annotated[
    bool | None,
    typer.Option(
        "--keep-going/--stop-on-refusal",
        help="What a refused image ends: only itself, or the command, before anything is done. "
        "Default: itself, where folders or lists are given.",
        rich_help_panel=INTAKE,
        show_default=False,
    ),
]
BitDepthOption = Annotated[
    int | None,
    typer.Option(
        min=8,
        max=16,
        metavar="N",
        help="Bits that grey pictures deeper than 8 bits really use, where their files do not "
        "say: 12 for most exports of x-rays. The Program keeps what `moiety compile` was told.",
        rich_help_panel=INTAKE,
        show_default=False,
    ),
]
OtOption = Annotated[
    str,
    typer.Option(
        "--ot",
        metavar=OT_WORDS,
        help="Generator of correlations: softspoken (more traffic), silent (more computing), or "
        "whatever suits the measured network.",
    ),
]
ThreadsOption = Annotated[
    int,
    typer.Option(
        "--threads",
        min=1,
        max=256,
        metavar="N",
        help="Cores that this side's work is spread over; the other side need not use as many.",
    ),
]

KEYS_VARIABLE = "MOIETY_KEYS"
KeysOption = Annotated[
    Path | None,
    typer.Option(
        "--keys",
        metavar="DIR",
        envvar=KEYS_VARIABLE,
        help="Speak TLS with this side's key, to peers that it trusts (moiety keys). Beyond this "
        "machine that is so without being said, with the user's own keys.",
        show_default=False,
    ),
]
CertificateOption = Annotated[
    Path | None,
    typer.Option(
        "--cert",
        metavar="FILE",
        help="Instead of moiety's own key: a certificate of an existing PKI, PEM, with those "
        "between it and its authority.",
        show_default=False,
    ),
]
KeyOption = Annotated[
    Path | None,
    typer.Option("--key", metavar="FILE", help="Its private key, PEM.", show_default=False),
]
AuthorityOption = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        metavar="FILE",
        help="Trust whom these authorities have signed, PEM, besides those of --keys.",
        show_default=False,
    ),
]
InsecureOption = Annotated[
    bool,
    typer.Option(
        "--insecure",
        help="Plain TCP beyond this machine: all who sit on the line can read along, change "
        "bytes and pass for the other side. Within a tunnel only; on both sides.",
    ),
]

NoBatchAxisOption = Annotated[
    bool,
    typer.Option(
        "--no-batch-axis",
        help="The model's first axis is data, as in (C, H, W); its sizes must be fixed.",
        rich_help_panel="Input and output",
    ),
]
RoundingOption = Annotated[
    Rounding,
    typer.Option(
        "--rounding",
        help="exact: a function of weights and image alone, bit for bit reproducible. stochastic: "
        "cheaper, and gives weights away to a client that asks often; prints how much.",
    ),
]

STOCHASTIC = (
    "stochastic rounding gives weights away. A client that only follows the protocol and asks for "
    "one image again and again learns the last layer's weights of all units that are active there "
    "(to 7 % after 300 queries of a small network, to 4 % after 1200). Use it between parties that "
    "may know the weights; --rounding exact, the default, has no such leak. See SECURITY.md."
)
"""What `--rounding stochastic` costs the vendor (tests/attacks/test_rounding_leak.py)."""


def warn_of(rounding: Rounding) -> None:
    """The warning, for the vendor: when compiling, and in the process that serves."""
    if rounding == "stochastic":
        ui.warn(STOCHASTIC)


def assignments(given: Sequence[str] | None) -> tuple[str, ...]:
    """What --input was given, `NAME=VALUE` each. Raises `typer.BadParameter`."""
    for word in given or ():
        if "=" not in word:
            raise typer.BadParameter(f"--input takes NAME=VALUE, not '{word}'")
    return tuple(given or ())


def pairs(given: Sequence[str] | None, option: str) -> dict[str, str]:
    """`NAME=VALUE` each, by name. Raises `typer.BadParameter`, also where a name comes twice."""
    found: dict[str, str] = {}
    for word in given or ():
        name, equals, value = word.partition("=")
        if not equals or not name or not value:
            raise typer.BadParameter(f"{option} takes NAME=VALUE, not '{word}'")
        if name in found:
            raise typer.BadParameter(f"{option} is given twice for '{name}'")
        found[name] = value
    return found


def numbers(text: str | None, option: str) -> tuple[float, ...] | None:
    """`0.485,0.456,0.406` to floats. Raises `typer.BadParameter`."""
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"{option} takes numbers separated by commas, not '{text}'"
        ) from None


def sizes(text: str | None, option: str) -> tuple[int, ...] | None:
    """`3,224,224` or `3x224x224` to positive integers. Raises `typer.BadParameter`."""
    if text is None:
        return None
    parts = text.replace("x", ",").split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise typer.BadParameter(
            f"{option} takes positive whole numbers separated by commas, not '{text}'"
        )
    return tuple(int(part) for part in parts)
