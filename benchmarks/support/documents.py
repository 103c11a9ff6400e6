"""Documents that benchmarks write: sections between two markers, and paragraphs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

COLUMNS = 100


def paragraph(text: str) -> list[str]:
    """A paragraph in lines, and the empty line after it."""
    return [*textwrap.wrap(text, COLUMNS, break_long_words=False, break_on_hyphens=False), ""]


@dataclass(frozen=True)
class Section:
    """The part of a Markdown file between the markers of this name."""

    name: str

    @property
    def begin(self) -> str:
        return f"<!-- {self.name}: begin -->"

    @property
    def end(self) -> str:
        return f"<!-- {self.name}: end -->"

    def replaced(self, text: str, lines: Iterable[str]) -> str:
        """The document `text` with `lines` as this section."""
        head, _, rest = text.partition(self.begin)
        _, _, tail = rest.partition(self.end)
        body = "\n".join(lines).strip("\n")
        return f"{head}{self.begin}\n\n{body}\n\n{self.end}{tail}"
