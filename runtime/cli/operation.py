"""The options by which a party's operator watches and limits it, and what they become."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moiety.protocols.errors import BadInput
from moiety.runtime.cli import ui
from moiety.runtime.cli.logs import LogFormat
from moiety.runtime.intake.text import printable
from moiety.runtime.operation.access import AccessList
from moiety.runtime.operation.audit import AuditLog
from moiety.runtime.operation.health import Health
from moiety.runtime.party.endpoints import parse_address
from moiety.runtime.program.policy import Policy

AUDIT = "audit.jsonl"

AccessOption = Annotated[
    Path | None,
    typer.Option(
        "--access",
        metavar="FILE",
        help="The access file: the clients that may ask, by certificate, and how many images each "
        "(docs/operation.md). Without it every client that gets this far may ask without limit.",
        show_default=False,
    ),
]
CountsOption = Annotated[
    Path | None,
    typer.Option(
        "--counts",
        metavar="FILE",
        help="Where the images of each client are counted.  \\[default: beside the access file]",
        show_default=False,
    ),
]
CohortsOption = Annotated[
    Path | None,
    typer.Option(
        "--cohorts",
        metavar="DIR",
        help="Where this side's shares of cohorts are kept until their aggregate is revealed, for "
        "a Program whose policy is `aggregate`. As secret as the weights.",
        show_default=False,
    ),
]
KeepCohortsOption = Annotated[
    float,
    typer.Option(
        "--keep-cohorts",
        min=1,
        metavar="DAYS",
        help="After so many days without a further image the shares of a cohort are removed.",
    ),
]
AuditOption = Annotated[
    Path | None,
    typer.Option(
        "--audit",
        metavar="FILE",
        help="Append what happens to this audit log, and do nothing that cannot be written there.",
        show_default=False,
    ),
]
MetricsOption = Annotated[
    str | None,
    typer.Option(
        "--metrics",
        metavar="HOST:PORT",
        help="Answer /healthz and /metrics (Prometheus) over HTTP at this loopback address.",
        show_default=False,
    ),
]
LogFileOption = Annotated[
    Path | None,
    typer.Option(
        "--log-file",
        metavar="FILE",
        help="Append the log to this file, and open it anew when it was rotated.  \\[default: "
        "standard error]",
        show_default=False,
    ),
]
LogFormatOption = Annotated[
    LogFormat, typer.Option("--log-format", help="What a line of the log looks like.")
]


def audit_of_server(folder: Path, file: Path | None, wanted: bool) -> AuditLog | None:
    """A server keeps one unless it is told not to: in the vendor's folder, if nowhere else."""
    if not wanted and file is not None:
        raise BadInput("--audit and --no-audit exclude each other; give one of them")
    return AuditLog(file or folder / AUDIT) if wanted else None


def access_list(file: Path | None, counts: Path | None) -> AccessList | None:
    """Raises as `AccessList.at`, and `BadInput` for counts of nobody, or that cannot be written."""
    if file is None and counts is not None:
        raise BadInput("--counts counts the images of the clients in --access; give both")
    if file is None:
        return None
    found = AccessList.at(file, counts)
    found.counters.check_writable()  # else nobody would be admitted
    return found


def warn_of_aggregates(policy: Policy, access: AccessList | None) -> None:
    """For the vendor, where neither the Program nor the access file limits the aggregates of some
    client: that they are few is what bounds what they tell of single images.
    """
    if policy.tells_of_images or policy.cohorts is not None:
        return
    clients = [] if access is None else access.standing()
    free = [each.name for each in clients if each.entry.cohorts_in_total is None]
    if access is None or free:
        who = ", ".join(map(printable, free)) or "every client"
        ui.warn(
            f"nothing limits how many aggregates {who} may ask for, and those of cohorts that "
            "differ in one image tell of that image: write cohorts-in-total in the access file "
            "(--access), or compile the model with --cohorts N"
        )


def health_at(address: str | None) -> Health | None:
    """Raises as `Health.at`."""
    return None if address is None else Health.at(*parse_address(address))
