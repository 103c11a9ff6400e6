"""Pages and pictures that are made from the sources are those of this tree."""

from __future__ import annotations

import pytest

from tests.project import api_page
from tests.project.pictures.__main__ import FOLDER, PICTURES


@pytest.mark.parametrize("name", api_page.FACES)
def test_the_page_of_a_face_is_up_to_date(name: str) -> None:
    before = (api_page.FOLDER / f"{name}.md").read_text(encoding="utf-8")
    assert before == api_page.page(name), "python -m tests.project.api_page --write"


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_up_to_date(name: str) -> None:
    before = (FOLDER / f"{name}.svg").read_text(encoding="utf-8")
    assert before == PICTURES[name]().svg(), "python -m tests.project.pictures --write"
