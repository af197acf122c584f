# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The Videos tab with sample cards in a real browser: Debian's ``chromium`` and ``chromium-driver``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dev.headless_browser import running_browser
from dev.sample_videos import sample_video
from tests.support.tab_browser import TabBrowser
from tests.support.videos_page import VideosPage


@pytest.fixture(scope="session")
def running_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VideosPage]:
    video = tmp_path_factory.mktemp("video") / "video.mp4"
    video.write_bytes(sample_video("mp4, moov first", frames=240, width=320, height=180))
    with VideosPage(video).running() as page:
        yield page


@pytest.fixture(scope="session")
def running_tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TabBrowser]:
    with running_browser(tmp_path_factory.mktemp("browser")) as browser:
        browser.set_script_timeout(60)
        yield TabBrowser(browser)


@pytest.fixture
def server(running_page: VideosPage) -> VideosPage:
    """The page's server, with cards of every state."""
    running_page.reset()
    return running_page


@pytest.fixture
def tab(running_tab: TabBrowser, server: VideosPage) -> Iterator[TabBrowser]:
    """A window of usual size with nothing in it; at the end, nothing may have been refused by the browser."""
    running_tab.size(1200)
    running_tab.prefer("light")
    running_tab.browser.get("about:blank")
    running_tab.complaints()
    yield running_tab
    refused = [
        text for text in running_tab.complaints() if "Content Security Policy" in text or ".js" in text
    ]
    assert refused == []


@pytest.fixture
def opened(tab: TabBrowser, server: VideosPage) -> TabBrowser:
    """The page with a card of every state."""
    tab.browser.get(f"{server.url}/vidgen/videos")
    tab.wait(lambda: tab.text("#connection-text").startswith("Live"), "live page")
    return tab
