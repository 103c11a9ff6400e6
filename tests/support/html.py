"""Pages as a browser or a screen reader finds them: the parts that tests ask about."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise

VOID = {"br", "col", "hr", "img", "input", "link", "meta", "wbr"}
RUNS = {"applet", "embed", "form", "frame", "iframe", "object", "script"}
REACHES_OUT = re.compile(r"(?:https?:)?//|url\((?!#)|@import|javascript:|data:", re.I)


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    parent: Element | None = None
    content: list[Element | str] = field(default_factory=list)

    @property
    def children(self) -> list[Element]:
        return [each for each in self.content if isinstance(each, Element)]

    @property
    def text(self) -> str:
        """Its own, without that of elements within it."""
        return "".join(each for each in self.content if isinstance(each, str))

    def all(self, *tags: str) -> list[Element]:
        """Those within it that have one of the tags, all without any, in order."""
        here = [self] if self.tag in tags or not tags else []
        return here + [each for child in self.children for each in child.all(*tags)]

    def whole_text(self) -> str:
        return "".join(e if isinstance(e, str) else e.whole_text() for e in self.content)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = self.at = Element("document", {})

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"<{tag}> has an attribute twice"
        made = Element(tag, {name: value or "" for name, value in attrs}, self.at)
        self.at.content.append(made)
        if tag not in VOID:
            self.at = made

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.at.tag, f"</{tag}> where <{self.at.tag}> is open"
        assert self.at.parent is not None
        self.at = self.at.parent

    def handle_data(self, data: str) -> None:
        self.at.content.append(data)


def read(page: str) -> Element:
    """The page's elements; every one is closed where it should be."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert reader.at is reader.root, f"<{reader.at.tag}> is never closed"
    return reader.root


def check(page: str) -> Element:
    """What holds of every page of ours: well-formed, alone in the world, and read aloud well."""
    root = read(page)
    assert page.startswith("<!DOCTYPE html>")
    (html,) = root.all("html")
    assert html.attributes["lang"] == "en"
    (title,) = root.all("head")[0].all("title")
    assert title.text.strip()
    _check_names(root)
    _check_alone(root)
    _check_headings(root)
    for table in root.all("table"):
        _check_table(table)
    for picture in root.all("svg", "img"):
        _check_picture(picture)
    return root


def _check_names(root: Element) -> None:
    ids = [each.attributes["id"] for each in root.all() if "id" in each.attributes]
    assert len(set(ids)) == len(ids), "an id is there twice"
    for each in root.all():
        wanted = each.attributes.get("aria-labelledby", "").split()
        link = each.attributes.get("href", "")
        wanted += [link[1:]] if link.startswith("#") else []
        wanted += re.findall(r"url\(#([^)]*)\)", each.attributes.get("clip-path", ""))
        assert set(wanted) <= set(ids), f"{wanted} leads nowhere"


def _check_alone(root: Element) -> None:
    assert not root.all(*RUNS)
    for each in root.all():
        assert not [name for name in each.attributes if name.startswith("on")]
        for name in ("href", "src", "style", "srcset", "action"):
            assert not REACHES_OUT.search(each.attributes.get(name, ""))
    assert not any(REACHES_OUT.search(style.text) for style in root.all("style"))


def _check_headings(root: Element) -> None:
    levels = [int(each.tag[1]) for each in root.all("h1", "h2", "h3", "h4", "h5", "h6")]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert len(root.all("main")) == 1


def _check_table(table: Element) -> None:
    (caption,) = table.all("caption")
    assert caption.whole_text().strip()
    for heading in table.all("th"):
        assert heading.attributes["scope"] in ("col", "row", "rowgroup")
        assert heading.whole_text().strip()
    width = len(table.all("thead")[0].all("th"))
    for row in (row for body in table.all("tbody") for row in body.all("tr")):
        cells = row.all("th", "td")
        assert cells[0].tag == "th"
        assert sum(int(cell.attributes.get("colspan", "1")) for cell in cells) == width


def _check_picture(picture: Element) -> None:
    assert picture.attributes["role"] == "img"
    for name in ("title", "desc"):
        (said,) = [each for each in picture.children if each.tag == name]
        assert said.text.strip()
        assert said.attributes["id"] in picture.attributes["aria-labelledby"]
