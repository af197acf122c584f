# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Cards of every state, and a page of them, as the templates of the Videos tab get them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from airflow_provider_vidgen.videos_tab.view import (
    Action,
    Card,
    CardState,
    Choice,
    Clip,
    Counts,
    Filters,
    Link,
    Moment,
    Page,
    Section,
    Tone,
    Total,
)

TASK = "/dags/marketing_videos/runs/scheduled__2026-11-21T00%3A00%3A00%2B00%3A00/tasks/make_video/mapped/"
MEDIA = "/vidgen/runs/marketing_videos/scheduled__2026-11-21/make_video/"


def _links(index: int, *more: Link) -> tuple[Link, ...]:
    return (
        Link(kind="task", label="Task", href=f"{TASK}{index}"),
        Link(kind="log", label="Log", href=f"{TASK}{index}?try_number=1"),
        *more,
    )


def _new_one(index: int, cost: str) -> Action:
    return Action(
        name="regenerate",
        label="Make a new one…",
        url=f"{MEDIA}{index}/regenerate",
        question=f"This makes a new, paid video ({cost}). The money spent on the present one stays spent.",
    )


def _adopt(index: int) -> Action:
    return Action(name="adopt", label="Adopt a job…", url=f"{MEDIA}{index}/adopt", needs_job_id=True)


def _look_again(index: int) -> Action:
    return Action(name="look_again", label="Look again", url=f"{MEDIA}{index}/look_again")


CONSOLE = Link(kind="console", label="Vendor console", href="https://apimart.ai/console/task", external=True)


def _card(index: int, **values: Any) -> Card:
    values.setdefault("links", _links(index))
    return Card(id=f"video-{index:012x}", version=f"{index:08x}", **values)


LANDED = _card(
    0,
    state=CardState.LANDED,
    tone=Tone.OK,
    label="Landed",
    title="espresso-machine 16:9",
    prompt="A slow camera move around a brushed steel espresso machine, warm morning light, premium style",
    vendor_line="Apixo · grok-video · 720p",
    cost="$0.12 reported",
    job_id="task_87420fbc1f2e4d6f9a",
    file_line="4.2 MiB",
    moments=(
        Moment(
            before="finished ",
            at="2026-11-21T14:09:03+00:00",
            counts=Counts.CLOCK,
            text="14:09 UTC",
            after=", in 41 s",
        ),
    ),
    clips=(
        Clip(
            src=f"{MEDIA}0/files/0",
            poster=f"{MEDIA}0/files/0/poster",
            size="4.2 MiB",
            length="0:06",
            path="s3://aws_default@videos/espresso-machine.mp4",
        ),
    ),
    actions=(_new_one(0, "about $0.12"),),
)
RENDERING = _card(
    1,
    state=CardState.RENDERING,
    tone=Tone.RUN,
    label="Rendering 62 %",
    title="desk-lamp 9:16",
    picture="rendering",
    percent=62.0,
    prompt="A slow camera move around an articulated desk lamp, night, soft studio light",
    vendor_line="APIMart · 720p",
    job_id="task_01JABCDEF",
    moments=(
        Moment(
            before="",
            at="2026-11-21T14:08:20+00:00",
            counts=Counts.ELAPSED,
            text="38 s",
            after=" of about 60 s",
        ),
    ),
    links=_links(1, CONSOLE),
)
WAITING = _card(
    2,
    state=CardState.WAITING,
    tone=Tone.WAIT,
    label="Waiting",
    title="rain-jacket 1:1",
    picture="2nd in line",
    prompt="A slow camera move around a red rain jacket, stormy coast",
    vendor_line="Apixo takes 10 at a time",
    moments=(
        Moment(before="for ", at="2026-11-21T14:07:40+00:00", counts=Counts.ELAPSED, text="1 min 20 s"),
    ),
    billing="Nothing has been submitted or paid yet.",
)
SILENT = _card(
    3,
    state=CardState.SILENT,
    tone=Tone.WARN,
    label="Vendor silent",
    title="teapot 16:9",
    picture="not answering",
    percent=40.0,
    prompt="A slow camera move around a cast iron teapot, fog, minimal",
    vendor_line="Apixo · grok-video · 720p",
    job_id="task_55aa",
    moments=(
        Moment(
            before="not answering since ",
            at="2026-11-21T14:07:51+00:00",
            counts=Counts.CLOCK,
            text="14:07 UTC",
            tone=Tone.WARN,
        ),
        Moment(
            before="asking again in ",
            at="2026-11-21T14:09:20+00:00",
            counts=Counts.REMAINING,
            text="20 s",
            when_over="asking again now",
        ),
    ),
    message="The job continues at the vendor; nothing is lost.",
)
FAILED = _card(
    4,
    state=CardState.FAILED,
    tone=Tone.BAD,
    label="Content rejected",
    title="headphones 9:16",
    picture="no video",
    prompt="A celebrity wearing studio headphones on stage",
    vendor_line="Apixo · grok-video · 720p",
    job_id="task_9989",
    message="“Content does not meet safety guidelines.”",
    billing="The vendor decides whether a failed job is billed.",
    next_step="Change the prompt; the same one would be rejected again.",
    code="CONTENT_VIOLATION",
    actions=(_new_one(4, "about $0.12"),),
)
UNKNOWN = _card(
    5,
    state=CardState.UNKNOWN,
    tone=Tone.WARN,
    label="Unknown",
    title="bicycle 16:9",
    picture="outcome unknown",
    prompt="A slow camera move around a city bicycle, autumn leaves",
    vendor_line="APIModels · 1080p",
    message="The paid request was sent at 14:06:12 and the connection broke.",
    billing="Money may have been spent.",
    next_step="Look into the vendor’s console.",
    actions=(_adopt(5), _look_again(5), _new_one(5, "about $0.10")),
)
ESTIMATED = _card(
    6,
    state=CardState.LANDED,
    tone=Tone.OK,
    label="Landed",
    title="backpack 16:9",
    prompt="A slow camera move around a canvas backpack, forest morning",
    vendor_line="APIModels · 1080p",
    cost="about $0.10, estimated",
    cost_note="Estimated from the vendor's documented price of 2026-11-20",
    job_id="job_4711",
    clips=(Clip(src=f"{MEDIA}6/files/0", length="0:06", size="3.9 MiB", path="file:///videos/backpack.mp4"),),
    actions=(_new_one(6, "about $0.10"),),
)
MADE = _card(
    7,
    state=CardState.MADE,
    tone=Tone.OK,
    label="Made",
    title="perfume 9:16",
    prompt="A slow camera move around a glass perfume bottle, violet light",
    vendor_line="Apixgo · 480p",
    job_id="job_0815",
    moments=(
        Moment(
            before="link expires in ",
            at="2026-11-21T14:51:00+00:00",
            counts=Counts.REMAINING,
            text="42 min",
            when_over="link expired",
            tone=Tone.WARN,
        ),
    ),
    message="Not landed: the vendor’s link is played.",
    clips=(Clip(src=f"{MEDIA}7/files/0", length="0:10"), Clip(src=f"{MEDIA}7/files/1", length="0:10")),
)
QUEUED = _card(
    8,
    state=CardState.QUEUED,
    tone=Tone.IDLE,
    label="Queued in Airflow",
    title="make_video",
    place="marketing_videos · manual__2026-11-21",
    picture="not started",
    billing="Nothing has been submitted or paid yet.",
)
RETRYING = _card(
    9,
    state=CardState.RETRYING,
    tone=Tone.WARN,
    label="Retry pending",
    title="suitcase 4:5",
    picture="no video yet",
    prompt="A suitcase that rolls by itself",
    vendor_line="Apixgo · 480p",
    moments=(
        Moment(
            before="next try in ",
            at="2026-11-21T14:14:00+00:00",
            counts=Counts.REMAINING,
            text="4 min 50 s",
            when_over="next try now",
        ),
    ),
    message="The vendor could not be reached.",
    billing="Nothing was spent.",
)
LOST = _card(
    10,
    state=CardState.LOST,
    tone=Tone.BAD,
    label="Lost",
    title="scarf 1:1",
    picture="no video",
    prompt="A scarf in the wind",
    vendor_line="APIMart · 720p",
    job_id="task_01JLOST",
    message="The vendor no longer knows the job.",
    billing="Money may have been spent.",
    next_step="Look again, or make a new one.",
    actions=(_look_again(10), _new_one(10, "cost not known")),
    links=_links(10, CONSOLE),
)

