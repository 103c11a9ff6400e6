"""Code in documents: it is run, or says why not (tests/support/blocks.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.blocks import MARKS, ROOT, Block, blocks_of
from tests.support.command import Compiled
from tests.support.pages import documents, pages_to_run, run_page, stage

BLOCKS = [block for page in documents() for block in blocks_of(page)]


def test_documents_have_code() -> None:
    assert len(BLOCKS) > 30
    assert {"README.md", "docs/build-it-up.md"} <= {*pages_to_run(slow=False)}
    assert "docs/start.md" in pages_to_run(slow=True)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_what_is_not_run_says_why(block: Block) -> None:
    """And a page that a test of its own walks is named there."""
    assert block.mark in ("", *MARKS), f"a mark is one of {', '.join(MARKS)}"
    if block.mark == "run by":
        assert Path(block.page).name in (ROOT / block.why).read_text(encoding="utf-8")
    elif block.mark:
        assert len(block.why.split()) > 2, "a reason, in words"


@pytest.mark.parametrize("page", pages_to_run(slow=False))
def test_code_in_documents_does_what_it_says(page: str, compiled: Compiled, tmp_path: Path) -> None:
    """A page that this fails for: `<!-- not run: why -->` above a block takes that one out."""
    stage(tmp_path, compiled, page)
    run_page(page, tmp_path)
