"""Writes docs/dependencies.md: what is installed for what, why, and under which licence.

python -m tests.supply.page --write
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.project.made import bring_up_to_date
from tests.supply.declared import BUILD, FOLDER, LOCKS, PROJECT, ROOT, lines, pins
from tests.supply.licences import ALLOWED, JUDGED, UNLOCKED, all_pins, licence_of, recorded

PAGE = ROOT / "docs" / "dependencies.md"
BEGIN, END = "<!-- distributions: begin -->", "<!-- distributions: end -->"
TITLES = {"party": "The base: what a party's process needs", "build": "To build it"}


def reasons() -> dict[str, dict[str, str]]:
    """Extra (`party`: the base, `build`: the builder) -> distribution -> why."""
    return tomllib.loads((FOLDER / "reasons.toml").read_text(encoding="utf-8"))


def asked_for() -> dict[str, dict[str, str]]:
    """Extra -> distribution -> versions, as pyproject.toml and build.in have them."""
    texts = {
        "party": PROJECT["dependencies"],
        **PROJECT["optional-dependencies"],
        "build": lines(BUILD),
    }
    return {extra: dict(direct(each)) for extra, each in texts.items()}


def direct(texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Without other extras of this distribution."""
    for text in texts:
        requirement = Requirement(text)
        if requirement.name != "moiety":
            yield canonicalize_name(requirement.name), str(requirement.specifier)


def row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def table(extra: str, wanted: dict[str, str]) -> list[str]:
    """One extra's section."""
    said, locked, why = recorded(), all_pins(), reasons().get(extra, {})
    out = [f"### {TITLES.get(extra, f'`{extra}`')}", ""]
    out += [row(("distribution", "asked for", "locked", "licence", "why")), row(["---"] * 5)]
    for name, versions in wanted.items():
        pin = locked.get(name)
        licence = licence_of(name, UNLOCKED[name] if pin is None else said[name])
        out.append(row((name, versions, pin.version if pin else "not", licence, why[name])))
    return [*out, ""]


def indirect() -> list[str]:
    """What comes with the others, by licence."""
    said = recorded()
    named = {name for wanted in asked_for().values() for name in wanted}
    by_licence: dict[str, list[str]] = {}
    for name in sorted(all_pins().keys() - named):
        by_licence.setdefault(licence_of(name, said.get(name, "?")), []).append(name)
    out = ["### What comes with these", "", row(("licence", "distributions")), row(["---"] * 2)]
    return [*out, *(row((key, ", ".join(by_licence[key]))) for key in sorted(by_licence)), ""]


def summary() -> list[str]:
    """What is allowed, what was judged, how much is locked."""
    counts = ", ".join(f"`{lock}.lock` {len(pins(lock))}" for lock in LOCKS)
    judged = [f"- {name}, {JUDGED[name][0]}: {JUDGED[name][1]}" for name in sorted(JUDGED)]
    locked = [line for line in judged if line.split(",")[0][2:] in all_pins()]
    return [
        f"Distributions in the lock files: {counts}.",
        "",
        f"Allowed: {', '.join(sorted(ALLOWED))}. Judged by name:",
        "",
        *locked,
        "",
    ]


def updated(text: str) -> str:
    """The page with its made section as it should be."""
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    sections = [
        line for extra, wanted in asked_for().items() if wanted for line in table(extra, wanted)
    ]
    made = "\n".join([*summary(), *sections, *indirect()])
    return f"{before}{BEGIN}\n\n{made}\n{END}{after}"


if __name__ == "__main__":
    bring_up_to_date(str(__doc__), [(PAGE, updated(PAGE.read_text(encoding="utf-8")))])
