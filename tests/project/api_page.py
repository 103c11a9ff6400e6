"""The pages of the packages' faces, docs/api, from their docstrings.

    python -m tests.project.api_page             name those that are out of date
    python -m tests.project.api_page --write     write them anew

A test holds the pages to the source.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.project.made import bring_up_to_date

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "api"
FACES = ("compiler", "runtime", "protocols")
WIDTH = 88
LONGEST = 20
"""Of a text that is shown as a default."""


def page(name: str) -> str:
    """The page of a face."""
    face = importlib.import_module(f"moiety.{name}")
    first = (face.__doc__ or "").partition("\n\n")[0]
    entries = [line for each in face.__all__ for line in entry(each, getattr(face, each))]
    lines = [
        f"# {face.__name__}",
        "",
        "<!-- api: begin -->",
        "",
        " ".join(first.split()),
        "",
        *entries,
        "<!-- api: end -->",
        "",
        "Written by `python -m tests.project.api_page --write` from the docstrings.",
        "",
    ]
    return "\n".join(lines)


def entry(name: str, thing: Any) -> Iterator[str]:
    """A class with its public methods, an item each, or a function."""
    yield from (f"## {name}", "", "```text", *declaration(name, thing), "```", "", *prose(thing))
    if inspect.isclass(thing) and not issubclass(thing, BaseException):
        items = list(members(thing))
        yield from ("", *items) if items else ()
    yield ""


def members(thing: type[Any]) -> Iterator[str]:
    """Its public methods and properties, in the order of the source."""
    fields = {*inspect.signature(thing).parameters} if not issubclass(thing, enum.Enum) else set()
    for name, value in vars(thing).items():
        if name.startswith("_") or name in fields:
            continue
        if isinstance(value, property) and value.fget is not None:
            returned = bare(inspect.signature(value.fget), {}).return_annotation
            yield item(f"{name}: {returned}", value.fget)
        else:
            function = getattr(value, "__func__", value)  # of a class or static method
            if inspect.isfunction(function) and function.__doc__:
                yield item(f"{name}{bare(inspect.signature(function), {})}", function)


def item(declared: str, documented: Any) -> str:
    """Of a list."""
    return f"- `{declared}`: {' '.join(' '.join(prose(documented)).split())}"


def declaration(name: str, thing: Any) -> list[str]:
    """Its signature, a parameter a line where it is long; of an enumeration the members, of an
    exception its base.
    """
    if inspect.isclass(thing) and issubclass(thing, BaseException):
        return [f"class {name}({thing.__base__.__name__ if thing.__base__ else ''})"]
    if inspect.isclass(thing) and issubclass(thing, enum.Enum):
        return [f"{each.name} = {each.value!r}" for each in thing]
    signature = bare(inspect.signature(thing), getattr(thing, "__annotations__", {}))
    whole = f"{name}{signature}"
    if len(whole) <= WIDTH:
        return [whole]
    ending = (
        ""
        if signature.return_annotation is signature.empty
        else (f" -> {signature.return_annotation}")
    )
    lines = [f"    {each}," for each in parameters(signature)]
    return [f"{name}(", *lines, f"){ending}"]


def parameters(signature: inspect.Signature) -> Iterator[str]:
    """As they are written, with the star before those that are named."""
    starred = False
    for each in signature.parameters.values():
        if each.kind is each.KEYWORD_ONLY and not starred:
            yield "*"
        starred |= each.kind in (each.KEYWORD_ONLY, each.VAR_POSITIONAL)
        yield str(each)


def bare(signature: inspect.Signature, written: Mapping[str, Any]) -> inspect.Signature:
    """Annotations as in the source, without quotes; the instance and what is private left out.
    `written`: of a class its fields', which a Struct's signature has resolved.
    """
    kept = [
        each.replace(
            annotation=Bare.of(written.get(each.name, each.annotation)),
            default=_default(each.default),
        )
        for each in signature.parameters.values()
        if each.name not in ("self", "cls") and not each.name.startswith("_")
    ]
    returned = Bare.of(signature.return_annotation)
    if signature.return_annotation in (None, "None"):
        returned = signature.empty
    return inspect.Signature(kept, return_annotation=returned)


class Bare(str):
    """Text that stands for itself in a signature."""

    def __repr__(self) -> str:
        return str(self)

    @classmethod
    def of(cls, annotation: Any) -> Any:
        if annotation is inspect.Signature.empty:
            return annotation
        return cls(
            annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
        )


def _default(value: Any) -> Any:
    """Short enough to read: a number or a text itself, of all else that there is one."""
    if value is inspect.Parameter.empty or isinstance(value, bool | int | float | None):
        return value
    if isinstance(value, str) and len(value) <= LONGEST:
        return value
    return Bare(repr(value) if value == () else "...")


def prose(thing: Any) -> list[str]:
    """The docstring, a paragraph a line. A dataclass without one has no prose."""
    text = inspect.getdoc(thing) or ""
    if dataclasses.is_dataclass(thing) and text.startswith(f"{getattr(thing, '__name__', '')}("):
        return []
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
    return "\n\n".join(paragraphs).splitlines()


def main() -> None:
    """The command line."""
    files = ((FOLDER / f"{name}.md", page(name)) for name in FACES)
    bring_up_to_date(__doc__ or "", files)


if __name__ == "__main__":
    main()
