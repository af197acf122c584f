# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
The Airflow plugin of the Videos tab: its pages in the API server, and where Airflow's UI shows them.

Every Airflow process loads its plugins, the scheduler and each task's too, so this module imports nothing of
the tab: the web application is built at its first request, which only the API server gets.
"""

from __future__ import annotations

import threading
from typing import Any

from airflow.plugins_manager import AirflowPlugin

_NAME = "Videos"
#: In the browser's colours: Airflow shows one for light and one for dark.
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='none' "
    "stroke='{colour}' stroke-width='2' stroke-linejoin='round'%3E%3Crect x='3' y='5' width='18' height='14' "
    "rx='2'/%3E%3Cpath d='M10 9l5 3-5 3z' fill='{colour}'/%3E%3C/svg%3E"
)
_LIGHT, _DARK = _ICON.format(colour="%2316233a"), _ICON.format(colour="%23e8edf6")
#: Relative to Airflow's base path, as its UI resolves them; the UI fills in and encodes the placeholders. The
#: one of the map index stays as it is for a task that is not mapped.
_HREFS = {
    "nav": "vidgen/all-videos",
    "dag": "vidgen/videos?dag_id={DAG_ID}",
    "dag_run": "vidgen/videos?dag_id={DAG_ID}&run_id={RUN_ID}",
    "task": "vidgen/videos?dag_id={DAG_ID}&task_id={TASK_ID}",
    "task_instance": (
        "vidgen/videos?dag_id={DAG_ID}&run_id={RUN_ID}&task_id={TASK_ID}&map_index={MAP_INDEX}"
    ),
}


class VideosTab:
    """The web application of the tab (ASGI), built at its first request."""

    def __init__(self) -> None:
        self._app: Any = None
        self._lock = threading.Lock()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        if self._app is None:
            import anyio.to_thread

            # In a thread, because the imports would hold up the API server's other requests.
            await anyio.to_thread.run_sync(self._build)
        await self._app(scope, receive, send)

    def _build(self) -> None:
        with self._lock:
            if self._app is None:
                from airflow_provider_vidgen.videos_tab.app import create_app

                self._app = create_app()


class VidgenPlugin(AirflowPlugin):
    """The Videos tab of Dag, run, task and task instance, and the page over all Dags."""

    name = "vidgen_videos"
    fastapi_apps = [{"app": VideosTab(), "url_prefix": "/vidgen", "name": _NAME}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": _NAME,
            "href": href,
            "destination": destination,
            # Routes have to be unique among all plugins and destinations.
            "url_route": "vidgen-videos" if destination == "nav" else f"vidgen-videos-{destination}",
            "icon": _LIGHT,
            "icon_dark_mode": _DARK,
            "nav_top_level": destination == "nav",
        }
        for destination, href in _HREFS.items()
    ]
