"""Navigation is the reading order of docs/README.md: its sections, their links, each page where it
is named first. What is linked above the sections is for reference, and so are the decisions. A page
that the reading order does not name is named by mkdocs, and `--strict` makes that an error.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig

ORDER = "README.md"
DECISIONS = "decisions"
TREE = "../"
"""How a link out of docs/ begins; site/tree.py makes pages of their targets."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    docs = Path(config.docs_dir)
    decisions = sorted(str(path.relative_to(docs)) for path in docs.glob(f"{DECISIONS}/*.md"))
    reference, *sections = order((docs / ORDER).read_text(encoding="utf-8"))
    config.nav = [
        {config.site_name: ORDER},
        *({title: pages} for title, pages in sections),
        {"Reference": [*reference[1], {"Decisions": [f"{DECISIONS}/index.md", *decisions]}]},
    ]
    return config


def order(text: str) -> list[tuple[str, list[str]]]:
    """Heading of a section, and its pages that none before it has; first what is above them all."""
    seen: set[str] = set()
    found = []
    for section in re.split(r"^## ", text, flags=re.M):
        title, _, body = section.partition("\n")
        pages = []
        for link in re.findall(r"\]\(([^)#\s]+\.md)[)#]", body):
            page = f"tree/{link.removeprefix(TREE)}" if link.startswith(TREE) else link
            if page not in seen and not page.startswith(DECISIONS):
                seen.add(page)
                pages.append(page)
        found.append((title, pages))
    return found
