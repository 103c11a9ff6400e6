"""Pages whose code takes a while: the five minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.blocks import ROOT
from tests.support.pages import pages_to_run, run_page


@pytest.mark.parametrize("page", pages_to_run(slow=True))
def test_slow_code_in_documents_does_what_it_says(page: str, tmp_path: Path) -> None:
    """As in a checkout, of which it may see the models."""
    (tmp_path / "models").symlink_to(ROOT / "models")
    run_page(page, tmp_path)
