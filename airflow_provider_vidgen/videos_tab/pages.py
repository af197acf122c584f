# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The pages of cards, whole and as the fragment that keeps them current."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from starlette.responses import HTMLResponse, Response

from airflow_provider_vidgen import airflow_core_access, airflow_core_videos
from airflow_provider_vidgen.airflow_core_videos import BadCursor, NewestVideos, RunVideos, Scope, VideoTask
from airflow_provider_vidgen.clock import utcnow
from airflow_provider_vidgen.videos_tab import listing, paths
from airflow_provider_vidgen.videos_tab.listing import MAX_SECTIONS, Selection
from airflow_provider_vidgen.videos_tab.rendering import render
from airflow_provider_vidgen.videos_tab.videos import Video, find_videos
from airflow_provider_vidgen.videos_tab.view import Page

#: Videos of a page that is not that of one run.
WINDOW = 1_000
_MAP_INDEX = re.compile(r"\d{1,9}", re.ASCII)
#: Seconds between the checks of an open page, while videos change and while none does.
_CHECK_AFTER, _CHECK_AFTER_IDLE = 4.0, 15.0
#: An open page may take this part of the server's time at most: large pages are checked less often.
_SERVER_SHARE = 1 / 150


@dataclass(frozen=True, kw_only=True)
class PageRequest:
    """
    What a page shows, apart from the filters.

    :param title: the parts of the title after "Videos".
    :param query: the parameters that lead to this page, besides the filters.
    :param is_all: the page over all Dags.
    :param task_id: of a run, only the videos of this task; ``None`` for all.
    :param map_index: only the video of this instance; ``None`` for all.
    """

    scope: Scope
    title: tuple[str, ...]
    query: tuple[tuple[str, str], ...]
    is_all: bool = False
    task_id: str | None = None
    map_index: int | None = None

    @property
    def across_runs(self) -> bool:
        """Whether the page has videos of several runs."""
        return isinstance(self.scope, NewestVideos)

    def shows(self, video: Video) -> bool:
        """Whether a video of the scope is on the page."""
        return self.task_id is None or self.across_runs or video.has_task(self.task_id, self.map_index)


@dataclass(frozen=True, kw_only=True)
class Part:
    """
    The sections that an open page asks for.

    :param first: number of the first one, from 1.
    :param last: number of the last one.
    :param known: versions of the sections that the browser has.
    :param etag: version of everything when the browser last asked.
    """

    first: int
    last: int
    known: frozenset[str]
    etag: str


_FIRST = Part(first=1, last=1, known=frozenset(), etag="")


def _part(
    request: Request,
    first: int = Query(1, ge=1),
    last: int = Query(1, ge=1),
    known: str = Query("", max_length=4000),
) -> Part:
    return Part(
        first=first,
        # One reply has a limit, and none is empty because of it.
        last=min(last, first + MAX_SECTIONS - 1),
        known=frozenset(known.split(",")),
        etag=request.headers.get("if-none-match", ""),
    )


def _selection(
    state: str = Query("", max_length=20),
    vendor: str = Query("", max_length=100),
    q: str = Query("", max_length=200),
) -> Selection:
    return Selection(state=state, vendor=vendor, text=q.strip())


def of_dag(
    dag_id: str = Query(min_length=1),
    run_id: str = "",
    task_id: str = "",
    map_index: str = "",
    before: str = "",
) -> PageRequest:
    """
    Return the page of a run, a task of it, or one instance; or of the newest videos of a Dag, or of a task.

    :param map_index: as it is in the link of the tab: not a number for a task that is not mapped, because
        Airflow then leaves its placeholder as it is.
    """
    index = int(map_index) if _MAP_INDEX.fullmatch(map_index) else None
    query = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id}
    query["map_index"] = "" if index is None else str(index)
    scope: Scope
    if run_id:
        scope = RunVideos(dag_id=dag_id, run_id=run_id)
    else:
        query["before"] = before
        scope = NewestVideos(dag_ids=(dag_id,), task_id=task_id or None, before=before, limit=WINDOW)
    task = f"{task_id}[{index}]" if task_id and index is not None else task_id
    return PageRequest(
        scope=scope,
        title=tuple(part for part in (dag_id, run_id, task) if part),
        query=tuple((name, value) for name, value in query.items() if value),
        task_id=task_id or None,
        map_index=index,
    )


def of_all(before: str, user: Any, session: Any) -> PageRequest:
    """Return the page over all Dags that a user may read."""
    dag_ids = airflow_core_access.readable_dag_ids(user, session)
    return PageRequest(
        scope=NewestVideos(dag_ids=tuple(sorted(dag_ids)), before=before, limit=WINDOW),
        title=("all Dags",),
        query=(("before", before),) if before else (),
        is_all=True,
    )


