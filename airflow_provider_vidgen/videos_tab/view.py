# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
What the templates of the Videos tab show: text and simple values. No I/O.

All text is as people, vendors and Airflow wrote it; the templates escape it. Links are checked: a link to
another site is https or http.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class CardState(StrEnum):
    """
    The state of a card; also the value of the filter, and a CSS class.

    ``queued``: the task has not started, or starts again; ``silent``: the job renders and the vendor does not
    answer; ``other``: the task was skipped, removed or marked by hand, or its status cannot be read.
    """

    QUEUED = "queued"
    WAITING = "waiting"
    RENDERING = "rendering"
    SILENT = "silent"
    MADE = "made"
    LANDED = "landed"
    RETRYING = "retrying"
    FAILED = "failed"
    UNKNOWN = "unknown"
    LOST = "lost"
    OTHER = "other"


class Tone(StrEnum):
    """The colour of a state, and a CSS class."""

    OK = "ok"
    RUN = "run"
    WAIT = "wait"
    BAD = "bad"
    WARN = "warn"
    IDLE = "idle"


class Counts(StrEnum):
    """
    How a moment is shown; the script of the page keeps it current.

    ``elapsed``: the time since then ("1 min 20 s"); ``remaining``: the time until then ("42 min"), and
    :attr:`Moment.when_over` once it has passed; ``clock``: the time of day in the reader's time zone.
    """

    ELAPSED = "elapsed"
    REMAINING = "remaining"
    CLOCK = "clock"


@dataclass(frozen=True, kw_only=True)
class Moment:
    """
    A text with a time in it: ``before``, the time, ``after``.

    :param at: ISO 8601, UTC, for ``<time datetime>``.
    :param text: the time in words when the page was built; not part of a card's version.
    :param when_over: replaces the whole text when a ``remaining`` time has passed.
    :param tone: of the text, if it is not that of plain text.
    """

    before: str
    at: str
    counts: Counts
    text: str = field(compare=False, repr=False)
    after: str = ""
    when_over: str = ""
    tone: Tone | None = None


@dataclass(frozen=True, kw_only=True)
class Clip:
    """
    A video of a card.

    :param src: path of the route that plays it.
    :param streamed_src: plays it through the API server, for a browser that cannot reach the store's signed
        link; empty if the vendor's link is played.
    :param poster: path of the route of its poster; empty if there is none.
    :param size: such as ``4.2 MiB``; empty if it is not known.
    :param length: such as ``0:06``; empty if it is not known.
    :param path: the landed file; empty if the vendor's link is played.
    """

    src: str
    streamed_src: str = ""
    poster: str = ""
    size: str = ""
    length: str = ""
    path: str = ""


@dataclass(frozen=True, kw_only=True)
class Link:
    """
    A link of a card.

    :param kind: ``task``, ``log``, ``run``, ``file`` or ``console``.
    :param external: it leads to another site, and opens in a tab of its own without a referrer.
    """

    kind: str
    label: str
    href: str
    external: bool = False


@dataclass(frozen=True, kw_only=True)
class Action:
    """
    What an authorised user may do about a card: a POST of JSON to ``url``.

    :param name: ``regenerate``, ``adopt`` or ``look_again``. Body: ``{"clear": true}``; for ``adopt`` also
        ``"job_id"``. Reply: ``{"message": ...}``, 409 with ``{"detail": ...}`` if it is refused.
    :param label: of the button, such as ``Make a new one…``.
    :param question: asked before it is done; states the estimated cost. Empty: nothing is asked.
    :param needs_job_id: the user has to enter a job id.
    """

    name: str
    label: str
    url: str
    question: str = ""
    needs_job_id: bool = False


