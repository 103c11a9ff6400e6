"""Pages and pictures that are made from the sources are those of this tree."""

from __future__ import annotations

from tests.project import api_page


def test_the_page_of_the_faces_is_up_to_date() -> None:
    before = api_page.PAGE.read_text(encoding="utf-8")
    assert before == api_page.updated(), "python -m tests.project.api_page --write"
