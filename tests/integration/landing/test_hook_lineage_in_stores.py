# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""In every store a landed file is one output in Airflow's hook lineage, and nothing else is one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from airflow.sdk import lineage as airflow_lineage
from airflow.sdk.lineage import HookLineageCollector
from landing_targets import LandingTarget

from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.landing import Landing
from dev.servers.video_server import VideoServer, write_random_mp4


def test_a_landed_file_is_one_output_without_the_connection_id(
    target: LandingTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = HookLineageCollector()
    monkeypatch.setattr(airflow_lineage, "get_hook_lineage_collector", lambda: collector)
    # More than one block of an upload.
    write_random_mp4(tmp_path / "film", 6 * 1024**2)
    extra = {"vendor": "apixo", "allow_private_urls": True}
    settings = ConnectionSettings.read(
        "lineage", host="http://127.0.0.1:9", password="sim-0123456789abcdef", extra=extra
    )
    landing = Landing(settings, verify=False)
    path = f"{target.output}v.mp4"
    with VideoServer(tmp_path).running() as server:
        # Tries out an upload.
        assert landing.target_problems(path) == []
        landing.land([f"{server.url}/film"], path)
    assert set(target.names()) == {"v.mp4", "v.mp4.json"}
    [output] = collector.collected_assets.outputs
    assert output.count == 1
    uri = re.sub(r"(?<=://)[^/]*@", "", path).replace("sftp:///", "sftp://127.0.0.1/")
    assert output.asset.uri.replace(":22/", "/") == uri
    assert collector.collected_assets.inputs == []
