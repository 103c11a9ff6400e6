"""Options from a file: TOML, a table for each command, a key for each long option.

    [serve]
    listen = "0.0.0.0:7700"
    threads = 8
    batch = [4, 16]
    hint-file = false

What the command line says wins over the file, and the file over the defaults. The file is the one
that `--config` names, else `moiety.toml` in the working folder, else `config.toml` in
`$XDG_CONFIG_HOME/moiety` (`~/.config/moiety`). Relative paths in it count from its own folder. A
key or a table that no command has is refused: a mistyped limit must not be no limit.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import typer

from moiety.protocols.errors import BadInput
from moiety.runtime.cli import ui
from moiety.runtime.program.decoding import NO_TOML

HERE, OWN = Path("moiety.toml"), Path("moiety", "config.toml")


def places() -> tuple[Path, Path]:
    """Where a file is looked for when none is named, the first that exists."""
    folder = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return HERE, folder / OWN


def find() -> Path | None:
    return next((place for place in places() if place.is_file()), None)


def read(path: Path, commands: Collection[str]) -> dict[str, dict[str, Any]]:
    """The tables of a file, by command. Raises `BadInput`."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path}: cannot read the config file: {error.strerror}") from error
    except NO_TOML as error:
        raise BadInput(f"{path}: not a config file: {error}") from error
    for name, table in tables.items():
        if name not in commands:
            raise BadInput(f"{path}: no command '{name}'{nearest(name, commands)}")
        if not isinstance(table, dict):
            raise BadInput(f"{path}: '{name}' must be a table: write [{name}] and options under it")
    return tables


def nearest(word: str, words: Collection[str]) -> str:
    """What may have been meant, and what there is."""
    found = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"; did you mean '{found[0]}'?" if found else f"; there is {', '.join(sorted(words))}"


def options_of(context: typer.Context) -> dict[str, Any]:
    """The options of the context's command that a file can set, by key."""
    return {
        name.removeprefix("--"): option
        for option in context.command.params
        if option.param_type_name == "option" and not option.is_eager
        for name in option.opts
        if name.startswith("--")
    }


def values(path: Path, table: Mapping[str, Any], context: typer.Context) -> dict[str, Any]:
    """A table as the defaults of the context's command. Raises `BadInput` for an unknown key and
    for a value that its option does not take.
    """
    command = context.info_name
    known = options_of(context)
    found: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known:
            raise BadInput(f"{path}: [{command}] has no '{key}'{nearest(key, known)}")
        option = known[key]
        try:
            found[option.name] = _as_typed(value, option, context, path.parent)
        except typer.BadParameter as error:
            raise BadInput(f"{path}: [{command}] {key} = {value!r}: {error.message}") from error
    return found


def _as_typed(value: Any, option: Any, context: typer.Context, folder: Path) -> Any:
    """A TOML value as the command line would have it. A list is a repeated option, or words
    separated by commas. Raises `typer.BadParameter`.
    """
    if option.multiple and not isinstance(value, list):
        value = [value]
    if isinstance(value, list):
        if option.multiple:
            return [_one(part, option, context, folder, [part]) for part in value]
        value = ",".join(map(str, value))
    return _one(value, option, context, folder, value)


def _one(value: Any, option: Any, context: typer.Context, folder: Path, whole: Any) -> Any:
    """A single value, checked as `whole` is."""
    if option.is_flag:
        if not isinstance(value, bool):
            raise typer.BadParameter("the option takes true or false")
        return value
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise typer.BadParameter("the option takes a text or a number")
    read = option.process_value(context, str(value) if whole is value else [str(value)])
    of_path = isinstance(read[0] if isinstance(read, list | tuple) else read, Path)
    if value == "-" or not (of_path or option.metavar == "FILE"):
        return str(value)
    ending = "/" if str(value).endswith("/") else ""  # which says that it is a folder
    return str(folder / str(value)) + ending


def use(context: typer.Context, named: Path | None, commands: Collection[str]) -> None:
    """Makes what a file says of the context's command the defaults of its options."""
    path = named or find()
    if path is None or context.resilient_parsing:
        return
    table = read(path, commands).get(context.info_name or "", {})
    context.default_map = values(path, table, context)
    if table and named is None:
        ui.say(f"options from {path}: {', '.join(table)}")
