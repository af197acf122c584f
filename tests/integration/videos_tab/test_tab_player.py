# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Videos are loaded when somebody presses play, play in their cards, and say why when they cannot."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.sample_cards import LANDED, MADE
from tests.support.tab_browser import TabBrowser
from tests.support.videos_page import SECTION_SIZE, VideosPage


def media(server: VideosPage) -> list[str]:
    return [path for path in server.requests if "/files/" in path and not path.endswith("poster")]


def test_a_page_of_a_hundred_videos_loads_none_of_them(tab: TabBrowser, server: VideosPage) -> None:
    server.cards = [replace(LANDED, id=f"video-{number}") for number in range(100)]
    tab.browser.get(f"{server.url}/vidgen/videos")
    tab.js("document.querySelector('#more button').click()")
    tab.wait_for_cards(100)
    tab.js("scrollTo(0, document.documentElement.scrollHeight)")
    tab.wait(lambda: len(server.asked("/vidgen/cards")) > 3, "several checks")
    assert media(server) == []
    assert tab.js("return [...document.querySelectorAll('video')].every((video) => !video.src)") is True


def test_posters_are_loaded_when_they_come_into_sight(tab: TabBrowser, server: VideosPage) -> None:
    def card(number: int) -> str:
        return f"{LANDED.clips[0].src}/{number}/poster"

    server.cards = [
        replace(LANDED, id=f"video-{number}", clips=(replace(LANDED.clips[0], poster=card(number)),))
        for number in range(SECTION_SIZE)
    ]
    tab.size(400, 600)
    tab.browser.get(f"{server.url}/vidgen/videos")
    tab.wait(lambda: server.asked(card(0)), "poster in sight")
    assert not server.asked(card(SECTION_SIZE - 1))
    tab.js("scrollTo(0, document.documentElement.scrollHeight)")
    tab.wait(lambda: server.asked(card(SECTION_SIZE - 1)), "poster of the last card")


def test_play_shows_the_video_with_its_controls_and_seeking_works(
    opened: TabBrowser, server: VideosPage
) -> None:
    video = opened.play(opened.card(LANDED.title))
    assert opened.js("return [arguments[0].controls, document.activeElement === arguments[0]]", video) == [
        True,
        True,
    ]
    opened.seek(video, 5.0)
    # The sample's frames are of one grey each, brighter from frame to frame.
    brightest, _ = opened.frame_range(video)
    assert brightest > 40
    assert opened.js("return arguments[0].duration", video) == pytest.approx(10, abs=0.2)


def test_a_store_that_the_browser_cannot_reach_is_played_through_the_server(
    tab: TabBrowser, server: VideosPage
) -> None:
    clip = replace(LANDED.clips[0], src="http://127.0.0.1:9/a.mp4", streamed_src=LANDED.clips[0].src)
    server.cards = [replace(LANDED, clips=(clip,))]
    tab.browser.get(f"{server.url}/vidgen/videos")
    tab.play(tab.card(LANDED.title))
    assert server.asked(LANDED.clips[0].src)


def test_the_play_button_works_with_the_keyboard(opened: TabBrowser) -> None:
    card = opened.card(LANDED.title)
    card.find_element("css selector", ".play").send_keys(" ")
    video = card.find_element("css selector", "video")
    opened.wait(lambda: opened.js("return arguments[0].currentTime > 0", video), "playing video")


def test_one_video_plays_at_a_time(opened: TabBrowser, server: VideosPage) -> None:
    first = opened.play(opened.card(LANDED.title))
    opened.play(opened.card(MADE.title))
    assert opened.js("return arguments[0].paused", first) is True


def test_several_videos_of_a_card_are_shown_one_after_the_other(opened: TabBrowser) -> None:
    card = opened.card(MADE.title)
    in_sight = """const area = arguments[0].querySelector(".media").getBoundingClientRect();
      return document.elementFromPoint(area.x + area.width / 2, area.y + area.height / 2)
        .closest(".clip").querySelector(".next").textContent"""
    opened.js("arguments[0].scrollIntoView()", card)
    for shown, following in (("1 of 2 ›", "2 of 2 ›"), ("2 of 2 ›", "1 of 2 ›")):
        assert opened.js(in_sight, card) == shown
        next(button for button in card.find_elements("css selector", ".next") if button.text == shown).click()
        opened.wait(lambda text=following: opened.js(in_sight, card) == text, following)


def test_a_video_that_cannot_be_played_says_why_and_can_be_tried_again(
    opened: TabBrowser, server: VideosPage
) -> None:
    server.media_status = 404
    card = opened.card(LANDED.title)
    card.find_element("css selector", ".play").click()
    opened.wait(lambda: opened.text(".clip-error") == "The file is no longer in storage.", "reason")
    server.media_status = 200
    opened.play(card)
    assert opened.text(".clip-error") == ""


def test_a_link_that_expires_during_play_is_renewed_at_the_same_place(opened: TabBrowser) -> None:
    video = opened.play(opened.card(LANDED.title))
    opened.seek(video, 4.0)
    # Half a minute later, the browser asks a signed link for a part that it has not got, and is refused.
    opened.js(
        """const now = Date.now();
        Date.now = () => now + 30_000;
        window.loads = 0;
        arguments[0].addEventListener("loadstart", () => { loads += 1; });
        arguments[0].dispatchEvent(new Event("error"));""",
        video,
    )
    opened.wait(lambda: opened.js("return !arguments[0].paused", video), "playing video")
    assert opened.js("return arguments[0].currentTime", video) >= 3.9
    assert opened.js("return loads") == 1


def test_a_missing_poster_leaves_the_play_button(tab: TabBrowser, server: VideosPage) -> None:
    server.media_status = 404
    tab.browser.get(f"{server.url}/vidgen/videos")
    tab.wait(lambda: not tab.js("return document.querySelectorAll('.clip img').length"), "end of the poster")
    assert tab.card(LANDED.title).find_element("css selector", ".play").is_displayed()