@dataclass(frozen=True, kw_only=True)
class Card:
    """
    One video of the page.

    :param id: unique on the page and stable; safe as a DOM id.
    :param version: changes when anything but the texts of moments does; the browser then replaces the card.
    :param title: the name of a mapped instance, or the task's id.
    :param place: Dag and run, on the page over all Dags; otherwise empty, or the task's id next to a name.
    :param label: the state in words, such as ``Rendering 62 %`` or ``Content rejected``.
    :param picture: words in the place of the picture, such as ``2nd in line``.
    :param percent: of the progress bar, 0 to 100; ``None`` without a bar.
    :param vendor_line: such as ``Apixo · grok-video · 720p``.
    :param cost: such as ``$0.12 reported`` or ``about $0.10, estimated``.
    :param cost_note: where the figure comes from, with its date; shown on hover.
    :param job_id: whole; the template shortens it by CSS.
    :param file_line: such as ``4.2 MiB``.
    :param moments: what happened when, in the order in which they are shown.
    :param message: what has happened, in a sentence.
    :param billing: what it means for the money, in a sentence.
    :param next_step: what to do, in a sentence.
    :param code: the vendor's code of a failure.
    :param clips: what can be played; empty if there is no video.
    :param actions: what this user may do; empty for those who may only read.
    """

    id: str
    version: str
    state: CardState
    tone: Tone
    label: str
    title: str
    place: str = ""
    picture: str = ""
    percent: float | None = None
    prompt: str = ""
    vendor_line: str = ""
    cost: str = ""
    cost_note: str = ""
    job_id: str = ""
    file_line: str = ""
    moments: tuple[Moment, ...] = ()
    message: str = ""
    billing: str = ""
    next_step: str = ""
    code: str = ""
    clips: tuple[Clip, ...] = ()
    links: tuple[Link, ...] = ()
    actions: tuple[Action, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Total:
    """
    One figure of the header.

    :param value: such as ``24`` or ``$1.84``.
    :param label: such as ``waiting for capacity``, or ``reported $0.98, estimated $0.86``.
    """

    value: str
    label: str
    tone: Tone | None = None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """
    One choice of a filter.

    :param value: of the query parameter; empty for all.
    :param label: such as ``Waiting``.
    :param count: of the cards that it leaves, with the other filters as they are.
    """

    value: str
    label: str
    count: int
    selected: bool = False


@dataclass(frozen=True, kw_only=True)
class Filters:
    """
    The filters of the page: the query parameters ``state``, ``vendor`` and ``q``.

    :param states: all, then those that occur.
    :param vendors: any, then those that occur; not worth showing with fewer than three.
    :param text: searched in prompt, title, product and job id; empty for all.
    """

    states: tuple[Choice, ...] = ()
    vendors: tuple[Choice, ...] = ()
    text: str = ""

    @property
    def active(self) -> bool:
        """Whether any filter is set."""
        return bool(self.text) or any(c.selected and c.value for c in (*self.states, *self.vendors))


@dataclass(frozen=True, kw_only=True)
class Section:
    """
    Up to 60 cards in order.

    :param number: from 1.
    :param version: of all its cards.
    :param unchanged: the browser has this version, so ``cards`` is empty.
    """

    number: int
    version: str
    cards: tuple[Card, ...] = ()
    unchanged: bool = False


@dataclass(frozen=True, kw_only=True)
class Page:
    """
    The page, and the fragment with which the script renews it.

    ``templates/page.html`` shows all of it. ``templates/fragment.html`` shows header (totals, filters) and
    ``sections``; the script asks for it as ``cards_url`` with the filters' parameters, ``first`` and ``last``
    (numbers of sections) and ``known`` (versions of the sections it has, comma-separated), and with
    ``If-None-Match``. The reply is 304 if nothing has changed. Its header ``Videos-Check-After`` is the
    number of seconds to wait before the next time.

    :param scope: the parts of the title after "Videos", such as Dag id and run id.
    :param total_cards: number of cards that the filters leave, in all sections.
    :param sections_count: number of sections that the filters leave.
    :param older_url: page of the older videos, if this page does not go back to the first; empty otherwise.
    :param newer_url: page of the newest videos, if this page does not begin there; empty otherwise.
    :param cards_url: path of the fragment, without query.
    :param page_url: path of this page, without query.
    :param scope_query: query parameters that belong to ``page_url`` and ``cards_url`` besides the filters,
        such as ``before`` on the page over all Dags; name and value.
    :param static_url: path of the folder of style sheets and scripts, with a slash at its end.
    :param now: when the page was built, ISO 8601, UTC: browsers' clocks are wrong at times.
    :param version: of everything; the ``ETag``.
    :param check_after: seconds to wait before the first check for changes.
    """

    scope: tuple[str, ...]
    totals: tuple[Total, ...]
    filters: Filters
    sections: tuple[Section, ...]
    total_cards: int
    sections_count: int
    cards_url: str
    page_url: str
    static_url: str
    now: str
    version: str = ""
    check_after: float = 5.0
    older_url: str = ""
    newer_url: str = ""
    scope_query: tuple[tuple[str, str], ...] = ()
    can_act: bool = False
