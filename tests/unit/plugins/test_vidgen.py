# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The plugin of the Videos tab, as Airflow reads it."""

from __future__ import annotations

import asyncio
import re
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from airflow.api_fastapi.core_api.datamodels.plugins import ExternalViewResponse
from airflow.plugins_manager import is_valid_plugin

from airflow_provider_vidgen.plugins.vidgen import VideosTab, VidgenPlugin
from airflow_provider_vidgen.videos_tab import paths

PYPROJECT = Path(__file__).resolve().parents[3] / "pyproject.toml"
VIEWS = [ExternalViewResponse.model_validate(view) for view in VidgenPlugin.external_views]


def test_airflow_finds_the_plugin_by_its_entry_point() -> None:
    groups = tomllib.loads(PYPROJECT.read_text())["project"]["entry-points"]
    ((name, value),) = groups["airflow.plugins"].items()
    assert EntryPoint(name, value, "airflow.plugins").load() is VidgenPlugin
    assert is_valid_plugin(VidgenPlugin)
    # Airflow drops the second plugin of a name.
    assert name not in groups["apache_airflow_provider"]
    assert VidgenPlugin.name == name


def test_each_view_has_a_place_of_its_own() -> None:
    assert {view.destination for view in VIEWS} == {"nav", "dag", "dag_run", "task", "task_instance"}
    assert len({view.url_route for view in VIEWS}) == len(VIEWS)
    assert {view.name for view in VIEWS} == {"Videos"}


def test_links_are_relative_to_airflows_base_path_and_lead_to_pages_of_the_tab() -> None:
    for view in VIEWS:
        assert re.match(rf"{paths.PREFIX[1:]}/({paths.VIDEOS}|{paths.ALL_VIDEOS})(\?|$)", view.href)
        expected = re.findall(r"(\w+)={([A-Z_]+)}", view.href)
        assert all(name.upper() == placeholder for name, placeholder in expected)


def test_the_icons_are_images_and_differ_in_light_and_dark() -> None:
    for view in VIEWS:
        assert view.icon is not None
        assert view.icon_dark_mode is not None
        assert view.icon != view.icon_dark_mode
        for icon in (view.icon, view.icon_dark_mode):
            kind, _, svg = icon.partition(",")
            assert kind == "data:image/svg+xml"
            assert unquote(svg).startswith("<svg ")


def test_the_application_is_built_once_for_simultaneous_first_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from airflow_provider_vidgen.videos_tab import app

    built: list[Any] = []

    def create_app() -> Any:
        async def answer(scope: Any, receive: Any, send: Any) -> None:
            built.append("answered")

        built.append("built")
        return answer

    monkeypatch.setattr(app, "create_app", create_app)

    async def request_three_times() -> None:
        tab = VideosTab()
        await asyncio.gather(*(tab({"type": "http"}, None, None) for _ in range(3)))

    asyncio.run(request_three_times())
    assert built.count("built") == 1
    assert built.count("answered") == 3
