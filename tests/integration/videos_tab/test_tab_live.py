# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Cards follow their tasks without a reload, and what the reader is doing is left alone."""

from __future__ import annotations

import time
from dataclasses import replace

from selenium.webdriver.common.keys import Keys

from airflow_provider_vidgen.videos_tab.view import Counts, Moment
from tests.support.sample_cards import CARDS, LANDED, RENDERING, WAITING
from tests.support.tab_browser import TabBrowser
from tests.support.videos_page import SECTION_SIZE, VideosPage, many_cards


def change(server: VideosPage, card_id: str, **values: object) -> None:
    """Give a card of the page other values and a new version."""
    server.cards = [
        replace(card, version=f"{card.version}+", **values) if card.id == card_id else card  # type: ignore[arg-type]
        for card in server.cards
    ]


def state_of(tab: TabBrowser, title: str) -> str:
    return str(tab.card(title).find_element("css selector", ".state").text)


def test_a_card_shows_its_new_state_without_a_reload(opened: TabBrowser, server: VideosPage) -> None:
    change(server, RENDERING.id, label="Rendering 80 %", percent=80.0)
    opened.wait(lambda: state_of(opened, RENDERING.title) == "Rendering 80 %", "80 %")
    progress = "return arguments[0].querySelector('progress').value"
    assert opened.js(progress, opened.card(RENDERING.title)) == 80
    assert len(server.asked("/vidgen/videos")) == 1


def test_only_the_cards_that_have_changed_are_replaced(opened: TabBrowser, server: VideosPage) -> None:
    opened.js("""window.changes = new Set();
      new MutationObserver((records) => records.forEach(({ target, type }) => {
        const card = (target.nodeType === 1 ? target : target.parentElement).closest(".card");
        const isTime = target.parentElement.closest(".moment"); // Times pass by themselves.
        if (card && !isTime) changes.add(card.id);
      })).observe(document.getElementById("grid"), {
        subtree: true, childList: true, attributes: true, characterData: true });""")
    change(server, WAITING.id, picture="1st in line")
    opened.wait(lambda: "1st in line" in opened.texts(".picture"), "1st in line")
    assert opened.js("return [...changes]") == [WAITING.id]


def test_a_playing_video_the_focus_and_the_scroll_position_survive_a_change(
    opened: TabBrowser, server: VideosPage
) -> None:
    opened.size(900, 500)
    video = opened.play(opened.card(LANDED.title))
    link = opened.card(RENDERING.title).find_element("css selector", ".acts a")
    opened.js("arguments[0].focus({ preventScroll: true }); scrollTo(0, 150); ", link)
    started = opened.js("return arguments[0].currentTime", video)
    change(server, LANDED.id, cost="$0.13 reported")
    change(server, RENDERING.id, label="Rendering 90 %")
    opened.wait(lambda: "$0.13 reported" in opened.text(f"#{LANDED.id}"), "new cost")
    assert state_of(opened, RENDERING.title) == "Rendering 90 %"
    assert opened.js("return [document.activeElement === arguments[0], scrollY]", link) == [True, 150]
    opened.wait(
        lambda: opened.js("return arguments[0].currentTime", video) > started, "progress of the video"
    )
    assert opened.js("return arguments[0].error", video) is None
    assert len(server.asked(LANDED.clips[0].src)) == 1


def test_a_new_card_in_front_does_not_stop_a_playing_video(opened: TabBrowser, server: VideosPage) -> None:
    video = opened.play(opened.card(LANDED.title))
    server.cards = [replace(WAITING, id="video-new", title="new one"), *server.cards]
    opened.wait_for_cards(len(CARDS) + 1)
    assert opened.cards()[0] == "new one"
    assert opened.js("return [arguments[0].isConnected, arguments[0].paused]", video) == [True, False]


def test_a_card_that_is_gone_disappears(opened: TabBrowser, server: VideosPage) -> None:
    server.cards = server.cards[1:]
    opened.wait_for_cards(len(CARDS) - 1)
    assert LANDED.title not in opened.cards()


