"""Pages and pictures that are made from the sources are those of this tree."""

from __future__ import annotations

import pytest

from tests.project import api_page
from tests.project.pictures.__main__ import FOLDER, PICTURES


def test_the_page_of_the_faces_is_up_to_date() -> None:
    before = api_page.PAGE.read_text(encoding="utf-8")
    assert before == api_page.updated(), "python -m tests.project.api_page --write"


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_up_to_date(name: str) -> None:
    before = (FOLDER / f"{name}.svg").read_text(encoding="utf-8")
    assert before == PICTURES[name]().svg(), "python -m tests.project.pictures --write"
