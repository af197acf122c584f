# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Landing reports each file, once, to Airflow's hook lineage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import lineage as airflow_lineage
from airflow.sdk.lineage import HookLineageCollector
from fake_cdn import LINK, Cdn, Land, whole

from airflow_provider_vidgen import airflow_internals
from airflow_provider_vidgen.landing import Landing, VideoMetadata
from airflow_provider_vidgen.models import VideoRequest
from tests.support.accounts import PROMPT, job, settings

IMAGES = ["https://images.example.com/shoe.png?sig=s3cret", "data:image/png;base64,AAAA"]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> HookLineageCollector:
    """The collector that a plugin reads."""
    found = HookLineageCollector()
    monkeypatch.setattr(airflow_lineage, "get_hook_lineage_collector", lambda: found)
    return found


def uris(assets: Any) -> list[tuple[str, int]]:
    return [(info.asset.uri, info.count) for info in assets]


def test_each_landed_file_is_an_output_once_and_each_image_link_an_input(
    collector: HookLineageCollector, cdn: Cdn, tmp_path: Path
) -> None:
    links = [LINK, f"{LINK}&second"]
    for link in links:
        cdn.replies[link] = [whole()]
    landing = Landing(settings("apixgo"), verify=False)
    metadata = VideoMetadata(request=VideoRequest(prompt=PROMPT, image_urls=IMAGES))
    landing.land(links, f"file://{tmp_path}/{{index}}.mp4", job=job(), metadata=metadata)
    collected = collector.collected_assets
    assert uris(collected.inputs) == [("https://images.example.com/shoe.png", 1)]
    # Not the sidecars.
    assert uris(collected.outputs) == [(f"file://{tmp_path}/{index}.mp4", 1) for index in range(2)]


def test_a_file_that_exists_already_is_an_output_as_well(
    collector: HookLineageCollector, land: Land, tmp_path: Path
) -> None:
    for _ in range(2):
        land(whole())
    assert uris(collector.collected_assets.outputs)[0][0] == f"file://{tmp_path}/v.mp4"
    assert len(collector.collected_assets.outputs) == 2  # one for each landing


def test_an_error_in_hook_lineage_leaves_the_file_landed(
    land: Land, monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("s3cret")

    monkeypatch.setattr(airflow_internals, "add_hook_lineage", fail)
    assert land(whole())["already_existed"] is False
    text = logged()
    assert "lineage of landed files cannot be recorded (RuntimeError); the files are not affected" in text
    assert "s3cret" not in text