def test_an_expanded_text_stays_expanded_when_its_card_changes(
    opened: TabBrowser, server: VideosPage
) -> None:
    change(server, RENDERING.id, prompt="a lamp " * 100)
    opened.click(f"#{RENDERING.id} .show-all")
    height = opened.js("return document.querySelector(arguments[0]).clientHeight", f"#{RENDERING.id} .prompt")
    change(server, RENDERING.id, label="Rendering 99 %")
    opened.wait(lambda: state_of(opened, RENDERING.title) == "Rendering 99 %", "99 %")
    again = opened.js("return document.querySelector(arguments[0]).clientHeight", f"#{RENDERING.id} .prompt")
    assert again == height > 100
    assert opened.find(f"#{RENDERING.id} .show-all").text == "Show less"


def test_a_page_without_changes_is_asked_for_by_its_version_alone(
    opened: TabBrowser, server: VideosPage
) -> None:
    opened.wait(lambda: len(server.asked("/vidgen/cards")) > 3, "several checks")
    replies = opened.js("""return performance.getEntriesByType("resource")
      .filter((entry) => entry.name.includes("/vidgen/cards")).map((entry) => entry.responseStatus)""")
    assert set(replies) == {304}


def test_the_server_decides_how_often_it_is_asked(tab: TabBrowser, server: VideosPage) -> None:
    server.check_after = 2.0
    tab.browser.get(f"{server.url}/vidgen/videos")
    time.sleep(3)
    assert len(server.asked("/vidgen/cards")) == 1


def test_a_hidden_page_asks_nothing_and_a_visible_one_asks_at_once(
    opened: TabBrowser, server: VideosPage
) -> None:
    hide = """Object.defineProperty(document, "hidden", { value: arguments[0], configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));"""
    opened.js(hide, True)
    time.sleep(0.5)
    before = len(server.asked("/vidgen/cards"))
    time.sleep(1.5)
    assert len(server.asked("/vidgen/cards")) == before
    opened.js(hide, False)
    opened.wait(lambda: len(server.asked("/vidgen/cards")) > before, "check")


def test_updates_can_be_paused(opened: TabBrowser, server: VideosPage) -> None:
    opened.click("#pause")
    opened.wait(lambda: opened.text("#connection-text").startswith("Paused"), "pause")
    time.sleep(0.5)
    before = len(server.asked("/vidgen/cards"))
    change(server, WAITING.id, picture="1st in line")
    time.sleep(1)
    assert len(server.asked("/vidgen/cards")) == before
    opened.click("#pause")
    opened.wait(lambda: "1st in line" in opened.texts(".picture"), "1st in line")


def test_a_server_that_fails_is_reported_with_the_time_and_asked_less_often(
    opened: TabBrowser, server: VideosPage
) -> None:
    server.status = 503
    opened.wait(lambda: opened.text("#connection-text").startswith("Not connected since "), "report")
    failed = len(server.asked("/vidgen/cards"))
    time.sleep(1.5)
    assert len(server.asked("/vidgen/cards")) == failed
    assert opened.cards() == [card.title for card in CARDS]
    server.status = 200
    opened.wait(lambda: opened.text("#connection-text").startswith("Live"), "connection")


def test_a_user_who_loses_access_is_told_and_asks_no_more(opened: TabBrowser, server: VideosPage) -> None:
    server.status = 403
    opened.wait(lambda: opened.text("#connection-text") == "You may no longer see these videos.", "report")
    asked = len(server.asked("/vidgen/cards"))
    time.sleep(1)
    assert len(server.asked("/vidgen/cards")) == asked


def test_times_pass_in_the_browser_by_the_servers_clock(opened: TabBrowser, server: VideosPage) -> None:
    # The sample page was built 40 seconds after the job had begun to render.
    shown = [f"{seconds} s" for seconds in range(40, 60)]
    first = opened.text(f"#{RENDERING.id} time")
    assert first in shown
    opened.wait(
        lambda: opened.text(f"#{RENDERING.id} time") in shown[shown.index(first) + 1 :], "next second"
    )


