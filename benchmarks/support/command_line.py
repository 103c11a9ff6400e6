"""What the command lines of the benchmarks have in common."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from moiety.models import demo_model_path
from moiety.protocols.errors import MoietyError
from moiety.protocols.ot.generators import NEVER_SILENT


def positive(text: str) -> int:
    """An argparse type: an integer of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


SHARED: dict[str, dict[str, Any]] = {
    "--model": {
        "type": Path,
        "default": demo_model_path(),
        "metavar": "MODEL.onnx",
        "help": "default: the shipped one",
    },
    "--rounding": {
        "choices": ("exact", "stochastic"),
        "default": "exact",
        "help": "default: exact",
    },
    "--simulations": {
        "type": positive,
        "default": 8,
        "metavar": "N",
        "help": "cleartext runs, if stochastic (default 8)",
    },
    "--runs": {"type": positive, "default": 3, "metavar": "N", "help": "timed runs (default 3)"},
    "--only": {
        "nargs": "+",
        "metavar": "WORD",
        "help": "only those whose name contains one of the words",
    },
    "--silent-from": {
        "type": int,
        "default": 1,
        "choices": range(1, NEVER_SILENT + 1),
        "help": "narrowest choice that takes silent correlations (default 1, as `--ot auto`)",
    },
    "--seed": {"type": int, "default": 1, "help": "of everything that is drawn (default 1)"},
    "--no-pin": {"action": "store_true", "help": "do not bind each party to a core of its own"},
    "--plot": {"type": Path, "metavar": "FILE.png", "help": "figure (needs matplotlib)"},
    "--json": {
        "type": Path,
        "metavar": "FILE",
        "help": "write the rows there, as one list (default: one per line to standard output)",
    },
}
"""Options that several benchmarks take, by name."""


def parser(name: str, usage: str | None, *shared: str) -> argparse.ArgumentParser:
    """The parser of `python -m benchmarks.NAME`, whose help is the module's docstring `usage`, with
    some of the options in `SHARED`.
    """
    made = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=usage,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for option in shared:
        made.add_argument(option, **SHARED[option])
    return made


WIDTHS = ("activation_bits", "weight_bits", "margin_bits")
"""Fields of `PlanOptions` that are options of the benchmarks that compile."""


def add_widths(p: argparse.ArgumentParser) -> None:
    """An option for each of the `WIDTHS`; None where it is left to the planner."""
    for width in WIDTHS:
        option = f"--{width.replace('_', '-')}"
        p.add_argument(option, type=int, metavar="N", help="default: the planner's")


def widths(options: argparse.Namespace) -> dict[str, Any]:
    """Those that were given."""
    given = {name: getattr(options, name) for name in WIDTHS}
    return {name: bits for name, bits in given.items() if bits is not None}


def chosen(names: Sequence[str], words: Sequence[str] | None) -> list[str]:
    """The names that contain one of the words of `--only`; all of them without words."""
    return [name for name in names if not words or any(word in name for word in words)]


def run(main: Callable[[], Any]) -> None:
    """A benchmark as a process: a user's error is one line and its exit code."""
    try:
        main()
    except MoietyError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
