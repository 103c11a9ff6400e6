"""The pictures of tests/project/pictures stand in the page itself, so that they follow the page's
own light and dark; on GitHub they are images, and follow the browser's. Others stay images.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.pages import Page

OURS = 'class="mp"'
IMAGE = re.compile(r'<img [^>]*src="([^"]*?(pictures/[\w-]+\.svg))"[^>]*/?>')


def on_page_content(html: str, page: Page, config: MkDocsConfig, **_: object) -> str:
    def drawn(match: re.Match[str]) -> str:
        svg = (Path(config.docs_dir) / match[2]).read_text(encoding="utf-8")
        if OURS not in svg:
            return match[0]
        return f'<span class="picture" data-search-exclude>{svg[svg.index("<svg") :]}</span>'

    return IMAGE.sub(drawn, html)