CARDS = (
    *(LANDED, RENDERING, WAITING, SILENT, FAILED, UNKNOWN),
    *(ESTIMATED, MADE, QUEUED, RETRYING, LOST),
)


def sample_page(*cards: Card, **values: Any) -> Page:
    """Return a page of these cards, by default of every state."""
    cards = cards or CARDS
    page = Page(
        scope=("marketing_videos", "scheduled__2026-11-21T00:00:00+00:00"),
        totals=(
            Total(value="24", label="videos"),
            Total(value="15", label="landed", tone=Tone.OK),
            Total(value="4", label="rendering", tone=Tone.RUN),
            Total(value="2", label="waiting for capacity", tone=Tone.WAIT),
            Total(value="2", label="failed", tone=Tone.BAD),
            Total(value="1", label="unknown", tone=Tone.WARN),
            Total(value="$1.84", label="reported $0.98, estimated $0.86"),
        ),
        filters=Filters(
            states=(
                Choice(value="", label="All", count=24, selected=True),
                Choice(value="landed", label="Landed", count=15),
                Choice(value="rendering", label="Rendering", count=4),
                Choice(value="waiting", label="Waiting", count=2),
                Choice(value="failed", label="Failed", count=2),
                Choice(value="unknown", label="Unknown", count=1),
            ),
            vendors=(
                Choice(value="", label="Any vendor", count=24, selected=True),
                Choice(value="apixo", label="Apixo", count=14),
                Choice(value="apimart", label="APIMart", count=10),
            ),
        ),
        sections=(Section(number=1, version="11111111", cards=cards),),
        total_cards=len(cards),
        sections_count=1,
        cards_url="/vidgen/runs/marketing_videos/scheduled__2026-11-21/cards",
        page_url="/vidgen/runs/marketing_videos/scheduled__2026-11-21",
        static_url="static/0123abcd/",
        now="2026-11-21T14:09:00+00:00",
        version='"v1"',
        can_act=True,
    )
    return replace(page, **values)
