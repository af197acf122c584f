# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The connection form in a real browser: Debian's ``chromium`` and ``chromium-driver``.

The API server is one of its own, in an environment that has the example vendor package as well.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dev.example_vendor import FakeAcme, install_example_vendor
from dev.headless_browser import running_browser
from dev.local_airflow import LocalAirflow
from dev.local_simulator import VENDORS, LocalSimulator
from tests.support.system_accounts import BAD_KEY, GOOD_KEY

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement


@pytest.fixture(scope="module")
def airflow(
    database_templates: Path, checkout_path: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalAirflow]:
    """An Airflow of which only the API server runs, with the example vendor package installed."""
    example_vendor = install_example_vendor(tmp_path_factory.mktemp("example-vendor"))
    local = LocalAirflow(
        tmp_path_factory.mktemp("no-dags"),
        home=tmp_path_factory.mktemp("api-server"),
        env={
            "PYTHONPATH": os.pathsep.join([str(example_vendor), checkout_path]),
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        },
        template_dir=database_templates,
    )
    try:
        local.open(["api-server"])
        yield local
    finally:
        local.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with running_browser(tmp_path_factory.mktemp("browser")) as chrome:
        yield chrome


class Form:
    """The dialog "Add Connection" of a logged-in user."""

    def __init__(self, browser: Chrome, airflow: LocalAirflow) -> None:
        self.browser, self.airflow = browser, airflow
        browser.get(f"{airflow.url}/connections")
        self.find("input[name=username]").send_keys(airflow.username)
        self.find("input[name=password]").send_keys(airflow.password)
        self.find("button[type=submit]").click()

    def open(self, conn_id: str) -> None:
        """Open the dialog, and select the connection type ``vidgen``."""
        self.button("Add Connection").click()
        self.field("connection_id").send_keys(conn_id)
        self.choose("[role=dialog] input[role=combobox]", "vidgen", "AI video generation")
        self.find("[role=dialog] input[name=host]")

    def save(self, conn_id: str, vendor: str, host: str, key: str) -> dict[str, Any]:
        """Fill in the form, save it, and return the connection as Airflow has it."""
        next(option for option in self.vendors() if option.text == vendor).click()
        self.button("Extra Fields").click()
        self.find("[role=dialog] [name=element_timeout]")
        # The servers are on loopback, to which the key is sent only if that is allowed.
        self.browser.execute_script(
            "arguments[0].click()", self.browser.find_element("name", "element_allow_private_urls")
        )
        self.button("Standard Fields").click()
        self.field("host").send_keys(host)
        self.field("password").send_keys(key)
        self.button("Save").click()
        self.wait(lambda: not self.all("[role=dialog]"), "end of the dialog")
        saved: dict[str, Any] = self.airflow.api("GET", f"/connections/{conn_id}")
        extra = json.loads(saved["extra"])
        assert (saved["conn_type"], saved["host"]) == ("vidgen", host)
        assert (extra["vendor"], extra["allow_private_urls"]) == (vendor, True)
        return saved

    def wait(self, condition: Any, description: str) -> Any:
        """Wait until the condition returns something true, and return that."""
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        wait = WebDriverWait(self.browser, 30, 0.2, [StaleElementReferenceException])
        return wait.until(lambda browser: condition(), f"the page shows no {description}")

    def all(self, css: str) -> list[WebElement]:
        """Return the visible elements."""
        return [
            element for element in self.browser.find_elements("css selector", css) if element.is_displayed()
        ]

    def find(self, css: str) -> WebElement:
        """Wait for a visible element."""
        element: WebElement = self.wait(lambda: next(iter(self.all(css)), None), css)
        return element

    def field(self, name: str) -> WebElement:
        return self.find(f"[role=dialog] [name={name}]")

    def button(self, text: str) -> WebElement:
        def find_button() -> WebElement | None:
            return next(
                (found for found in self.all("button") if found.text.strip() == text and found.is_enabled()),
                None,
            )

        button: WebElement = self.wait(find_button, f"button {text}")
        return button

    def choose(self, css: str, typed: str, option: str) -> None:
        """Select an entry of a list by typing."""
        self.find(css).send_keys(typed)
        self.wait(lambda: [entry for entry in self.options() if entry.text == option], option)[0].click()

    def options(self) -> list[WebElement]:
        return self.all("[role=option]")

    def vendors(self) -> list[WebElement]:
        """Open the list of vendors and return its entries; it closes when the browser loses the focus."""
        from selenium.webdriver.common.action_chains import ActionChains
        from selenium.webdriver.common.keys import Keys

        def open_list() -> list[WebElement]:
            if not self.options():
                # The first list is the connection's type; its input is invisible once a value is chosen.
                _, vendor = self.browser.find_elements("css selector", "[role=dialog] input[role=combobox]")
                self.browser.execute_script("arguments[0].focus()", vendor)
                ActionChains(self.browser).send_keys(Keys.ARROW_DOWN).perform()
            return self.options()

        vendors: list[WebElement] = self.wait(open_list, "vendors")
        return vendors

    def labels(self) -> list[str]:
        labels = [" ".join(label.text.split()) for label in self.all("[role=dialog] label")]
        return [label for label in labels if label]

    def screenshot(self, folder: Path, name: str) -> None:
        """Save a screenshot for whoever reads a failed test."""
        self.browser.save_screenshot(str(folder / f"{name}.png"))


