# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The Videos tab in the Airflow UI, in a real browser, while the marketing pipeline runs.

The videos are rendered in real time by a simulator of its own, so that the percent is seen to move.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest

from airflow_provider_vidgen.simulator import SimulatorClient
from airflow_provider_vidgen.video_status import VIDEO_KEY, VideoStatus
from dev.headless_browser import running_browser
from dev.local_airflow import LocalAirflow
from dev.local_simulator import LocalSimulator
from tests.support.system_accounts import OUTSIDER, VIEWER, connection
from tests.support.tab_browser import TabBrowser

DAG = "vidgen_marketing_pipeline"
KEY = "sim-marmalade-tab"
#: Real seconds in which a job renders, jobs at a time, and videos of the run.
JOB_SECONDS, LIMIT, VIDEOS = 25, 2, 3
PATIENCE = 200.0
#: What people, vendors or an attacker may have written into an XCom.
HOSTILE = {
    "script": "<script>document.title='hacked'</script>\"'><img src=x onerror=\"document.title='x'\">",
    "long": "x" * 5000,
    "rtl": "קפה של בוקר \u202eabc",
}


@pytest.fixture(scope="module")
def tab_simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSimulator]:
    log = tmp_path_factory.mktemp("tab-simulator") / "simulator.log"
    with LocalSimulator(speed=1, arguments=["--job-seconds", str(JOB_SECONDS)], log=log) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def run_id(
    airflow: LocalAirflow, tab_simulator: LocalSimulator, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """A run of the pipeline that has just been started."""
    fields = json.loads(connection("apixgo", f"{tab_simulator.url}/apixgo", KEY, max_concurrent=LIMIT))
    stored = {**fields, "connection_id": "vidgen_tab", "extra": json.dumps(fields["extra"])}
    airflow.api("POST", "/connections", json=stored)
    conf = {
        "vidgen_conn_id": "vidgen_tab",
        "model": "grok-image-video",
        "duration": 4,
        "aspect_ratios": ["16:9"],
        "output": tmp_path_factory.mktemp("tab-videos").as_uri(),
    }
    return airflow.start_run(DAG, conf, timeout=60)


@pytest.fixture(scope="module")
def browser_of(
    airflow: LocalAirflow, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], TabBrowser]]:
    """Return a browser in which a user has logged in."""
    opened: dict[str, TabBrowser] = {}
    running: list[Any] = []

    def browser_of(user: str) -> TabBrowser:
        if user not in opened:
            context = running_browser(tmp_path_factory.mktemp("tab-browser"))
            tab = TabBrowser(context.__enter__())
            running.append(context)
            tab.browser.set_script_timeout(60)
            tab.size(1400)
            log_in(tab, airflow, user)
            opened[user] = tab
        return opened[user]

    yield browser_of
    for context in running:
        context.__exit__(None, None, None)


def log_in(tab: TabBrowser, airflow: LocalAirflow, user: str) -> None:
    passwords = json.loads((airflow.home / "simple_auth_manager_passwords.json").read_text())
    tab.browser.get(airflow.url)
    tab.find("input[name=username]").send_keys(user)
    tab.find("input[name=password]").send_keys(passwords[user])
    tab.find("button[type=submit]").click()
    tab.wait(lambda: "/auth/" not in tab.browser.current_url, "page after the login")


def run_path(run_id: str) -> str:
    return f"/dags/{DAG}/runs/{quote(run_id, safe='')}"


def open_tab(tab: TabBrowser, url: str) -> None:
    """Open a page of the Airflow UI, and go into the frame of its Videos tab."""
    tab.browser.get(url)
    tab.browser.switch_to.frame(tab.find("iframe"))
    tab.wait(lambda: tab.text("#connection-text").startswith("Live"), "live page")


