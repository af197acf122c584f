# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Fixtures of the landing tests: a fake server of result links, and a landing of one link."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_cdn import LINK, Cdn, Land

from airflow_provider_vidgen.http import result_links
from airflow_provider_vidgen.landing import Landing
from tests.support.accounts import job, settings
from tests.support.clock import Clock

_OPTIONS = {"overwrite", "sidecar", "sidecar_prompt", "verify", "poster", "upload_args"}


@pytest.fixture
def clock() -> Clock:
    """A clock that only this test's landings use."""
    return Clock()


@pytest.fixture
def cdn(monkeypatch: pytest.MonkeyPatch) -> Cdn:
    """The server of all result links."""
    cdn = Cdn()
    monkeypatch.setattr(result_links, "open_link", cdn.open_link)
    return cdn


@pytest.fixture
def land(cdn: Cdn, clock: Clock, tmp_path: Path) -> Land:
    """Lands a link, which returns the given replies in turn, as ``v.mp4``; without sidecar and probe."""

    def run(*replies: Any, path: str = "v.mp4", **arguments: Any) -> dict[str, Any]:
        cdn.replies[LINK] = list(replies)
        options = {name: arguments.pop(name) for name in _OPTIONS & set(arguments)}
        landing = Landing(
            settings("apixgo"),
            **{"sidecar": False, "verify": False, **options},
            sleep=clock.sleep,
            now=clock.now,
        )
        return landing.land([LINK], f"file://{tmp_path}/{path}", **{"job": job(), **arguments})[0]

    return run
