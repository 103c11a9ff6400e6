"""What the commands share: how they end, what they say, tables and help. Imports nothing heavy."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from moiety.protocols.errors import ContractViolation, MoietyError
from moiety.runtime.party.signals import Stopped

# Tables to a file or a pipe are not folded to a terminal's width.
out = Console() if Console().is_terminal else Console(width=200)


def one_thread() -> None:
    """One BLAS thread per party: its work is many small products, and two parties often share
    a machine.
    """
    threadpool_limits(1)


def say(message: str) -> None:
    """A line for people, to stderr, as it is (no markup, no wrapping)."""
    print(message, file=sys.stderr, flush=True)


def warn(message: str) -> None:
    """Something that the user should know before going on, to stderr."""
    say(f"warning: {message}")


def run(app: Callable[[], Any]) -> NoReturn:
    """The whole program: a user's error is one line and its exit code; a bug keeps its traceback
    and exits with 70.
    """
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


TRAFFIC_COLUMNS = ("up", "down", "flights")


def traffic_cells(up: int, down: int, flights: int) -> tuple[str, str, str]:
    """Under TRAFFIC_COLUMNS; blank where nothing is sent."""
    return (megabytes(up), megabytes(down), str(flights)) if flights else ("", "", "")


def megabytes(nbytes: float) -> str:
    """A number of bytes for people."""
    return f"{nbytes / 1e6:,.2f} MB"


def examples(*lines: str) -> str:
    """An epilog: one example per paragraph, so that rich keeps the lines apart."""
    return "\n\n".join(("[bold]Examples[/bold]", *(f"  $ {line}" for line in lines)))


def prose(docstring: str | None) -> str:
    """A docstring as help: paragraphs without the line breaks of the source."""
    return "\n\n".join(" ".join(part.split()) for part in (docstring or "").split("\n\n"))
