"""What a report consists of: sections of blocks, and the one page that they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from moiety.runtime.intake.text import printable
from moiety.runtime.study.report.palette import COLOURS
from moiety.runtime.study.report.table import Table


@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    kind: ClassVar = "prose"
    text: str


@dataclass(frozen=True)
class Points:
    """A list of sentences, each after a word that it is about, or after none."""

    kind: ClassVar = "points"
    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Facts:
    """Names and what they stand for."""

    kind: ClassVar = "facts"
    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Swatch:
    """An entry of a legend: a colour of the palette, as a `line`, `dashed`, `band` or `dot`."""

    colour: str
    form: str
    meaning: str


@dataclass(frozen=True)
class Picture:
    """`name`: above it; none where the gallery's caption says all."""

    svg: Markup
    name: str = ""


@dataclass(frozen=True)
class Gallery:
    """Pictures of one kind, side by side where there is room, with one caption and legend."""

    kind: ClassVar = "gallery"
    caption: str
    pictures: Sequence[Picture]
    legend: Sequence[Swatch] = ()


@dataclass(frozen=True)
class Heading:
    """Of what follows in the section."""

    kind: ClassVar = "heading"
    text: str


Block = Prose | Points | Facts | Gallery | Heading | Table


@dataclass(frozen=True)
class Section:
    """`key`: its anchor."""

    key: str
    title: str
    blocks: Sequence[Block]

    def tables(self) -> list[Table]:
        return [block for block in self.blocks if isinstance(block, Table)]


@dataclass(frozen=True)
class Verdict:
    """On a label: whether equivalence was shown, None where it could not be asked; the sentence."""

    label: str
    equivalent: bool | None
    statement: str


@dataclass(frozen=True)
class Page:
    """`lead`: what was found, in paragraphs. `numbers`: a few, each with its words."""

    title: str
    kicker: str
    lead: Sequence[str]
    numbers: Sequence[tuple[str, str]]
    verdicts: Sequence[Verdict]
    sections: Sequence[Section]


def render(page: Page) -> bytes:
    """The whole file. Text from outside stays text, whatever it holds."""
    made = Environment(
        loader=PackageLoader("moiety.runtime.study.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_one_line,
    )
    return made.get_template("report.html.jinja").render(page=page, colours=COLOURS).encode()


def _one_line(value: object) -> object:
    """Names from outside move no cursor and turn no line around."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