def test_a_deadline_that_has_passed_says_so(opened: TabBrowser, server: VideosPage) -> None:
    moment = Moment(
        before="link expires in ",
        at="2026-11-21T14:08:00+00:00",
        counts=Counts.REMAINING,
        text="0 s",
        when_over="link expired",
    )
    change(server, LANDED.id, moments=(moment,))
    opened.wait(lambda: "link expired" in opened.texts(".moment"), "expired link")


def test_times_of_day_are_in_the_time_zone_that_the_airflow_ui_shows(
    tab: TabBrowser, server: VideosPage
) -> None:
    tab.browser.get(f"{server.url}/vidgen/static/videos.css")
    tab.js("localStorage.setItem('timezone', JSON.stringify('Asia/Tokyo'))")
    try:
        tab.browser.get(f"{server.url}/vidgen/videos")
        tab.wait(lambda: "23:09" in tab.text(f"#{LANDED.id} time"), "time in Tokyo")
    finally:
        tab.js("localStorage.clear()")


def test_filters_change_cards_and_address_without_a_reload(opened: TabBrowser, server: VideosPage) -> None:
    opened.click("#state-failed")
    opened.wait(lambda: opened.cards() == ["headphones 9:16"], "failed cards")
    opened.find("input[name=q]").send_keys("teapot")
    opened.wait(lambda: "No video matches the filters." in opened.text("#empty"), "empty page")
    assert opened.browser.current_url.endswith("/vidgen/videos?state=failed&q=teapot")
    opened.click("#clear-filters")
    opened.wait_for_cards(len(CARDS))
    assert opened.browser.current_url.endswith("/vidgen/videos")
    assert len(server.asked("/vidgen/videos")) == 1


def test_a_filter_in_the_address_is_applied_when_the_page_is_opened(
    tab: TabBrowser, server: VideosPage
) -> None:
    tab.browser.get(f"{server.url}/vidgen/videos?state=failed&q=celebrity")
    assert tab.cards() == ["headphones 9:16"]
    assert tab.find("input[name=q]").get_attribute("value") == "celebrity"


def test_filters_are_chosen_with_the_keyboard(opened: TabBrowser) -> None:
    first = opened.browser.find_element("css selector", "#state-all input")
    opened.js("arguments[0].focus()", first)
    first.send_keys(Keys.ARROW_RIGHT)
    opened.wait(lambda: set(opened.texts(".state")) == {"Landed"}, "landed cards")
    assert opened.js("return document.activeElement.value") == "landed"


def test_more_cards_are_loaded_on_scrolling_and_by_the_button(tab: TabBrowser, server: VideosPage) -> None:
    server.cards = many_cards(150)
    tab.browser.get(f"{server.url}/vidgen/videos")
    assert len(tab.cards()) == SECTION_SIZE
    tab.js("document.querySelector('#more button').click()")
    tab.wait_for_cards(2 * SECTION_SIZE)
    tab.js("scrollTo(0, document.documentElement.scrollHeight)")
    tab.wait_for_cards(150)
    assert tab.cards() == [card.title for card in server.cards]
    assert not tab.all("#more")


def test_of_many_cards_only_those_in_sight_are_asked_for(tab: TabBrowser, server: VideosPage) -> None:
    server.cards = many_cards(1000)
    tab.browser.get(f"{server.url}/vidgen/videos")
    for section in range(1, 1 + -(-1000 // SECTION_SIZE)):
        tab.wait(lambda section=section: len(tab.cards()) >= min(1000, section * SECTION_SIZE), "more cards")
        tab.js("scrollTo(0, document.documentElement.scrollHeight)")
    tab.wait_for_cards(1000)
    change(server, server.cards[0].id, cost="$9.99 reported")
    change(server, server.cards[-1].id, cost="$7.77 reported")
    tab.wait(lambda: "$7.77" in tab.text(f"#{server.cards[-1].id}"), "change of the last card")
    assert "$9.99" not in tab.text(f"#{server.cards[0].id}")
    first, last = server.asked("/vidgen/cards")[-1].split("&")[0:2]
    assert first != "/vidgen/cards?first=1"
    assert last == "last=17"
    tab.js("scrollTo(0, 0)")
    tab.wait(lambda: "$9.99" in tab.text(f"#{server.cards[0].id}"), "change of the first card")
    assert tab.cards() == [card.title for card in server.cards]
