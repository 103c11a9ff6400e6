"""The report in a real browser: as wide as a phone and a desktop, light, dark and printed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from moiety.runtime.study.report import write_report
from tests.support.analyses import Made
from tests.support.browser import open_browser

LABELS = [f"finding_{n}" for n in range(8)]
SITES = [f"hospital_of_site_{n}" for n in range(7)]
PAGES = {
    "scores": Made(labels=LABELS, sites=SITES, single=1),
    "decision": Made(labels=LABELS, sites=SITES, reveal="decision"),
    "top-1": Made(labels=LABELS, reveal="top-1"),
    "aggregate": Made(reveal="aggregate"),
    "names": Made(labels=("<b>&" + "w" * 300, "胸水\u202e", "two words"), sites=("s" * 90, "t")),
    "many": Made(labels=[f"label {n}" for n in range(40)], sites=[f"site {n}" for n in range(12)]),
}
PHONE, DESKTOP = 360, 1280
AA_TEXT = 4.5

FAINT = """
const shade = c => {
  const linear = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const [r, g, b] = c.map(v => linear(v / 255));
  return .2126 * r + .7152 * g + .0722 * b;
};
const parts = c => c.match(/[\\d.]+/g).map(Number);
const ground = e => {
  for (; e; e = e.parentElement) {
    const c = parts(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c.slice(0, 3);
  }
  return [255, 255, 255];
};
const found = [];
for (const e of document.body.querySelectorAll('*')) {
  const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
  if (!own || ['title', 'desc'].includes(e.tagName)) continue;
  const style = getComputedStyle(e);
  const ink = parts(e instanceof SVGElement ? style.fill : style.color).slice(0, 3);
  const [low, high] = [shade(ink), shade(ground(e))].sort((a, b) => a - b);
  const contrast = (high + .05) / (low + .05);
  if (contrast < arguments[0]) found.push([contrast, e.tagName, e.textContent.slice(0, 40)]);
}
return found;
"""
CUT = """
const found = [];
for (const picture of document.querySelectorAll('svg')) {
  const box = picture.getBoundingClientRect();
  for (const text of picture.querySelectorAll('text')) {
    const at = text.getBoundingClientRect();
    if (at.left < box.left - 1 || at.right > box.right + 1
        || at.top < box.top - 1 || at.bottom > box.bottom + 1) found.push(text.textContent);
  }
}
return found;
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("reports")
    for name, each in PAGES.items():
        write_report(each.study(), each.analysis(), made / name)
    return made


@pytest.fixture(scope="module")
def chrome() -> Iterator[Chrome]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def browser(chrome: Chrome) -> Iterator[Chrome]:
    chrome.get_log("browser")  # type: ignore[no-untyped-call, unused-ignore]
    yield chrome
    assert chrome.get_log("browser") == []  # type: ignore[no-untyped-call, unused-ignore]


def show(
    browser: Chrome, page: Path, width: int, scheme: str = "light", medium: str = "screen"
) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    size: dict[str, Any] = {"width": width, "height": 900, "deviceScaleFactor": 1}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size | {"mobile": width == PHONE})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": medium, "features": [feature]})
    browser.get((page / "report.html").as_uri())


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("name", PAGES)
def test_the_page_never_scrolls_sideways(
    folder: Path, browser: Chrome, name: str, width: int
) -> None:
    show(browser, folder / name, width)
    assert browser.title
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script(CUT) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["scores", "decision", "top-1"])
def test_all_letters_stand_out(folder: Path, browser: Chrome, name: str, scheme: str) -> None:
    show(browser, folder / name, DESKTOP, scheme)
    assert browser.execute_script(FAINT, AA_TEXT) == []
    assert browser.execute_script(FAINT, 22)


def test_nothing_is_fetched_and_nothing_runs(folder: Path, browser: Chrome) -> None:
    for name in PAGES:
        show(browser, folder / name, DESKTOP)
        assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
        assert browser.execute_script("return document.scripts.length") == 0


def test_pictures_and_tables_have_names(folder: Path, browser: Chrome) -> None:
    show(browser, folder / "aggregate", DESKTOP)
    pictures = browser.find_elements(By.CSS_SELECTOR, "svg")
    assert {(each.aria_role, each.accessible_name != "") for each in pictures} == {("image", True)}
    boxes = browser.find_elements(By.CSS_SELECTOR, ".scroll")
    assert all(each.accessible_name for each in boxes)
    assert all(table.find_elements(By.CSS_SELECTOR, "th[scope=col]") for table in boxes)


def test_keys_reach_the_summary_and_the_tables(folder: Path, browser: Chrome) -> None:
    show(browser, folder / "scores", DESKTOP)
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    skip = browser.switch_to.active_element
    assert skip.text == "Skip to the summary"
    assert skip.rect["x"] >= 0
    assert skip.value_of_css_property("outline-style") == "solid"
    skip.send_keys(Keys.ENTER)
    assert browser.current_url.endswith("#summary")


def test_print_is_dark_on_white_whatever_the_screen_is(folder: Path, browser: Chrome) -> None:
    show(browser, folder / "scores", DESKTOP, "dark", "print")
    body = browser.find_element(By.TAG_NAME, "body")
    assert body.value_of_css_property("background-color") == "rgba(255, 255, 255, 1)"
    assert browser.find_element(By.TAG_NAME, "nav").value_of_css_property("display") == "none"
    assert browser.execute_script(FAINT, AA_TEXT) == []
