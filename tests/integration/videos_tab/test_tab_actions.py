# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Actions ask once, are sent once, and show the server's sentence."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.keys import Keys

from tests.support.sample_cards import FAILED, LANDED, UNKNOWN
from tests.support.tab_browser import TabBrowser
from tests.support.videos_page import VideosPage


def press(tab: TabBrowser, title: str, action: str) -> None:
    button = tab.card(title).find_element("css selector", f"[data-act={action}]")
    tab.js("arguments[0].focus(); arguments[0].click()", button)
    tab.find("#act")


def acts(server: VideosPage) -> list[str]:
    return [path for path in server.requests if path.endswith(("/regenerate", "/adopt", "/look_again"))]


def test_a_new_video_is_made_after_one_question_that_names_the_cost(
    opened: TabBrowser, server: VideosPage
) -> None:
    press(opened, LANDED.title, "regenerate")
    assert "paid video (about $0.12)" in opened.text("#act-question")
    assert opened.text("#act-about") == LANDED.title
    assert acts(server) == []
    opened.click("#act-confirm")
    opened.wait(lambda: opened.text("#act-result") == "The task runs again.", "answer")
    assert acts(server) == [LANDED.actions[0].url]
    assert not opened.all("#act-confirm")
    opened.click("#act-close")
    focus = "return document.activeElement.dataset.url"
    assert opened.js(focus) == LANDED.actions[0].url


def test_a_question_can_be_answered_with_no(opened: TabBrowser, server: VideosPage) -> None:
    press(opened, LANDED.title, "regenerate")
    assert opened.js("return document.activeElement.id") == "act-close"
    opened.find("#act-close").send_keys(Keys.ENTER)
    opened.wait(lambda: not opened.all("#act"), "end of the dialog")
    press(opened, LANDED.title, "regenerate")
    opened.find("#act-close").send_keys(Keys.ESCAPE)
    opened.wait(lambda: not opened.all("#act"), "end of the dialog")
    assert acts(server) == []


def test_an_action_is_sent_once_however_often_it_is_pressed(opened: TabBrowser, server: VideosPage) -> None:
    server.act_seconds = 1.0
    press(opened, LANDED.title, "regenerate")
    opened.js("""const button = document.getElementById("act-confirm");
      for (let times = 0; times < 3; times += 1) button.click();
      button.form.requestSubmit();""")
    assert opened.js("return document.getElementById('act-confirm').disabled") is True
    opened.wait(lambda: opened.text("#act-result") == "The task runs again.", "answer")
    assert len(acts(server)) == 1


def test_a_job_id_is_required_and_a_refusal_is_shown(opened: TabBrowser, server: VideosPage) -> None:
    action = UNKNOWN.actions[0]
    refusal = "Apixo does not know the job <b>. Nothing was changed."
    server.answers[action.url] = (409, {"detail": refusal})
    press(opened, UNKNOWN.title, "adopt")
    opened.click("#act-confirm")
    assert acts(server) == []
    opened.find("#act input").send_keys(" task_1 ", Keys.ENTER)
    opened.wait(lambda: opened.text("#act-result") == refusal, "refusal")
    assert opened.js("return document.activeElement.name") == "job_id"
    server.answers.clear()
    opened.click("#act-confirm")
    opened.wait(lambda: opened.text("#act-result") == "The task runs again.", "answer")
    assert acts(server) == [action.url] * 2
    assert [body["job_id"] for body in server.received] == ["task_1"] * 2


def test_looking_again_costs_nothing_and_asks_nothing(opened: TabBrowser, server: VideosPage) -> None:
    press(opened, UNKNOWN.title, "look_again")
    opened.wait(lambda: opened.text("#act-result") == "The task runs again.", "answer")
    assert acts(server) == [UNKNOWN.actions[1].url]
    assert server.received == [{"clear": True}]


@pytest.mark.parametrize(
    ("status", "body", "shown"),
    [
        (401, {}, "You are logged out of Airflow. Nothing was done."),
        (403, {"detail": "You may not clear tasks."}, "You may not clear tasks."),
        (404, {}, "Airflow refused it (status 404)."),
        (422, {"detail": [{"msg": "field required"}]}, "Airflow refused it (status 422)."),
    ],
)
def test_every_refusal_is_told(
    opened: TabBrowser, server: VideosPage, status: int, body: dict[str, object], shown: str
) -> None:
    server.answers[FAILED.actions[0].url] = (status, body)
    press(opened, FAILED.title, "regenerate")
    opened.click("#act-confirm")
    opened.wait(lambda: opened.text("#act-result") == shown, shown)


def test_a_failure_after_which_nobody_knows_is_no_reason_to_press_again(
    opened: TabBrowser, server: VideosPage
) -> None:
    server.answers[FAILED.actions[0].url] = (502, {})
    press(opened, FAILED.title, "regenerate")
    opened.click("#act-confirm")
    opened.wait(lambda: "Whether it was done is not known" in opened.text("#act-result"), "report")
    assert not opened.all("#act-confirm")


def test_no_answer_is_no_reason_to_press_again(opened: TabBrowser, server: VideosPage) -> None:
    press(opened, LANDED.title, "regenerate")
    opened.js("window.fetch = () => Promise.reject(new TypeError('connection lost'))")
    opened.click("#act-confirm")
    opened.wait(lambda: "Whether it was done is not known" in opened.text("#act-result"), "report")
    assert not opened.all("#act-confirm")


def test_the_job_id_is_copied(opened: TabBrowser) -> None:
    card = opened.card(LANDED.title)
    opened.js("navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }")
    card.find_element("css selector", ".copy").click()
    opened.wait(lambda: opened.js("return window.copied") == LANDED.job_id, "copied job id")
    assert opened.text("#announcer") == "Copied"


def test_the_job_id_is_copied_where_scripts_may_not_use_the_clipboard(opened: TabBrowser) -> None:
    card = opened.card(LANDED.title)
    opened.js("""navigator.clipboard.writeText = () => Promise.reject(new Error("insecure"));
      document.addEventListener("copy", () => { window.copied = String(getSelection()); });""")
    card.find_element("css selector", ".copy").click()
    opened.wait(lambda: opened.js("return window.copied") == LANDED.job_id, "copied job id")
