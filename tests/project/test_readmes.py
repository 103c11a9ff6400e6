"""A README in every room: short, true where a test can tell, and with what to touch for what."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.project.touch import REGISTRIES, THINGS, Thing, families, rooms, updated

ROOT = Path(__file__).resolve().parents[2]
HOUSES = ("benchmarks", "compiler", "models", "native", "protocols", "runtime", "tests")
# Rooms that the README of the room around them describes.
WITHOUT = {
    "commands",
    "ops",
    "reference",
    "rlwe",
    "search",
    "sections",
    "silent",
    "steps",
    "support",
    "symmetric",
    "vector",
}
LONGEST = 20


def all_rooms() -> list[str]:
    """The houses, and the folders in them that hold sources; of the tests the house alone."""
    inner = [
        str(path.relative_to(ROOT))
        for house in HOUSES
        if house != "tests"
        for path in sorted((ROOT / house).rglob("*"))
        if path.is_dir() and path.name not in WITHOUT and any(path.glob("*.py"))
    ]
    return [*HOUSES, *inner]


@pytest.mark.parametrize("room", all_rooms())
def test_a_room_has_a_door_plate(room: str) -> None:
    text = (ROOT / room / "README.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {room}\n")
    assert text.split("\n## ")[0].count("\n") <= LONGEST
    assert "**Begin** with" in text


@pytest.mark.parametrize("room", all_rooms())
def test_files_named_in_a_readme_exist(room: str) -> None:
    """`name.py` and `folder/name.hpp`, from the room or from the root."""
    text = (ROOT / room / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]+\.(?:py|hpp|cpp|md)|[\w/]+/)`", text)
    assert not [n for n in named if not any((at / n).exists() for at in (ROOT / room, ROOT))]


def test_every_room_says_what_to_touch() -> None:
    assert set(rooms()) == set(all_rooms())


@pytest.mark.parametrize("room", rooms())
def test_what_to_touch_is_up_to_date(room: str) -> None:
    before, after = updated(room)
    assert before == after, "python -m tests.project.touch --write"


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: thing.name)
def test_what_to_touch_exists(thing: Thing) -> None:
    """A path with `<name>` or the like stands for files that there are some of, and a file in which
    something registers has entries.
    """
    for path in thing.files:
        found = families(path) if path in REGISTRIES else ROOT.glob(re.sub(r"<\w+>", "*", path))
        assert list(found), path


def test_recipes_promise_the_same_counts() -> None:
    recipes = (ROOT / "docs" / "add-something.md").read_text(encoding="utf-8")
    promised = re.findall(r"^## (.+): (\d+) files?$", recipes, re.M)
    counts = {thing.name: len(thing.files) for thing in THINGS}
    assert promised
    assert {name: counts[name] for name, _ in promised} == {n: int(c) for n, c in promised}


def test_readmes_are_not_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "**/README.md" in project["tool"]["scikit-build"]["wheel"]["exclude"]
