# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A headless browser: Debian's ``chromium`` and ``chromium-driver``, controlled by Selenium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--window-size=1200,1500",
    "--autoplay-policy=no-user-gesture-required",
)
_PAGE_LOAD_TIMEOUT = 60


@contextmanager
def running_browser(profile: Path) -> Iterator[Chrome]:
    """
    Run a browser while the block lasts.

    :param profile: an empty folder for the browser's profile.
    :raises FileNotFoundError: the browser is not installed.
    """
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        raise FileNotFoundError("chromium or chromedriver is not installed; run `make browser`")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=Service(driver))
    browser.set_page_load_timeout(_PAGE_LOAD_TIMEOUT)
    try:
        yield browser
    finally:
        browser.quit()