def pages_router(static_url: str) -> APIRouter:
    """
    Return the routes; all of them need read access to the Dag, or to any Dag for the page over all.

    :param static_url: path of the folder of static files.
    """
    router = APIRouter(dependencies=airflow_core_access.dependencies(edit=False))
    the_session: Any = airflow_core_access.session_dependency()
    the_user: Any = airflow_core_access.user_dependency()

    def for_all(before: str = "", user: Any = the_user, session: Any = the_session) -> PageRequest:
        return of_all(before, user, session)

    def whole_page(request: PageRequest, selection: Selection, user: Any, session: Any) -> Response:
        state = page_state(request, selection, _FIRST, session)
        page = build_page(request, selection, state=state, static_url=static_url, user=user, session=session)
        # Not kept: the time in it would be wrong.
        return HTMLResponse(render("page.html", page), headers={"Cache-Control": "private, no-store"})

    def fragment(request: PageRequest, selection: Selection, part: Part, user: Any, session: Any) -> Response:
        start = time.thread_time()
        state = page_state(request, selection, part, session)
        headers = {"Cache-Control": "private, no-store", "ETag": state.version}
        if part.etag == state.version:
            headers["Videos-Check-After"] = f"{check_interval(state.is_active, 0.0):.1f}"
            return Response(status_code=304, headers=headers)
        page = build_page(
            request, selection, part, state=state, static_url=static_url, user=user, session=session
        )
        text = render("fragment.html", page)
        check_after = check_interval(state.is_active, time.thread_time() - start)
        return HTMLResponse(text, headers={**headers, "Videos-Check-After": f"{check_after:.1f}"})

    selected, asked_part = Depends(_selection), Depends(_part)
    for asked, page_route, cards_route in (
        (Depends(of_dag), paths.VIDEOS, paths.CARDS),
        (Depends(for_all), paths.ALL_VIDEOS, paths.ALL_CARDS),
    ):

        @router.get(f"/{page_route}", name=page_route)
        def videos(
            request: Any = asked, selection: Any = selected, user: Any = the_user, session: Any = the_session
        ) -> Response:
            """Show a page."""
            return whole_page(request, selection, user, session)

        @router.get(f"/{cards_route}", name=cards_route)
        def cards(
            request: Any = asked,
            selection: Any = selected,
            part: Any = asked_part,
            user: Any = the_user,
            session: Any = the_session,
        ) -> Response:
            """Show what of a page has changed, for its script."""
            return fragment(request, selection, part, user, session)

    return router


@dataclass(frozen=True, kw_only=True)
class PageState:
    """
    What a page is like now, without its videos.

    :param version: the ``ETag``, which changes whenever the page may.
    :param is_active: a task of the page has not ended.
    """

    version: str
    is_active: bool


def page_state(request: PageRequest, selection: Selection, part: Part, session: Any) -> PageState:
    """Return the state of a page, or of some of its sections."""
    state = _from_database(airflow_core_videos.scope_state, request.scope, session)
    tag = listing.digest([state.version, repr(request), repr(selection), part.first, part.last])
    return PageState(version=f'"{tag}"', is_active=state.is_active)


def _from_database(read: Any, scope: Scope, session: Any) -> Any:
    try:
        return read(scope, session)
    except BadCursor:
        raise HTTPException(422, "The link to these older videos is not complete.") from None


def build_page(
    request: PageRequest,
    selection: Selection,
    part: Part = _FIRST,
    *,
    state: PageState,
    static_url: str,
    user: Any,
    session: Any,
) -> Page:
    """Return a page, with some of its sections."""
    tasks: Sequence[VideoTask] = _from_database(airflow_core_videos.video_tasks, request.scope, session)
    videos = [
        video for video in find_videos(tasks, whole_runs=not request.across_runs) if request.shows(video)
    ]
    shown = [video for video in videos if selection.matches(video)]
    now = utcnow()
    found = listing.sections(
        shown,
        first=part.first,
        last=part.last,
        known=part.known,
        now=now,
        editable=lambda dag_ids: airflow_core_access.editable_dag_ids(dag_ids, user, session),
        across_runs=request.across_runs,
    )
    page = Page(
        scope=request.title,
        totals=listing.totals(videos),
        filters=listing.filters(videos, selection),
        sections=found,
        total_cards=len(shown),
        sections_count=listing.count_sections(shown),
        cards_url=paths.ALL_CARDS if request.is_all else paths.CARDS,
        page_url=paths.ALL_VIDEOS if request.is_all else paths.VIDEOS,
        static_url=static_url,
        now=now.isoformat(),
        version=state.version,
        check_after=check_interval(state.is_active, 0.0),
        scope_query=request.query,
        can_act=any(card.actions for section in found for card in section.cards),
    )
    return _with_neighbours(page, request, tasks)


def _with_neighbours(page: Page, request: PageRequest, tasks: Sequence[VideoTask]) -> Page:
    """Add the links to older and to the newest videos, where the page has a part of them."""
    if not isinstance(request.scope, NewestVideos):
        return page
    query = dict(request.query)
    if query.pop("before", ""):
        page = replace(page, newer_url=paths.page(page.page_url, query))
    if len(tasks) == request.scope.limit:
        query["before"] = airflow_core_videos.cursor(min(tasks, key=airflow_core_videos.age_order))
        page = replace(page, older_url=paths.page(page.page_url, query))
    return page


def check_interval(is_active: bool, cpu_seconds: float) -> float:
    """
    Return the seconds until an open page is checked again.

    :param is_active: a task of the page has not ended.
    :param cpu_seconds: that the server needed for the last reply.
    """
    return max(_CHECK_AFTER if is_active else _CHECK_AFTER_IDLE, cpu_seconds / _SERVER_SHARE)
