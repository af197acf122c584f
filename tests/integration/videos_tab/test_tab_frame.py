# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The page in the sandboxed frame in which the Airflow UI shows it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.sample_cards import LANDED, RENDERING
from tests.support.tab_browser import TabBrowser
from tests.support.videos_page import VideosPage


@pytest.fixture
def framed(tab: TabBrowser, server: VideosPage) -> Iterator[TabBrowser]:
    tab.browser.get(f"{server.url}/frame")
    tab.browser.switch_to.frame(tab.browser.find_element("css selector", "iframe"))
    tab.wait(lambda: tab.text("#connection-text").startswith("Live"), "live page")
    yield tab
    first, *others = tab.browser.window_handles
    for window in others:
        tab.browser.switch_to.window(window)
        tab.browser.close()
    tab.browser.switch_to.window(first)


def theme(tab: TabBrowser) -> str:
    return str(tab.js("return document.documentElement.dataset.theme"))


def test_the_colour_mode_is_that_of_the_airflow_ui_and_follows_it(framed: TabBrowser) -> None:
    framed.prefer("dark")
    assert theme(framed) == "light"
    for mode in ("dark", "light"):
        framed.js("parent.document.documentElement.className = arguments[0]", mode)
        framed.wait(lambda mode=mode: theme(framed) == mode, mode)


def test_outside_of_the_ui_the_colour_mode_is_the_chosen_or_the_preferred_one(
    tab: TabBrowser, server: VideosPage
) -> None:
    tab.browser.get(f"{server.url}/vidgen/static/videos.css")
    tab.js("localStorage.setItem('theme', 'dark')")
    try:
        tab.browser.get(f"{server.url}/vidgen/videos")
        assert theme(tab) == "dark"
    finally:
        tab.js("localStorage.setItem('theme', 'system')")
    tab.browser.get(f"{server.url}/vidgen/videos")
    assert theme(tab) == "light"
    tab.prefer("dark")
    tab.wait(lambda: theme(tab) == "dark", "dark mode")


def test_a_link_to_airflow_replaces_the_ui_and_not_the_frame(framed: TabBrowser, server: VideosPage) -> None:
    framed.card(LANDED.title).find_element("css selector", ".acts a").click()
    framed.browser.switch_to.default_content()
    framed.wait(lambda: framed.browser.current_url.endswith(LANDED.links[0].href), "page of the task")


def test_a_link_to_another_site_opens_a_tab_of_its_own(framed: TabBrowser, server: VideosPage) -> None:
    (link,) = (link for link in RENDERING.links if link.external)
    found = framed.card(RENDERING.title).find_element("css selector", "a[data-new-tab]")
    assert found.get_attribute("href") == link.href
    assert found.get_attribute("rel") == "noopener noreferrer"
    framed.js("arguments[0].href = '/dags/in-a-new-tab'", found)
    found.click()
    framed.wait(lambda: len(framed.browser.window_handles) == 2, "second tab")
    framed.wait(lambda: server.asked("/dags/in-a-new-tab"), "request of the second tab")


def test_a_video_plays_in_the_frame(framed: TabBrowser) -> None:
    framed.play(framed.card(LANDED.title))
