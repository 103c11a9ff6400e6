"""The options that are `moiety evaluate`'s own: its list, its report, its run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moiety.runtime.cli.options import NETWORK_WORDS
from moiety.runtime.study.cohort import Uncertain

LIST, REPORT, RUN = "The cohort's list", "The report", "The run"

ImagesFolderOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Where the list's files or SOP Instance UIDs are.  \\[default: the list's folder]",
        rich_help_panel=LIST,
        show_default=False,
    ),
]
LabelOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="LABEL=COLUMN",
        help="The list's column for a label of the model, where it is not called so; may be "
        "given several times.",
        rich_help_panel=LIST,
        show_default=False,
    ),
]
UncertainOption = Annotated[
    Uncertain | None,
    typer.Option(
        help="How -1, uncertain, is taken. There is no default: it changes the figures.",
        rich_help_panel=LIST,
        show_default=False,
    ),
]
SiteOption = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Where an image is from.  \\[default: site, if there is one]",
        rich_help_panel=LIST,
        show_default=False,
    ),
]
PatientOption = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Whose it is: images of one patient are not independent.  \\[default: patient, if "
        "there is one]",
        rich_help_panel=LIST,
        show_default=False,
    ),
]
ResultOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Which of the model's results is studied.  \\[default: the first with labels]",
        rich_help_panel=LIST,
        show_default=False,
    ),
]
ReferenceOption = Annotated[
    Path | None,
    typer.Option(
        metavar="SCORES.csv",
        help="Cleartext scores of the same images, on the scale that the Program reveals: the "
        "report compares. A column that names images as the list does, or `id`; one per label.",
        rich_help_panel=REPORT,
        show_default=False,
    ),
]
ReferenceLabelOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="LABEL=COLUMN",
        help="The column of a label's scores, where it is not called so.",
        rich_help_panel=REPORT,
        show_default=False,
    ),
]
MarginOption = Annotated[
    float,
    typer.Option(
        min=1e-6,
        max=0.5,
        metavar="AUROC",
        help="Equivalent is what differs by less. To be chosen before the study.",
        rich_help_panel=REPORT,
    ),
]
BootstrapOption = Annotated[
    int,
    typer.Option(
        min=0, max=100_000, metavar="N", help="Resamples by patient.", rich_help_panel=REPORT
    ),
]
SeedOption = Annotated[
    int,
    typer.Option(min=0, metavar="N", help="Of the resamples.", rich_help_panel=REPORT),
]
TitleOption = Annotated[
    str,
    typer.Option(
        metavar="TEXT",
        help="Of the report.  \\[default: the model's name]",
        rich_help_panel=REPORT,
        show_default=False,
    ),
]
BatchOption = Annotated[
    int,
    typer.Option(
        min=1,
        max=64,
        metavar="N",
        help="Images that may share one run, where the server offers it.",
        rich_help_panel=RUN,
    ),
]
SessionsOption = Annotated[
    int,
    typer.Option(
        min=1,
        max=256,
        metavar="N",
        help="Connections at a time, each with a process of this machine, where the server has "
        "places for them (moiety serve --sessions).",
        rich_help_panel=RUN,
    ),
]
LimitOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Run the first N images of the list alone; without it, later, the others. An "
        "aggregate is of the whole list.",
        rich_help_panel=RUN,
        show_default=False,
    ),
]
TimeoutOption = Annotated[
    float,
    typer.Option(
        min=1.0,
        metavar="SECONDS",
        help="Longest silence of the server before a run is given up.",
        rich_help_panel=RUN,
    ),
]
RetriesOption = Annotated[
    int,
    typer.Option(
        min=0,
        metavar="N",
        help="New connections after one that broke, in a row without a new result. The run "
        "that broke counts twice in a quota.",
        rich_help_panel=RUN,
    ),
]
NetworkOption = Annotated[
    str,
    typer.Option(
        metavar=NETWORK_WORDS,
        help="For the prediction of --dry-run.",
        rich_help_panel=RUN,
    ),
]
HourOption = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        metavar="MONEY",
        help="What an hour of one session costs, in any currency: the cost is shown.",
        rich_help_panel=RUN,
        show_default=False,
    ),
]
GigabyteOption = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        metavar="MONEY",
        help="What a gigabyte costs, sent or received.",
        rich_help_panel=RUN,
        show_default=False,
    ),
]
