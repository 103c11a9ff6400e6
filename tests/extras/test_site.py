"""The documentation site: it builds without a warning, fetches nothing, and can be read in a real
browser at the width of a phone and of a desktop.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.command import Command
from selenium.webdriver.support.expected_conditions import (
    element_to_be_clickable,
    presence_of_all_elements_located,
)
from selenium.webdriver.support.wait import WebDriverWait

from tests.support.blocks import ROOT
from tests.support.browser import open_browser

FROM_ELSEWHERE = re.compile(
    r'<(?:script|img|iframe|source)[^>]+src="(?:https?:)?//[^"]*"'
    r'|<link[^>]+rel="(?:stylesheet|preconnect|preload|icon)"[^>]+href="(?:https?:)?//[^"]*"'
    r"""|@import\s*["'u]|url\(["']?(?:https?:)?//"""
)
PAGES = (
    "index",
    "start",
    "how-it-works",
    "build-it-up",
    "api/runtime",
    "architecture",
    "tree/SECURITY",
)
WIDTHS = {"phone": 360, "desktop": 1280}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with open_browser() as opened:
        yield opened


def test_every_document_is_a_page(site: Path) -> None:
    documents = [
        path.relative_to(ROOT / "docs").with_suffix(".html")
        for path in (ROOT / "docs").rglob("*.md")
        if path.name != "README.md"
    ]
    assert len(documents) > 50
    assert not [str(page) for page in documents if not (site / page).is_file()]


def test_a_link_into_the_source_is_a_page(site: Path) -> None:
    assert "What is not promised" in (site / "tree" / "SECURITY.html").read_text()
    assert "moiety-serve.service" in (site / "tree" / "deploy" / "index.html").read_text()


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    found = {
        f"{path.relative_to(site)}: {match[0]}"
        for path in site.rglob("*")
        if path.suffix in (".html", ".css")
        for match in FROM_ELSEWHERE.finditer(path.read_text(encoding="utf-8"))
    }
    assert not found


def test_pictures_stand_in_the_page_and_have_names(site: Path) -> None:
    page = (site / "how-it-works.html").read_text(encoding="utf-8")
    assert page.count('<svg xmlns="http://www.w3.org/2000/svg" class="mp" role="img"') == 5
    assert not re.findall(r'<img [^>]*src="[^"]*\.svg"', page)
    for name in ("house", "compilation", "relu", "layer", "widths"):
        assert f'<title id="{name}-title">' in page


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_pages_fit_their_width(site: Path, browser: Chrome, width: int) -> None:
    """The page itself never scrolls sideways; what is wide does so in its own box."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    for page in PAGES:
        browser.get(f"file://{site}/{page}.html")
        assert browser.title
        across = browser.execute_script("return document.documentElement.scrollWidth")
        assert across <= width, f"{page} is {across} pixels wide"


def test_colours_follow_the_system(site: Path, browser: Chrome) -> None:
    """At every visit, not as they were at the first."""
    for wanted, scheme in (("light", "default"), ("dark", "slate"), ("light", "default")):
        preference = {"name": "prefers-color-scheme", "value": wanted}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [preference]})
        browser.get(f"file://{site}/start.html")
        coloured = (By.CSS_SELECTOR, f"body[data-md-color-scheme={scheme}]")
        WebDriverWait(browser, 20).until(presence_of_all_elements_located(coloured))


def test_search_finds_from_a_folder(site: Path, browser: Chrome) -> None:
    """Where browsers allow no workers."""
    browser.get(f"file://{site}/index.html")
    browser.execute_script("document.querySelector('#__search').click()")
    wait = WebDriverWait(browser, 20)
    field = browser.find_element(By.CSS_SELECTOR, ".md-search__input")
    wait.until(element_to_be_clickable(field)).send_keys("truncation")
    result = (By.CSS_SELECTOR, ".md-search-result__item")
    assert wait.until(presence_of_all_elements_located(result))


def test_no_page_complains(site: Path, browser: Chrome) -> None:
    """Neither of an error nor of something that it could not load."""
    for page in PAGES:
        browser.get(f"file://{site}/{page}.html")
        messages = browser.execute(Command.GET_LOG, {"type": "browser"})["value"]
        assert not [each for each in messages if each["level"] == "SEVERE"]
        loaded = browser.execute_script(
            "return performance.getEntriesByType('resource').map(each => each.name)"
        )
        assert not [name for name in loaded if not name.startswith(("file:", "data:", "blob:"))]
