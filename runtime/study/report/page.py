"""What a report consists of: sections of blocks, and the one page that they make."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from moiety.runtime.intake.text import printable
from moiety.runtime.study.report.palette import COLOURS
from moiety.runtime.study.report.table import Table

_MINUS = re.compile(r"(?<![\w-])-(?=\d)")
_KEPT = re.compile(r" (?=%)| (?=[<=] \d)|(?<= [<=]) (?=\d)")
"""Spaces at which no line ends: before a percent sign, around a relation."""
_JOINT = re.compile(r"[_/.]")


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
class Numbers:
    """A few that matter, large, each with its words."""

    kind: ClassVar = "numbers"
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


Block = Prose | Points | Facts | Numbers | Gallery | Heading | Table


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
    """`findings`: paragraphs. `numbers`: a few results, each with its words. The section
    `resources` alone depends on more than results.
    """

    title: str
    kicker: str
    findings: Sequence[str]
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
        finalize=_typeset,
    )
    made.filters["breaking"] = _breaking
    return made.get_template("report.html.jinja").render(page=page, colours=COLOURS).encode()


def _typeset(value: object) -> object:
    """Names from outside move no cursor and turn no line around; a number keeps its sign."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return _KEPT.sub("\N{NO-BREAK SPACE}", _MINUS.sub("\N{MINUS SIGN}", printable(value)))


def _breaking(name: str) -> Markup:
    """A name that may go on in another line behind what joins its parts."""
    return Markup(_JOINT.sub(r"\g<0><wbr>", str(escape(_typeset(name)))))
