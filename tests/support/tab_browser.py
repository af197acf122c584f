# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The Videos tab in a real browser, as the tests look at it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

#: Installed by `make axe`.
AXE = Path(sys.prefix, "axe", "node_modules", "axe-core", "axe.min.js")
_PATIENCE = 15.0

#: Draws the present frame of a video and returns the brightest and the darkest of its pixels' colours.
_FRAME = """
const video = arguments[0], canvas = document.createElement("canvas");
[canvas.width, canvas.height] = [64, 36];
const context = canvas.getContext("2d");
context.drawImage(video, 0, 0, 64, 36);
const values = [...context.getImageData(0, 0, 64, 36).data].filter((_, index) => index % 4 < 3);
return [Math.max(...values), Math.min(...values)];
"""


class TabBrowser:
    """
    The page in a browser; elements are found by CSS.

    :param browser: stands on the page, or in its frame.
    """

    def __init__(self, browser: Chrome) -> None:
        self.browser = browser

    def size(self, width: int, height: int = 1000) -> None:
        """Set the size of the window, in CSS pixels."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, mode: str) -> None:
        """Set the colour mode that the operating system prefers: ``light`` or ``dark``."""
        feature = {"name": "prefers-color-scheme", "value": mode}
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def js(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page, and return its result."""
        return self.browser.execute_script(script, *arguments)

    def wait(self, condition: Callable[[], Any], description: str, timeout: float = _PATIENCE) -> Any:
        """Wait until the condition returns something true, and return that."""
        from selenium.common.exceptions import WebDriverException

        deadline = time.monotonic() + timeout
        while True:
            try:
                found = condition()
            except WebDriverException:
                found = None  # The page replaced an element meanwhile.
            if found:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"after {timeout:g} s there is no {description}; {self.describe()}")
            time.sleep(0.05)

    def describe(self) -> str:
        """Return what the page shows, for the message of a failed test."""
        text = str(self.js("return document.body.innerText"))[:2000]
        return f"the page at {self.browser.current_url} shows: {text}"

    def all(self, css: str) -> list[WebElement]:
        """Return the elements that are visible."""
        found = self.browser.find_elements("css selector", css)
        return [element for element in found if element.is_displayed()]

    def find(self, css: str) -> WebElement:
        """Wait for a visible element."""
        element: WebElement = self.wait(lambda: next(iter(self.all(css)), None), css)
        return element

    def click(self, css: str) -> None:
        """Wait for an element that can be clicked, and click it."""

        def click() -> bool:
            self.find(css).click()
            return True

        self.wait(click, f"clickable {css}")

    def text(self, css: str) -> str:
        """Return the text of an element, however much of it is in sight."""
        return str(self.js("return document.querySelector(arguments[0])?.textContent.trim() ?? ''", css))

    def texts(self, css: str) -> list[str]:
        """Return the texts of all elements."""
        script = (
            "return [...document.querySelectorAll(arguments[0])].map((found) => found.textContent.trim())"
        )
        return list(self.js(script, css))

    def cards(self) -> list[str]:
        """Return the titles of the cards."""
        return self.texts(".card h3")

    def wait_for_cards(self, count: int) -> None:
        """Wait until the page has so many cards."""
        self.wait(lambda: len(self.cards()) == count, f"page of {count} cards")

    def card(self, title: str) -> WebElement:
        """Wait for the card with a title."""

        def find_card() -> Any:
            script = """return [...document.querySelectorAll(".card")].find(
              (card) => card.querySelector("h3").textContent === arguments[0])"""
            return self.js(script, title)

        card: WebElement = self.wait(find_card, f"card {title!r}")
        return card

    def play(self, card: WebElement) -> WebElement:
        """Press play on a card, wait until its video plays, and return the video."""
        card.find_element("css selector", ".play").click()
        video = card.find_element("css selector", "video")
        self.wait(lambda: self.js("return arguments[0].currentTime > 0.2", video), "playing video")
        return video

    def frame_range(self, video: WebElement) -> tuple[int, int]:
        """Return the brightest and the darkest value in the frame that a video shows, of 255."""
        brightest, darkest = self.js(_FRAME, video)
        return brightest, darkest

    def seek(self, video: WebElement, seconds: float) -> None:
        """Move a paused video, and wait until it shows the frame there."""
        self.js("arguments[0].pause(); arguments[0].currentTime = arguments[1]", video, seconds)
        arrived = "return !arguments[0].seeking && Math.abs(arguments[0].currentTime - arguments[1]) < 0.2"
        self.wait(lambda: self.js(arrived, video, seconds), f"frame at {seconds} s")

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        return int(
            self.js("const root = document.documentElement; return root.scrollWidth - root.clientWidth")
        )

    def accessibility_findings(self) -> list[str]:
        """
        Return what axe finds serious or critical.

        :raises FileNotFoundError: axe is not installed.
        """
        if not AXE.exists():
            raise FileNotFoundError(f"axe is not installed at {AXE}; run `make axe`")
        # By the driver and not by the page, whose security policy allows no other script.
        self.js(AXE.read_text())
        found = self.browser.execute_async_script(
            "axe.run(document, { resultTypes: ['violations'] }).then(arguments[0])"
        )
        return [
            f"{finding['id']}: {node['html'][:200]}: {node.get('failureSummary')}"
            for finding in found["violations"]
            if finding["impact"] in ("serious", "critical")
            for node in finding["nodes"]
        ]

    def complaints(self) -> list[str]:
        """Return what the browser has logged as an error since the last call, such as refused scripts."""
        return [
            entry["message"]
            for entry in self.browser.get_log("browser")  # type: ignore[no-untyped-call]
            if entry["level"] == "SEVERE" and "favicon" not in entry["message"]
        ]
