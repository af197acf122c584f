# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What people, vendors and Airflow wrote is shown as text, at every width, and everybody can use the page."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from airflow_provider_vidgen.videos_tab.view import Card, Tone
from tests.support.sample_cards import CARDS, MADE
from tests.support.tab_browser import TabBrowser
from tests.support.videos_page import VideosPage

TEXTS = {
    "script": "<script>document.title='hacked'</script>\"'><img src=x onerror=\"document.title='x'\">&amp;",
    "rtl": "קפה של בוקר ליד מכונת אספרסו מפלדה 16:9 \u202eabc",
    "long": "x" * 5000,
    "words": "a slow camera move " * 263,
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈" * 200,
    "control": "\x01\x1b[31mred\x07\u2028\ufeff",
}
#: Fields of a card that hold people's, vendors' or Airflow's text.
TEXT_FIELDS = [
    field.name for field in fields(Card) if field.type == "str" and field.name not in ("id", "version")
]


def with_text(card: Card, text: str) -> Card:
    """Return a card with the text wherever a text can be."""
    return replace(
        card,
        **dict.fromkeys(TEXT_FIELDS, text),
        moments=tuple(replace(moment, before=text, after=text, when_over=text) for moment in card.moments),
        clips=tuple(replace(clip, length=text, path=text) for clip in card.clips),
        links=tuple(replace(link, label=text) for link in card.links),
        actions=tuple(replace(action, label=text, question=text) for action in card.actions),
    )


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_any_text_is_shown_as_text_and_the_layout_stays_whole(
    tab: TabBrowser, server: VideosPage, text: str
) -> None:
    server.cards = [with_text(card, text) for card in CARDS]
    for width in (360, 768, 1400):
        tab.size(width)
        tab.browser.get(f"{server.url}/vidgen/videos")
        tab.wait(lambda: tab.text("#connection-text").startswith("Live"), "live page")
        assert tab.overflow() == 0
    assert tab.browser.title.startswith("Videos")
    assert tab.js("return [...document.querySelectorAll('.card h3')].map((title) => title.textContent)") == [
        text
    ] * len(CARDS)
    assert tab.js("return document.querySelectorAll('.card script, .card img[src=x]').length") == 0


@pytest.mark.parametrize("name", ["long", "words"])
def test_a_long_text_is_cut_off_and_can_be_shown_whole(
    tab: TabBrowser, server: VideosPage, name: str
) -> None:
    server.cards = [with_text(card, TEXTS[name]) for card in CARDS]
    tab.browser.get(f"{server.url}/vidgen/videos")
    tab.wait(lambda: tab.text("#connection-text").startswith("Live"), "live page")
    height = "return document.querySelector('.card .prompt').clientHeight"
    assert tab.js(height) < 60
    tab.click(".card .show-all")
    assert tab.js(height) > 500
    assert tab.overflow() == 0
    assert tab.find(".card .show-all").get_attribute("aria-expanded") == "true"
    tab.click(".card .show-all")
    assert tab.js(height) < 60


def test_a_short_text_has_no_button_to_show_it_whole(opened: TabBrowser) -> None:
    assert not opened.card(MADE.title).find_element("css selector", ".show-all").is_displayed()


@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_axe_finds_nothing_serious(tab: TabBrowser, server: VideosPage, mode: str, width: int) -> None:
    tab.prefer(mode)
    tab.size(width)
    tab.browser.get(f"{server.url}/vidgen/videos")
    tab.wait(lambda: tab.text("#connection-text").startswith("Live"), "live page")
    assert tab.js("return document.documentElement.dataset.theme") == mode
    assert tab.accessibility_findings() == []


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_axe_finds_nothing_serious_in_a_dialog(opened: TabBrowser, mode: str) -> None:
    opened.prefer(mode)
    opened.js("document.querySelector('[data-act=adopt]').click()")
    opened.find("#act")
    assert opened.accessibility_findings() == []


@pytest.mark.parametrize("state", ["empty", "no match", "not connected"])
def test_axe_finds_nothing_serious_in_a_page_without_cards(
    tab: TabBrowser, server: VideosPage, state: str
) -> None:
    if state == "empty":
        server.cards = []
    if state == "not connected":
        server.status = 500
    tab.browser.get(f"{server.url}/vidgen/videos" + ("?q=nothing-like-this" if state == "no match" else ""))
    expected = {"empty": "No videos yet.", "no match": "No video matches", "not connected": "Not connected"}
    tab.wait(lambda: expected[state] in tab.text("body"), expected[state])
    assert tab.accessibility_findings() == []


def test_every_tone_has_a_colour_of_its_own(opened: TabBrowser) -> None:
    colours = opened.js(
        """return arguments[0].map((tone) => {
      const element = document.createElement("span");
      element.className = `state tone-${tone}`;
      document.body.append(element);
      return getComputedStyle(element).color;
    })""",
        [str(tone) for tone in Tone],
    )
    assert len(set(colours)) == len(Tone)


def test_changed_totals_are_announced_once(opened: TabBrowser, server: VideosPage) -> None:
    opened.js("""window.announced = [];
      new MutationObserver(() => announced.push(document.getElementById("announcer").textContent))
        .observe(document.getElementById("announcer"), { childList: true });""")
    server.cards = server.cards[:3]
    opened.wait_for_cards(3)
    # The sample's totals do not change with its cards.
    assert opened.js("return announced") == []
    opened.click("#state-failed")
    opened.wait(lambda: opened.js("return announced") == ["0 videos"], "announcement")
