# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A server of the Videos tab with given cards, without Airflow, and the sandboxed frame around it."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from airflow_provider_vidgen.simulator.placeholder_media import placeholder_jpeg
from airflow_provider_vidgen.videos_tab.rendering import CONTENT_SECURITY_POLICY, STATIC, render
from airflow_provider_vidgen.videos_tab.view import Card, Page, Section
from dev.loopback import HOST, free_port
from tests.support.sample_cards import CARDS, sample_page

SECTION_SIZE = 60
#: As the Airflow 3.3 UI frames a page: the sandbox, and the colour mode as a class.
_FRAME = """<!doctype html><html class="light"><title>Airflow</title>
<style>html, body, iframe {{ margin: 0; border: 0; width: 100%; height: 100% }}</style>
<iframe src="{src}" sandbox="allow-scripts allow-same-origin allow-forms allow-downloads"></iframe>"""


class VideosPage:
    """
    The page, its fragments, its videos and its actions. The attributes may be changed while it runs.

    :ivar cards: that the page has now.
    :ivar check_after: what the server asks the page to wait before its next check, in seconds.
    :ivar status: of all replies with cards, for a server that fails.
    :ivar media_status: of all videos and posters.
    :ivar video: of every card.
    :ivar answers: of actions, by path: status and body.
    :ivar act_seconds: how long an action takes.
    :ivar requests: paths with queries, in order.
    :ivar received: bodies of actions, in order.
    """

    def __init__(self, video: Path) -> None:
        self.video = video
        self.reset()
        self.app = Starlette(
            routes=[
                Route("/frame", self._frame),
                Route("/vidgen/videos", self._page),
                Route("/vidgen/cards", self._cards),
                Mount("/vidgen/static", StaticFiles(directory=STATIC)),
                Route("/vidgen/{path:path}", self._act, methods=["POST"]),
                Route("/vidgen/{path:path}", self._media),
                Route("/dags/{path:path}", self._frame),
            ]
        )
        self.url = ""

    def reset(self) -> None:
        """Return to a page of every state that answers at once."""
        self.cards: list[Card] = list(CARDS)
        self.check_after = 0.3
        self.status = 200
        self.media_status = 200
        self.answers: dict[str, tuple[int, dict[str, Any]]] = {}
        self.act_seconds = 0.0
        self.requests: list[str] = []
        self.received: list[Any] = []

    def asked(self, path: str) -> list[str]:
        """Return the requests of a path."""
        return [request for request in self.requests if request.partition("?")[0] == path]

    @contextmanager
    def running(self) -> Iterator[VideosPage]:
        """Serve in a thread while the block lasts."""
        port = free_port()
        server = uvicorn.Server(uvicorn.Config(self.app, host=HOST, port=port, log_level="error"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        self.url = f"http://{HOST}:{port}"
        try:
            yield self
        finally:
            server.should_exit = True
            thread.join()

    def _note(self, request: Request) -> None:
        query = f"?{request.url.query}" if request.url.query else ""
        self.requests.append(f"{request.url.path}{query}")

    def _build(self, request: Request) -> Page:
        wanted = request.query_params
        text, state = wanted.get("q", "").lower(), wanted.get("state", "")
        cards = [
            card
            for card in self.cards
            if (not state or card.state == state) and text in f"{card.title} {card.prompt}".lower()
        ]
        known = wanted.get("known", "").split(",")
        first, last = int(wanted.get("first", 1)), int(wanted.get("last", 1))
        found = []
        for start in range((first - 1) * SECTION_SIZE, min(last * SECTION_SIZE, len(cards)), SECTION_SIZE):
            of_section = tuple(cards[start : start + SECTION_SIZE])
            version = _digest(of_section)
            is_known = version in known
            number = start // SECTION_SIZE + 1
            found.append(
                Section(
                    number=number,
                    version=version,
                    cards=() if is_known else of_section,
                    unchanged=is_known,
                )
            )
        page = sample_page()
        states = tuple(replace(choice, selected=choice.value == state) for choice in page.filters.states)
        return replace(
            page,
            sections=tuple(found),
            filters=replace(page.filters, states=states, text=wanted.get("q", "")),
            total_cards=len(cards),
            sections_count=-(-len(cards) // SECTION_SIZE),
            cards_url="cards",
            page_url="videos",
            static_url="static/",
            version=f'"{_digest(tuple(cards))}"',
            check_after=self.check_after,
        )

    async def _frame(self, request: Request) -> Response:
        self._note(request)
        return HTMLResponse(_FRAME.format(src="/vidgen/videos"))

    async def _page(self, request: Request) -> Response:
        self._note(request)
        headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY}
        return HTMLResponse(render("page.html", self._build(request)), headers=headers)

    async def _cards(self, request: Request) -> Response:
        self._note(request)
        if self.status != 200:
            return Response(status_code=self.status)
        page = self._build(request)
        headers = {"ETag": page.version, "Videos-Check-After": str(self.check_after)}
        if request.headers.get("If-None-Match") == page.version:
            return Response(status_code=304, headers=headers)
        return HTMLResponse(render("fragment.html", page), headers=headers)

    async def _media(self, request: Request) -> Response:
        self._note(request)
        if self.media_status != 200:
            return JSONResponse({"detail": "The file is no longer in storage."}, self.media_status)
        if request.url.path.endswith("poster"):
            return Response(placeholder_jpeg("poster"), media_type="image/jpeg")
        # Otherwise a test would play what another test has loaded.
        return FileResponse(self.video, media_type="video/mp4", headers={"Cache-Control": "no-store"})

    async def _act(self, request: Request) -> Response:
        self._note(request)
        await asyncio.sleep(self.act_seconds)
        self.received.append(await request.json())
        status, body = self.answers.get(request.url.path, (200, {"message": "The task runs again."}))
        return JSONResponse(body, status)


def _digest(cards: tuple[Card, ...]) -> str:
    return hashlib.sha256(repr([(card.id, card.version) for card in cards]).encode()).hexdigest()[:12]


def many_cards(count: int) -> list[Card]:
    """Return cards of every state, each with its own id."""
    kinds = [CARDS[number % len(CARDS)] for number in range(count)]
    return [
        replace(card, id=f"video-{number:012x}", title=f"{card.title} {number}")
        for number, card in enumerate(kinds)
    ]
