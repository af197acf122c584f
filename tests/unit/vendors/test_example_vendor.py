# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The example vendor package: a vendor is one subclass, and the defaults of its base class are safe."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from vendor_case import NOW, PROMPT, reply

from airflow_provider_vidgen.errors import SubmitOutcomeUnknown
from airflow_provider_vidgen.models import JobState, VideoJob, VideoRequest
from airflow_provider_vidgen.vendors.base import Vendor

EXAMPLE = Path(__file__).parents[3] / "examples" / "vendor_package" / "vidgen_vendor_acme.py"


def load_example() -> ModuleType:
    spec = importlib.util.spec_from_file_location(EXAMPLE.stem, EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ACME: Vendor = load_example().Acme()
JOB = VideoJob(vendor="acme", base_url=ACME.default_base_url, model="acme-1", task_id="v_1")
REQUEST = VideoRequest(prompt=PROMPT, model="acme-1")


def test_a_model_outside_the_document_gets_a_warning_and_the_common_rules() -> None:
    unlisted = VideoRequest(prompt=PROMPT, model="acme-2")
    assert [problem.is_error for problem in ACME.problems(unlisted)] == [False]
    invalid = VideoRequest(prompt="", model="acme-2", image_urls=["https://a.example/x"], style="s")
    rejected = [problem.field for problem in ACME.problems(invalid) if problem.is_error]
    assert rejected == ["prompt", "image_urls", "style"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("duration", 6), ("aspect_ratio", "16:9"), ("resolution", "720p"), ("routing", "auto")],
)
def test_a_parameter_that_the_vendor_does_not_map_is_rejected(
    field: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(ACME), "mapped_fields", {"model": "model", "prompt": "prompt"})
    problems = ACME.problems(VideoRequest(prompt=PROMPT, model="acme-1", **{field: value}))
    assert [(problem.field, problem.constraint) for problem in problems] == [
        (field, "Acme has no such parameter")
    ]


def test_by_default_a_vendor_lists_no_models_cancels_no_jobs_and_is_asynchronous() -> None:
    assert ACME.models_call() is None
    assert ACME.cancel_call(JOB) is None
    assert not ACME.is_synchronous(REQUEST)


def test_by_default_a_503_and_a_409_leave_the_outcome_unknown() -> None:
    for code in (409, 503):
        with pytest.raises(SubmitOutcomeUnknown):
            ACME.read_submit(REQUEST, "https://x", reply(code, {"error": "no channel"}), now=NOW)


def test_links_without_a_documented_retention_have_no_expiry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(ACME), "retention", None)
    ready = reply(200, {"state": "ready", "video_url": "https://a.example/x"})
    status = ACME.read_status(JOB, ready, now=NOW)
    assert (status.state, status.has_video) == (JobState.SUCCEEDED, True)
    assert (status.expires_at, status.expires_basis) == (None, "unknown")


def test_a_vendors_own_word_for_a_state_wins_over_the_common_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(ACME), "states", {"done": JobState.FAILED, "all_done": JobState.SUCCEEDED})
    states = [ACME.build_status(word, now=NOW).state for word in ("done", "All done", "completed")]
    assert states == [JobState.FAILED, JobState.SUCCEEDED, JobState.SUCCEEDED]


def test_an_error_code_in_the_body_counts_unless_http_reports_an_error() -> None:
    assert ACME.reply_status_code(reply(200, {"code": "429"})) == 429
    assert ACME.reply_status_code(reply(200, {"error": {"code": 503}})) == 503
    assert ACME.reply_status_code(reply(404, {"code": 200})) == 404
    assert ACME.reply_status_code(reply(200, {"code": "success"})) == 200
    assert ACME.reply_status_code(reply(502, b"<html>")) is None
