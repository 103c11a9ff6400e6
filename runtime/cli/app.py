"""The command `moiety`: which commands there are, and how one is run.

A command is one file. The modules of the packages in `ROOMS` are the commands: `x_y.py` is
`moiety x-y`, its docstring is the help, `EXAMPLES` are what the help ends with, and the parameters
of its function `command` are the options; a command that has commands of its own has a Typer `app`
instead. A command's module is imported when it is run or asked for its help and not before, so that
a party's process never loads the compiler; the list of commands that `moiety --help` prints is read
from the files. Importing it needs the base install alone, so that every command explains itself:
what an extra installs is loaded when the command runs (`intake/extras.Later`).
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
from collections import Counter
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from moiety.protocols.errors import BadInput
from moiety.runtime.cli import config, ui
from moiety.runtime.party.signals import raise_stopped
from moiety.runtime.program.bounds import memory_limit

ROOMS = ("moiety.compiler.commands", "moiety.runtime.cli.commands", "moiety.models.commands")
"""Packages of commands, as text: nothing of the runtime imports the compiler or the models."""

ORDER = (
    "compile",
    "inspect",
    "simulate",
    "sweep",
    "keys",
    "serve",
    "access",
    "store",
    "receive",
    "prepare",
    "infer",
    "evaluate",
    "audit",
    "calibrate-machine",
    "demo",
)
"""How the help lists them: as they are met on the way from a model to a result. Others follow."""

STYLE: dict[str, Any] = {
    "add_completion": False,
    "rich_markup_mode": "rich",
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}

STYLE_OF_GROUPS: dict[str, Any] = {
    "no_args_is_help": True,
    "rich_help_panel": None,
    "context_settings": STYLE["context_settings"],
}


def files_of(room: str) -> list[Path]:
    """The modules of a package of commands; none where the room is not installed. Imports neither
    the package nor the room that it is in.
    """
    parent, _, name = room.rpartition(".")
    try:
        spec = find_spec(parent)
    except ModuleNotFoundError:
        spec = None
    places = spec.submodule_search_locations or [] if spec else []
    found = (file for place in places for file in Path(place, name).glob("*.py"))
    return sorted(file for file in found if file.stem != "__init__")


def summary(file: Path) -> str:
    """The first paragraph of a command's help, read and not imported."""
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    return ui.prose(docstring).partition("\n\n")[0]


def find_commands() -> dict[str, tuple[str, Path]]:
    """Name of a command -> name of its module, and its file; in the order of the help."""
    found = {
        file.stem.replace("_", "-"): (f"{room}.{file.stem}", file)
        for room in ROOMS
        for file in files_of(room)
    }
    rank = {name: place for place, name in enumerate(ORDER)}
    return dict(sorted(found.items(), key=lambda item: rank.get(item[0], len(rank))))


def load(name: str) -> TyperCommand | TyperGroup:
    """A command with its options, its module imported."""
    module_name, _ = find_commands()[name]
    module = importlib.import_module(module_name)
    words: dict[str, Any] = {
        "help": ui.prose(module.__doc__),
        "epilog": ui.examples(*module.EXAMPLES),
    }
    outer = typer.Typer(**STYLE)
    if hasattr(module, "app"):
        outer.callback()(lambda: None)  # so that the one command does not stand for them all
        outer.add_typer(module.app, name=name, **words, **STYLE_OF_GROUPS)
        group = typer.main.get_command(outer)
        assert isinstance(group, TyperGroup)
        command = group.commands[name]
    else:
        outer.command(name, cls=Command, **words)(configurable(module.command))
        command = typer.main.get_command(outer)
    assert isinstance(command, TyperCommand | TyperGroup)
    return command


def configurable(command: Callable[..., None]) -> Callable[..., None]:
    """A command with one option more, whose file gives the others their defaults. Whatever it is,
    a limit of memory that is none is refused before it begins.
    """

    def use(context: typer.Context, file: Path | None) -> None:
        config.use(context, file, find_commands())

    option = typer.Option(
        "--config",
        callback=use,
        is_eager=True,
        metavar="FILE",
        help="Options from a TOML file, a table for each command; else from moiety.toml or "
        "~/.config/moiety/config.toml, where there is one. The command line wins.",
        show_default=False,
    )

    @functools.wraps(command)
    def run(*arguments: Any, config: Path | None = None, **options: Any) -> None:
        memory_limit()
        command(*arguments, **options)

    signature = inspect.signature(command, eval_str=True)
    annotation = Annotated[Path | None, option]
    parameter = inspect.Parameter(
        "config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), parameter]
    )
    run.__annotations__ = {**command.__annotations__, "config": annotation}
    return run


class Command(TyperCommand):
    """One that says where an option is given twice that takes one value: the last counts, as a
    script wants it that goes before its user's own options, and not all know that.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _, _, order = self.make_parser(ctx).parse_args([*args])
        times_of: Counter[Any] = Counter(order)  # Typer's parameters, whose class is its own affair
        for option, times in times_of.items():
            alone = option.param_type_name == "option" and not (option.multiple or option.is_flag)
            if alone and times > 1:
                name = " or ".join(option.opts)
                ui.warn(f"{name} takes one value, and is given {times} times: the last counts")
        return super().parse_args(ctx, args)


class Commands(TyperGroup):
    """All commands by name and summary; the one that is wanted is loaded."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = {
            name: TyperCommand(name=name, help=summary(file))
            for name, (_, file) in find_commands().items()
        }

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        if args[0] in ORDER and args[0] not in self.commands:
            raise BadInput(
                f"moiety {args[0]} is not part of this installation, which has "
                f"{', '.join(self.commands)}"
            )
        name, known, rest = super().resolve_command(ctx, args)
        return name, load(name) if name else known, rest


app = typer.Typer(
    cls=Commands,
    name="moiety",
    no_args_is_help=True,
    **STYLE,
    help=(
        "Evaluate a neural network on images that its owner never sees, with weights that the "
        "images' owner never sees.\n\n"
        "The [bold]vendor[/bold] compiles an ONNX model into a public Program and secret Weights, "
        "and serves it. The [bold]hospital[/bold] holds the Program and its images. Every value "
        "of the computation exists only as two random-looking halves, one on each side; the "
        "hospital alone reads the result."
    ),
    epilog=ui.examples(
        "moiety demo",
        "moiety compile model.onnx --calibration images/ -o compiled/",
        "moiety serve compiled/ --listen 0.0.0.0:7700          [dim](vendor)[/dim]",
        "moiety infer model.moiety x-ray.png --connect vendor:7700 -o results.json     "
        "[dim](hospital)[/dim]",
    )
    + "\n\nExit codes: 0 done, 2 wrong usage, 3 model cannot be compiled, 4 no plan meets the "
    "options, or images overflow it, 5 bad input, 6 damaged or foreign Program or Weights, 7 the "
    "peer runs something else, 8 network, or the server is busy, 9 a key is not trusted, or bytes "
    "were played back or changed, 10 the server denies it: access or quota, "
    "70 a bug, 130 and 143 stopped by a signal.",
)


def _version(asked: bool) -> None:
    if asked:
        print(f"moiety {metadata.version('moiety')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """What stands before a command's name."""


def main() -> None:
    """The `moiety` command. A signal ends every command in good order."""
    raise_stopped()
    ui.run(app)