@pytest.fixture(scope="module")
def rendering(browser_of: Callable[[str], TabBrowser], airflow: LocalAirflow, run_id: str) -> TabBrowser:
    """The tab of the run, opened by its link in the UI while the first videos render."""
    tab = browser_of(airflow.username)
    tab.browser.get(airflow.url + run_path(run_id))
    tab.click(f"a[href*='{DAG}/runs/'][href$='/plugin/vidgen-videos-dag_run']")
    tab.browser.switch_to.frame(tab.find("iframe"))
    tab.wait_for_cards(VIDEOS)
    tab.js("window.isSamePage = true")
    return tab


@pytest.fixture
def landed(rendering: TabBrowser, airflow: LocalAirflow, run_id: str) -> TabBrowser:
    """The tab of the run when all of its videos have landed."""
    if rendering.js("return window.isSamePage === undefined"):
        open_tab(rendering, airflow.url + run_path(run_id) + "/plugin/vidgen-videos-dag_run")
    rendering.wait(lambda: rendering.texts(".state") == ["Landed"] * VIDEOS, "landed videos", PATIENCE)
    return rendering


def test_line_money_and_percent_are_seen_to_change_without_a_reload(rendering: TabBrowser) -> None:
    percents: dict[str, set[str]] = {}
    seen: set[str] = set()

    def have_moved() -> bool:
        seen.update(rendering.texts(".picture"))
        seen.update(rendering.texts(".card[data-state=waiting] .message p"))
        for text in rendering.texts(".card[data-state=rendering]"):
            title, _, rest = text.partition("\n")
            if match := re.search(r"Rendering (\d+) %", rest):
                percents.setdefault(title, set()).add(match[1])
        return any(len(values) > 1 for values in percents.values())

    rendering.wait(have_moved, "two percents of one video", PATIENCE)
    rendering.wait(lambda: have_moved() and "1st in line" in seen, "place in line", PATIENCE)
    assert "Nothing has been submitted or paid yet." in seen
    assert rendering.js("return window.isSamePage") is True


def test_a_landed_video_plays_in_the_ui_and_seeking_works(landed: TabBrowser) -> None:
    assert landed.js("return window.isSamePage") is True
    video = landed.play(landed.browser.find_element("css selector", ".card"))
    landed.seek(video, 1.0)
    early = landed.frame_range(video)
    landed.seek(video, 3.0)
    brightest, darkest = landed.frame_range(video)
    assert brightest > 100
    assert brightest - darkest > 30
    assert early[0] > 100
    assert landed.js("return arguments[0].duration", video) == pytest.approx(4, abs=0.3)


def test_posters_of_landed_videos_are_shown(landed: TabBrowser) -> None:
    widths = "return [...document.querySelectorAll('.clip img')].map((image) => image.naturalWidth)"
    landed.wait(lambda: len(landed.js(widths)) == VIDEOS and all(landed.js(widths)), "posters")


def test_filters_reduce_the_cards(landed: TabBrowser) -> None:
    landed.find("input[name=q]").send_keys("mug")
    landed.wait_for_cards(1)
    assert "mug" in landed.text(".card .prompt")
    landed.js("document.querySelector('input[name=q]').value = ''")
    landed.find("input[name=q]").send_keys(" ")
    landed.wait_for_cards(VIDEOS)
    landed.click("#state-landed")
    landed.wait_for_cards(VIDEOS)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_axe_finds_nothing_serious_in_the_ui(landed: TabBrowser, mode: str) -> None:
    landed.js("parent.document.documentElement.className = arguments[0]", mode)
    landed.wait(lambda: landed.js("return document.documentElement.dataset.theme") == mode, mode)
    assert landed.accessibility_findings() == []


def test_links_lead_to_task_log_and_file(landed: TabBrowser, airflow: LocalAirflow, run_id: str) -> None:
    links = landed.js("""return Object.fromEntries([...document.querySelectorAll(".card:first-child .acts a")]
      .map((link) => [link.textContent, link.href]))""")
    task = f"{airflow.url}{run_path(run_id)}/tasks/generate/mapped/0"
    assert links["Task"].startswith(task)
    assert links["Log"].startswith(task)
    file = airflow.api("GET", "/" + links["File"].removeprefix(airflow.url))
    assert "ftyp" in file[:40]
    landed.find(".card:first-child .acts a[href*='try_number']").click()
    landed.browser.switch_to.default_content()
    landed.wait(lambda: landed.browser.current_url == links["Log"], "page of the log")


