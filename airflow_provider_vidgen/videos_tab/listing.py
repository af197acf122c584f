# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Build a page of cards: totals, filters, and the sections that the browser asked for. No I/O."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_provider_vidgen import __version__
from airflow_provider_vidgen.videos_tab import wording
from airflow_provider_vidgen.videos_tab.cards import build_card
from airflow_provider_vidgen.videos_tab.videos import Video
from airflow_provider_vidgen.videos_tab.view import CardState, Choice, Filters, Section, Tone, Total

#: Cards of a section.
SECTION_SIZE = 60
#: Sections of one reply.
MAX_SECTIONS = 40

#: In the order of the header and the filter, with the states that count as each.
_GROUPS: tuple[tuple[CardState, str, Tone | None, tuple[CardState, ...]], ...] = (
    (CardState.LANDED, "landed", Tone.OK, (CardState.LANDED,)),
    (CardState.MADE, "made", Tone.OK, (CardState.MADE,)),
    (CardState.RENDERING, "rendering", Tone.RUN, (CardState.RENDERING, CardState.SILENT)),
    (CardState.WAITING, "waiting for capacity", Tone.WAIT, (CardState.WAITING,)),
    (CardState.QUEUED, "queued", Tone.IDLE, (CardState.QUEUED,)),
    (CardState.RETRYING, "retrying", Tone.WARN, (CardState.RETRYING,)),
    (CardState.FAILED, "failed", Tone.BAD, (CardState.FAILED,)),
    (CardState.UNKNOWN, "unknown", Tone.WARN, (CardState.UNKNOWN,)),
    (CardState.LOST, "lost", Tone.BAD, (CardState.LOST,)),
    (CardState.OTHER, "other", Tone.IDLE, (CardState.OTHER,)),
)
_GROUP_OF = {state: group for group, _, _, states in _GROUPS for state in states}
#: Groups whose estimated costs count: a job was accepted, and did not fail.
_PAID = (CardState.LANDED, CardState.MADE, CardState.RENDERING)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """
    What the reader asked for.

    :param state: a group of states, empty for all.
    :param vendor: empty for any.
    :param text: searched in prompt, title and ids, empty for all.
    """

    state: str = ""
    vendor: str = ""
    text: str = ""

    def matches(self, video: Video, *, ignoring: str = "") -> bool:
        """
        Whether a video is shown.

        :param ignoring: name of a filter that is not applied: for the counts of its choices.
        """
        return (
            (not self.state or ignoring == "state" or _GROUP_OF[video.state] == self.state)
            and (not self.vendor or ignoring == "vendor" or video.vendor[0] == self.vendor)
            and (not self.text or video.contains(self.text))
        )


def totals(videos: Sequence[Video]) -> tuple[Total, ...]:
    """Return the figures of the header."""
    counts = Counter(_GROUP_OF[video.state] for video in videos)
    figures = [Total(value=str(len(videos)), label="video" if len(videos) == 1 else "videos")]
    figures += [
        Total(value=str(counts[group]), label=label, tone=tone)
        for group, label, tone, _ in _GROUPS
        if counts[group]
    ]
    return (*figures, *_costs(videos))


def _costs(videos: Iterable[Video]) -> list[Total]:
    """Return one figure for each currency."""
    amounts: dict[str, dict[str, float]] = defaultdict(lambda: {"reported": 0.0, "estimated": 0.0})
    for video in videos:
        cost = wording.cost_parts(video.status.cost) if video.status is not None else None
        if cost is None:
            continue
        amount, currency, basis = cost
        if basis == "reported" or _GROUP_OF[video.state] in _PAID:
            amounts[currency][basis] += amount
    found = []
    for currency, by_basis in sorted(amounts.items()):
        parts = [f"{basis} {wording.money(amount, currency)}" for basis, amount in by_basis.items() if amount]
        label = ", ".join(parts) if len(parts) > 1 else "estimated" if by_basis["estimated"] else "reported"
        found.append(Total(value=wording.money(sum(by_basis.values()), currency), label=label))
    return found


def filters(videos: Sequence[Video], selection: Selection) -> Filters:
    """Return the filters with the number of videos that each choice leaves."""
    by_state = Counter(
        _GROUP_OF[video.state] for video in videos if selection.matches(video, ignoring="state")
    )
    by_vendor = Counter(
        video.vendor[0] for video in videos if selection.matches(video, ignoring="vendor") and video.vendor[0]
    )
    names = {video.vendor[0]: video.vendor[1] for video in videos if video.vendor[0]}
    any_vendor = sum(selection.matches(video, ignoring="vendor") for video in videos)
    states = [("", "All", by_state.total())]
    occurring = {_GROUP_OF[video.state] for video in videos}
    states += [
        (group, "Waiting" if group is CardState.WAITING else label.capitalize(), by_state[group])
        for group, label, _, _ in _GROUPS
        if group in occurring or group == selection.state
    ]
    vendors = [("", "Any vendor", any_vendor)]
    vendors += [(name, names[name], by_vendor[name]) for name in sorted(names)]
    return Filters(
        states=_choices(states, selection.state),
        vendors=_choices(vendors, selection.vendor),
        text=selection.text,
    )


def _choices(choices: Iterable[tuple[str, str, int]], selected: str) -> tuple[Choice, ...]:
    return tuple(
        Choice(value=str(value), label=label, count=count, selected=value == selected)
        for value, label, count in choices
    )


def sections(
    videos: Sequence[Video],
    *,
    first: int,
    last: int,
    known: Collection[str],
    now: datetime,
    editable: Callable[[set[str]], Collection[str]],
    across_runs: bool,
) -> tuple[Section, ...]:
    """
    Return sections of the videos that the filters leave.

    :param first: number of the first section, from 1.
    :param last: number of the last one; sections beyond the end are left out.
    :param known: versions of sections that the browser has; their cards are left out.
    :param editable: returns those of some Dags whose tasks this user may clear.
    :param across_runs: the page has videos of several runs.
    """
    shown = videos[(first - 1) * SECTION_SIZE : last * SECTION_SIZE]
    allowed = editable({video.task.dag_id for video in shown})
    cards = [build_card(video, now=now, editable=allowed, across_runs=across_runs) for video in shown]
    found = []
    for start in range(0, len(cards), SECTION_SIZE):
        of_section = tuple(cards[start : start + SECTION_SIZE])
        version = digest([(card.id, card.version) for card in of_section])
        unchanged = version in known
        found.append(
            Section(
                number=first + start // SECTION_SIZE,
                version=version,
                cards=() if unchanged else of_section,
                unchanged=unchanged,
            )
        )
    return tuple(found)


def count_sections(videos: Sequence[Video]) -> int:
    """Return the number of sections of the videos that the filters leave."""
    return -(-len(videos) // SECTION_SIZE)


def digest(value: Any) -> str:
    """Return a short hash of JSON values and of this package's version, as pages change with it."""
    text = json.dumps([__version__, value], separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
