"""Check an audit log, and print where its chain ends (vendor or hospital).

Each line of an audit log holds the hash of the line before it. The first line that was changed,
added or removed is named. What the file alone cannot show is whether lines are missing at its end,
or whether all of it was written anew: note the head that is printed (the number of lines and the
hash of the last one) in another place, and give it with --head the next time.
"""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from moiety.protocols.errors import BadInput
from moiety.runtime.operation.audit import verify

EXAMPLES = (
    "moiety audit verify compiled/audit.jsonl",
    "moiety audit verify compiled/audit.jsonl --head 9f1c2ab4...",
)


class Act(StrEnum):
    """What is done with the log."""

    verify = "verify"


def command(
    act: Annotated[Act, typer.Argument(metavar="verify", show_default=False)],
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="What `moiety serve` or `moiety infer` wrote with --audit.",
            show_default=False,
        ),
    ],
    head: Annotated[
        str | None,
        typer.Option(
            metavar="HASH",
            help="A head that was noted before: the log must still have the line with this hash.",
            show_default=False,
        ),
    ] = None,
) -> None:
    if head is not None and not re.fullmatch(r"[0-9a-f]{64}", head):
        raise BadInput(f"--head takes the 64 hexadecimal digits of a head, not '{head}'")
    end = verify(file, head)
    print(f"{file}: {end.lines} lines, each follows the one before it")
    print(f"head {end.lines} {end.sha256}")
