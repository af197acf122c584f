# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Paths of the tab and of Airflow, relative to the tab's pages. No I/O.

All pages of the tab are in one folder, ``<Airflow's base path>/vidgen/``. So a relative path needs no
knowledge of that base path, which a proxy may have removed before Airflow sees it. Everything that identifies
a task is in the query, because a run id may hold a slash.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlencode, urlsplit

from airflow_provider_vidgen.airflow_core_videos import VideoTask
from airflow_provider_vidgen.videos_tab.wording import clean

#: The path of the tab in Airflow.
PREFIX = "/vidgen"
VIDEOS, CARDS = "videos", "cards"
ALL_VIDEOS, ALL_CARDS = "all-videos", "all-cards"
FILE, POSTER = "file", "poster"
#: The database's integers have 32 bits.
MAX_MAP_INDEX = 2**31 - 1
REGENERATE, ADOPT, LOOK_AGAIN = "regenerate", "adopt", "look-again"


def of_task(route: str, task: VideoTask, **query: str | int) -> str:
    """Return the path of a route about a task instance."""
    return f"{route}?{urlencode({**task_query(task), **query}, errors='replace')}"


def page(route: str, query: Mapping[str, str]) -> str:
    """Return the path of a page of the tab."""
    return f"{route}?{urlencode(query, errors='replace')}" if query else route


def task_query(task: VideoTask) -> dict[str, str | int]:
    """Return the query that identifies a task instance."""
    return {
        "dag_id": task.dag_id,
        "run_id": task.run_id,
        "task_id": task.task_id,
        "map_index": task.map_index,
    }


def run_page(task: VideoTask) -> str:
    """Return the path of Airflow's page of the run."""
    return f"../dags/{_part(task.dag_id)}/runs/{_part(task.run_id)}"


def task_page(task: VideoTask) -> str:
    """Return the path of Airflow's page of the task instance, which opens with its log."""
    mapped = f"/mapped/{task.map_index}" if task.map_index >= 0 else ""
    return f"{run_page(task)}/tasks/{_part(task.task_id)}{mapped}"


def _part(text: str) -> str:
    return quote(clean(text), safe="")


def is_web_link(url: str, *, schemes: tuple[str, ...] = ("https", "http")) -> bool:
    """Whether a URL that a task reported leads to a web server, with no user name in it."""
    try:
        parts = urlsplit(url)
        return parts.scheme in schemes and bool(parts.hostname) and "@" not in parts.netloc and url.isascii()
    except ValueError:
        return False
