"""The page of a Program in a real browser: search, zoom, blocks, keys; nothing on its console."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.support.browser import open_browser
from tests.support.command import Compiled, moiety

PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}


@pytest.fixture(scope="module")
def file(compiled: Compiled, tmp_path_factory: pytest.TempPathFactory) -> Path:
    written = tmp_path_factory.mktemp("page") / "program.html"
    moiety("inspect", compiled.public, "--html", written).check()
    return written


@pytest.fixture
def browser(file: Path) -> Iterator[webdriver.Chrome]:
    with open_browser() as opened:
        opened.get(file.as_uri())
        yield opened
        assert opened.get_log("browser") == []  # type: ignore[no-untyped-call, unused-ignore]


def shown(browser: webdriver.Chrome, name: str) -> str:
    return str(browser.find_element(By.ID, name).get_property("value"))


def test_search_finds_a_layer_in_a_closed_block(browser: webdriver.Chrome) -> None:
    browser.find_element(By.ID, "close").click()
    assert not browser.find_elements(By.CSS_SELECTOR, "details.block[open]")
    browser.find_element(By.TAG_NAME, "body").send_keys("/")
    search = browser.switch_to.active_element
    assert search.get_attribute("id") == "search"
    search.send_keys("maxpool")
    assert shown(browser, "found").startswith("1 of ")
    (here,) = browser.find_elements(By.CSS_SELECTOR, ".layer.here")
    title = here.find_element(By.TAG_NAME, "title").get_attribute("textContent")
    assert "maxpool" in str(title).lower()
    assert here.is_displayed()
    search.clear()
    search.send_keys("truncate linear")
    count = int(shown(browser, "found").split()[-1])
    assert count > 1
    search.send_keys(Keys.ENTER)
    assert shown(browser, "found") == f"2 of {count}"
    search.send_keys(Keys.SHIFT + Keys.ENTER)
    assert shown(browser, "found") == f"1 of {count}"
    search.clear()
    search.send_keys("no such layer")
    assert shown(browser, "found") == "none"


def test_zoom_and_keys(browser: webdriver.Chrome) -> None:
    picture = browser.find_element(By.CSS_SELECTOR, "#drawing svg")
    width = picture.size["width"]
    browser.find_element(By.ID, "larger").click()
    assert shown(browser, "zoom") == "125 %"
    assert picture.size["width"] == pytest.approx(1.25 * width, rel=0.01)
    browser.find_element(By.TAG_NAME, "body").send_keys("0--")
    assert shown(browser, "zoom") == "64 %"
    browser.find_element(By.ID, "fit").click()
    drawing = browser.find_element(By.ID, "drawing")
    assert picture.size["width"] == pytest.approx(drawing.size["width"], abs=2)


def test_a_drawn_layer_leads_to_its_row(browser: webdriver.Chrome) -> None:
    browser.find_element(By.CSS_SELECTOR, "#drawn-3 .name").click()
    assert browser.find_element(By.ID, "layer-3").is_displayed()


def test_a_phone_scrolls_drawings_not_the_page(browser: webdriver.Chrome) -> None:
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390


def test_without_scripts_all_is_there(browser: webdriver.Chrome) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.refresh()
    assert not browser.find_element(By.ID, "tools").is_displayed()
    assert browser.find_element(By.ID, "drawn-0").is_displayed()
    browser.find_element(By.CSS_SELECTOR, "details.table > summary").click()
    assert browser.find_element(By.ID, "layer-0").is_displayed()