def test_a_user_who_may_only_read_sees_the_videos_and_no_actions(
    browser_of: Callable[[str], TabBrowser], airflow: LocalAirflow, run_id: str
) -> None:
    tab = browser_of(VIEWER)
    open_tab(tab, airflow.url + run_path(run_id) + "/plugin/vidgen-videos-dag_run")
    tab.wait_for_cards(VIDEOS)
    assert tab.all("[data-act]") == []
    assert tab.all(".acts a")


def test_a_user_without_access_sees_no_card(
    browser_of: Callable[[str], TabBrowser], airflow: LocalAirflow, run_id: str
) -> None:
    tab = browser_of(OUTSIDER)
    for page in ("all-videos", f"videos?dag_id={DAG}&run_id={quote(run_id, safe='')}"):
        tab.browser.get(f"{airflow.url}/vidgen/{page}")
        assert tab.text(".empty b") == "You may not see these videos."
        assert tab.all(".card") == []


def test_a_new_video_is_made_from_the_tab(
    landed: TabBrowser, airflow: LocalAirflow, tab_simulator: LocalSimulator
) -> None:
    simulator = SimulatorClient(tab_simulator.url)
    paid = len(simulator.ledger().entries)
    title = landed.cards()[0]
    landed.card(title).find_element("css selector", "[data-act=regenerate]").click()
    landed.find("#act")
    assert "paid" in landed.text("#act-question")
    landed.click("#act-confirm")
    landed.wait(lambda: landed.text("#act-result") and not landed.all("#act-confirm"), "answer")
    landed.click("#act-close")
    landed.wait(lambda: len(simulator.ledger().entries) == paid + 1, "second job", PATIENCE)
    landed.wait(lambda: "Rendering" in landed.card(title).text, "rendering video", PATIENCE)
    events = airflow.api("GET", "/eventLogs", params={"dag_id": DAG, "event": "vidgen_regenerate"})
    assert [event["owner"] for event in events["event_logs"]] == [airflow.username]


def test_the_page_over_all_dags_shows_the_videos_of_this_run(
    rendering: TabBrowser, airflow: LocalAirflow, run_id: str
) -> None:
    open_tab(rendering, f"{airflow.url}/plugin/vidgen-videos")
    rendering.wait(lambda: any(run_id in text for text in rendering.texts(".place")), "videos of the run")


def test_what_stands_in_an_xcom_is_shown_as_text(
    rendering: TabBrowser, airflow: LocalAirflow, run_id: str
) -> None:
    tab = rendering
    path = f"{run_path(run_id)}/taskInstances/generate/xcomEntries/{VIDEO_KEY}".replace("/runs/", "/dagRuns/")
    for index, text in enumerate(HOSTILE.values()):
        status = VideoStatus.from_json(airflow.xcom(DAG, run_id, "generate", VIDEO_KEY, index))
        assert status is not None
        texts = {name: text for name, value in vars(status).items() if isinstance(value, str)}
        # Without the links: Airflow's audit log keeps what is sent here.
        kept = {"state": "failed", "since": status.since, "result_urls": []}
        value = {**status.to_json(), **texts, **kept}
        airflow.api("PATCH", path, json={"value": value, "map_index": index})
    for width in (1400, 360):
        tab.size(width)
        open_tab(tab, airflow.url + run_path(run_id) + "/plugin/vidgen-videos-dag_run")
        assert tab.overflow() == 0
    tab.size(1400)
    assert tab.texts(".prompt") == list(HOSTILE.values())
    assert tab.js("return [document.title, parent.document.title].filter((title) => title === 'x')") == []
    assert tab.js("return document.querySelectorAll('.card script, .card img[src=x]').length") == 0
