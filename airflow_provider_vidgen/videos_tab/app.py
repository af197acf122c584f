# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The web application of the Videos tab, which the plugin mounts in Airflow's API server."""

from __future__ import annotations

import hashlib
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from starlette.datastructures import MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from airflow_provider_vidgen.videos_tab import paths
from airflow_provider_vidgen.videos_tab.actions import actions_router
from airflow_provider_vidgen.videos_tab.media import media_router
from airflow_provider_vidgen.videos_tab.media_files import MediaError
from airflow_provider_vidgen.videos_tab.pages import pages_router
from airflow_provider_vidgen.videos_tab.rendering import CONTENT_SECURITY_POLICY, STATIC, render_error

_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_STATIC_CACHE = "public, max-age=31536000, immutable"


def create_app() -> FastAPI:
    """Return the application."""
    app = FastAPI(title="Videos", openapi_url=None, docs_url=None, redoc_url=None)
    static_url = f"static/{static_version()}/"
    app.include_router(pages_router(static_url))
    app.include_router(media_router())
    app.include_router(actions_router())
    app.mount(f"/{static_url.rstrip('/')}", StaticFiles(directory=STATIC))

    def show_error(request: Request, status: int, detail: Any, headers: Any = None) -> Response:
        if request.url.path.rpartition("/")[2] not in (paths.VIDEOS, paths.ALL_VIDEOS):
            return JSONResponse({"detail": detail}, status_code=status, headers=headers)
        title, message = _ERRORS.get(status, ("This page cannot be shown.", str(detail)))
        text = render_error(title, message, static_url)
        return HTMLResponse(text, status_code=status, headers=headers)

    @app.exception_handler(HTTPException)
    def refused(request: Request, error: HTTPException) -> Response:
        return show_error(request, error.status_code, error.detail, error.headers)

    @app.exception_handler(MediaError)
    def not_playable(request: Request, error: MediaError) -> Response:
        return show_error(request, error.status, error.text)

    app.add_middleware(ResponseHeaders)
    return app


#: Title and text of the pages for users who may not see the videos.
_ERRORS = {
    401: ("You are not logged in.", "Log in to Airflow, and open this page again."),
    403: (
        "You may not see these videos.",
        "That needs read access to the Dag, its task instances and their XComs.",
    ),
}


def static_version() -> str:
    """Return a hash of all static files: it is part of their path, so that browsers may keep them."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(STATIC.rglob("*")):
        if path.is_file():
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


class ResponseHeaders:
    """Adds the headers that every response needs."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        is_static = "/static/" in scope["path"]

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                if is_static and message["status"] == 200:
                    headers["Cache-Control"] = _STATIC_CACHE
                headers.setdefault("Cache-Control", "private, no-store")
            await send(message)

        await self._app(scope, receive, send_with_headers)
        return None
