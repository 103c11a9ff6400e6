"""What the commands share: how they end, what they say, tables and help. Imports nothing heavy."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from rich.cells import cell_len, set_cell_size
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text
from threadpoolctl import threadpool_limits

from moiety.protocols.errors import ContractViolation, MoietyError
from moiety.runtime.party.signals import Stopped

PIPED_WIDTH = 200
NARROWEST_NAME = 10
"""Characters of a file's name in a table, on the narrowest terminal."""
CUT = "..."
"""In place of what does not fit; every terminal has it."""


def one_thread() -> None:
    """One BLAS thread per party: its work is many small products, and two parties often share
    a machine.
    """
    threadpool_limits(1)


def say(message: str) -> None:
    """A line for people, to stderr, as it is (no markup, no wrapping); nothing fails for want of a
    reader.
    """
    with suppress(OSError):
        print(message, file=sys.stderr, flush=True)


def warn(message: str) -> None:
    """Something that the user should know before going on, to stderr."""
    say(f"warning: {message}")


def any_character() -> None:
    """What a terminal or a file cannot show (ASCII, Latin-1) is shown escaped; nothing fails."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """An error like any other; rich would end the process."""
        raise


def console(stderr: bool = False) -> Console:
    """For tables. Without a terminal they are wide, so that lines stay whole in a file or a pipe;
    the variable COLUMNS says otherwise.
    """
    made = _Console(stderr=stderr)
    fixed = made.is_terminal or os.environ.get("COLUMNS", "").isdigit()
    return made if fixed else _Console(stderr=stderr, width=PIPED_WIDTH)


out = console()


def show(what: RenderableType, stderr: bool = False) -> None:
    """For people, when the work is done and kept: where it cannot be shown, that is only said."""
    try:
        console(stderr).print(what)
    except OSError as error:
        # What is left in the buffer must not fail again when the process ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), (sys.stderr if stderr else sys.stdout).fileno())
        say(f"the table of results cannot be shown: {error.strerror or error}")


def longest_name(terminal: Console, columns: int = 2) -> int:
    """What a file's name may take of a table, so that the values in its other columns have room."""
    return max(NARROWEST_NAME, terminal.width // max(3, columns - 1))


def shortened(text: str, width: int) -> str:
    """At most `width` columns of a terminal, cut in the middle; most is left of the end, where a
    path has its file's name.
    """
    if cell_len(text) <= width:
        return text
    tail = max(0, width - len(CUT)) * 2 // 3
    head = max(0, width - len(CUT) - tail)
    return set_cell_size(text, head) + CUT + set_cell_size(text[::-1], tail)[::-1]


def run(app: Callable[[], Any]) -> NoReturn:
    """The whole program: a user's error is one line and its exit code; a bug keeps its traceback
    and exits with 70.
    """
    any_character()
    try:
        app()
    except ContractViolation as error:
        traceback.print_exc()
        sys.exit(error.exit_code)
    except MoietyError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)
    except Stopped as stopped:
        say(str(stopped))
        sys.exit(stopped.exit_code)
    except Exception:
        traceback.print_exc()
        sys.exit(ContractViolation.exit_code)
    sys.exit(0)


def table(title: str, *columns: str, right: int = 0) -> Table:
    """A rich table; the last `right` columns are numbers."""
    made = Table(title=title, title_justify="left", header_style="bold")
    for index, column in enumerate(columns):
        made.add_column(
            column,
            justify="right" if index >= len(columns) - right else "left",
            overflow="fold",
            no_wrap=index == 0,
        )
    return made


def facts(title: str = "") -> Table:
    """A name and its value a row, without lines."""
    made = Table(
        show_header=False,
        box=None,
        pad_edge=False,
        title=Text(title) if title else None,
        title_justify="left",
        title_style="bold",
    )
    made.add_column(no_wrap=True)
    made.add_column(overflow="fold")
    return made


def literal(text: str) -> Text:
    """A cell of a table as it is: names from outside are not markup."""
    return Text(text)


TRAFFIC_COLUMNS = ("up, MB", "down, MB", "flights")


def traffic_cells(up: int, down: int, flights: int) -> tuple[str, str, str]:
    """Under TRAFFIC_COLUMNS; blank where nothing is sent."""
    return (f"{up / 1e6:,.2f}", f"{down / 1e6:,.2f}", str(flights)) if flights else ("", "", "")


def megabytes(nbytes: float) -> str:
    """A number of bytes for people."""
    return f"{nbytes / 1e6:,.2f} MB"


def counted(count: int, what: str) -> str:
    """That many of something whose plural is regular."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def images(count: int) -> str:
    """That many."""
    return counted(count, "image")


def examples(*lines: str) -> str:
    """An epilog: one example per paragraph, so that rich keeps the lines apart."""
    return "\n\n".join(("[bold]Examples[/bold]", *(f"  $ {line}" for line in lines)))


def prose(docstring: str | None) -> str:
    """A docstring as help: paragraphs without the line breaks of the source."""
    return "\n\n".join(" ".join(part.split()) for part in (docstring or "").split("\n\n"))