@pytest.fixture(scope="module")
def form(browser: Chrome, airflow: LocalAirflow) -> Form:
    form = Form(browser, airflow)
    form.open("vidgen_apixo_form")
    return form


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("screenshots")


def test_the_standard_fields_are_those_of_vidgen_and_the_key_is_hidden(form: Form, screenshots: Path) -> None:
    form.screenshot(screenshots, "standard")
    assert form.labels()[:5] == ["Connection ID *", "Connection Type *", "Description", "Base URL", "API key"]
    key, host = form.field("password"), form.field("host")
    assert key.get_attribute("type") == "password"
    assert key.get_attribute("placeholder") == "the key from the vendor's console"
    assert str(host.get_attribute("placeholder")).startswith("empty for the vendor's own")


def test_the_form_opens_with_the_vendor_visible(form: Form) -> None:
    assert form.labels()[5:] == ["Vendor *", "Default model"]
    assert form.find("[role=dialog] [name=element_model]").is_displayed()


def test_the_form_offers_every_installed_vendor_and_requires_one(form: Form, screenshots: Path) -> None:
    form.screenshot(screenshots, "extra")
    required = [label for label in form.labels() if label.endswith("*")]
    assert required == ["Connection ID *", "Connection Type *", "Vendor *"]
    assert [option.text for option in form.vendors()] == sorted(["acme", *VENDORS])
    form.screenshot(screenshots, "vendors")


def test_a_saved_connection_can_be_tested_with_a_good_and_a_bad_key(
    form: Form, airflow: LocalAirflow, simulator_process: LocalSimulator
) -> None:
    saved = form.save("vidgen_apixo_form", "apixo", f"{simulator_process.url}/apixo", GOOD_KEY)
    assert_connection_test(airflow, saved, GOOD_KEY, True, "Apixo accepts the API key.")
    refused = "was reached, and Apixo refuses the API key (401). Correct the API key."
    assert_connection_test(airflow, saved, BAD_KEY, False, refused)


def test_a_vendor_of_another_distribution_can_be_chosen_saved_and_tested(
    form: Form, airflow: LocalAirflow
) -> None:
    with FakeAcme(GOOD_KEY) as acme:
        form.open("vidgen_acme")
        saved = form.save("vidgen_acme", "acme", acme.url, GOOD_KEY)
        assert_connection_test(airflow, saved, GOOD_KEY, True, "Acme accepts the API key.")
        assert_connection_test(
            airflow, saved, BAD_KEY, False, "Acme refuses the API key (401). Correct the API key."
        )
        assert [path for _, path, _ in acme.requests] == ["/v1/videos/connection-test"] * 2


def assert_connection_test(
    airflow: LocalAirflow, saved: dict[str, Any], key: str, works: bool, message: str
) -> None:
    """Send what the button *Test* of the form sends."""
    fields = {name: saved[name] for name in ("connection_id", "conn_type", "host", "extra")}
    result = airflow.api("POST", "/connections/test", json={**fields, "password": key})
    assert result["status"] is works
    assert result["message"].endswith(message)
