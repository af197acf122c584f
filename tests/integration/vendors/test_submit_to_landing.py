# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A video from submission to landing, and requests as the documents show them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vidgen.errors import VidgenError
from airflow_provider_vidgen.landing import Landing
from airflow_provider_vidgen.models import JobState, VideoRequest
from airflow_provider_vidgen.simulator import Simulator
from tests.support.accounts import MODEL, VENDORS
from tests.support.clock import SimulatorClock
from tests.support.simulated_accounts import KEY, MakeAccount, billed, cdn_saw_no_key, posts, submit, wait


def load_examples() -> dict[str, tuple[str, str]]:
    """The documents' request examples, byte for byte, from the simulator's tests."""
    path = Path(__file__).parents[1] / "simulator" / "simulator_examples.py"
    spec = importlib.util.spec_from_file_location("documents_examples", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return dict(module.EXAMPLES)


EXAMPLES = load_examples()
#: The arguments that lead to the request of each example.
REQUESTS: dict[str, dict[str, Any]] = {
    "APIModels documents, create": {"model": "grok-video-3", "aspect_ratio": "16:9"},
    "Apixo document, text to video": {
        "model": "grok-video",
        "duration": 6,
        "resolution": "480p",
        "aspect_ratio": "3:2",
        "style": "normal",
    },
    "Apixo document, reference image": {
        "model": "grok-video",
        "duration": 6,
        "resolution": "480p",
        "image_urls": ["https://example.com/ref.jpg"],
        "style": "fun",
        "routing": "value",
    },
    "Apixo document, continuation": {
        "model": "grok-video",
        "duration": 10,
        "resolution": "720p",
        "continue_from": {"task_id": "task_previous_grok_image", "index": 0},
        "style": "spicy",
        "routing": "official",
        "callback_url": "https://your-server.com/callback",
    },
    "Apixgo document, text to video": {
        "model": "grok-image-video",
        "duration": 6,
        "aspect_ratio": "16:9",
        "resolution": "720p",
    },
    "Apixgo document, one reference image": {
        "model": "grok-image-video",
        "duration": 6,
        "aspect_ratio": "9:16",
        "resolution": "720p",
        "image_urls": ["https://example.com/product.png"],
    },
    "Apixgo document, two reference images": {
        "model": "grok-image-video",
        "duration": 10,
        "aspect_ratio": "16:9",
        "resolution": "720p",
        "image_urls": ["https://example.com/ref-1.png", "https://example.com/ref-2.png"],
    },
    "APIMart document, both curl examples": {
        "model": MODEL["apimart"],
        "duration": 6,
        "aspect_ratio": "16:9",
        "resolution": "720p",
    },
    "APIMart document, case 1": {"model": MODEL["apimart"], "duration": 6, "aspect_ratio": "16:9"},
    "APIMart document, case 2": {
        "model": MODEL["apimart"],
        "duration": 10,
        "aspect_ratio": "16:9",
        "resolution": "720p",
        "image_urls": ["https://example.com/start.png"],
    },
}


def prompt_of(body: dict[str, Any]) -> str:
    return str(body.get("prompt") or body["input"]["prompt"])


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_documented_example_reaches_the_vendor_unchanged(
    name: str, vendors: Simulator, account: MakeAccount
) -> None:
    vendor, document = EXAMPLES[name]
    body = json.loads(document)
    submission = account(vendor).submit(VideoRequest(prompt=prompt_of(body), **REQUESTS[name]))
    (visit,) = vendors.requests()
    assert json.loads(visit.body) == body
    assert list(json.loads(visit.body)) == [key for key in json.loads(visit.body) if key in body]
    assert visit.headers["Content-Type"] == "application/json"
    assert visit.authorization == "good"
    assert submission.status.state is JobState.QUEUED
    assert billed(vendors) == 1


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_video_is_billed_once_polled_and_landed_whole(
    vendor: str, vendors: Simulator, account: MakeAccount, clock: SimulatorClock, tmp_path: Path
) -> None:
    hook = account(vendor)
    submission = submit(hook)
    status = wait(hook, clock, submission)
    assert status.has_video
    assert status.expires_at is not None
    landing = Landing(hook.settings, sleep=clock.sleep)
    (file,) = landing.land(status.result_urls, f"file://{tmp_path}/", job=submission.job)
    assert (tmp_path / f"{submission.job.task_id}-0.mp4").stat().st_size == file["bytes"]
    assert (tmp_path / f"{submission.job.task_id}-0.mp4").read_bytes()[4:8] == b"ftyp"
    assert posts(vendors) == 1
    (entry,) = vendors.ledger().entries
    assert (entry.state, entry.task_id) == ("settled", submission.job.task_id)
    assert cdn_saw_no_key(vendors)
    assert {visit.authorization for visit in vendors.requests() if visit.host == "api"} == {"good"}


@pytest.mark.parametrize(
    ("vendor", "options"),
    [
        ("apimart", {"apimart_create_format": "list"}),
        ("apimart", {"apimart_create_format": "task", "apimart_cost": False}),
        ("apixgo", {"apixgo_create_format": "enveloped"}),
        ("apimodels", {"apimodels_result_field": "resultJson"}),
    ],
)
def test_other_forms_of_replies_are_read(
    vendor: str, options: dict[str, Any], vendors: Simulator, account: MakeAccount, clock: SimulatorClock
) -> None:
    vendors.options(**options)
    hook = account(vendor)
    assert wait(hook, clock, submit(hook)).has_video


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    "script",
    [
        "[sim:state=daydreaming]",
        "[sim:progress=decreasing]",
        "[sim:progress=null]",
        "[sim:no_url=3]",
        "[sim:null_data=2]",
    ],
)
def test_unusual_status_sequences_end_in_a_video(
    vendor: str, script: str, vendors: Simulator, account: MakeAccount, clock: SimulatorClock
) -> None:
    hook = account(vendor)
    assert wait(hook, clock, submit(hook, f"a cat {script}")).has_video
    assert posts(vendors) == billed(vendors) == 1


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_failed_job_has_its_failure_category(
    vendor: str, account: MakeAccount, clock: SimulatorClock
) -> None:
    hook = account(vendor)
    status = wait(hook, clock, submit(hook, "a cat [sim:fail=CONTENT_VIOLATION:violates content policy]"))
    assert status.failure is not None
    assert status.failure.category == "content_policy"


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_prompt_with_any_characters_is_sent_unchanged(
    vendor: str, vendors: Simulator, account: MakeAccount
) -> None:
    prompt = 'Ein "Leuchtturm" \\ im Sturm – 灯塔 🗼\n{ "not": "a template" } 100 %'
    submit(account(vendor), prompt)
    assert prompt_of(json.loads(vendors.requests()[0].body)) == prompt


def test_the_synchronous_endpoint_returns_the_video_in_its_reply(
    vendors: Simulator, account: MakeAccount
) -> None:
    hook = account("apimodels")
    submission = submit(hook, "a cat [sim:fast]", model="p-video", duration=5)
    assert submission.status.has_video
    assert posts(vendors) == billed(vendors) == 1


@pytest.mark.parametrize("vendor", VENDORS)
def test_the_connection_test_recognises_a_bad_key_and_costs_nothing(
    vendor: str, vendors: Simulator, account: MakeAccount
) -> None:
    assert account(vendor).test_connection()[0] is True
    works, message = account(vendor, password="wrong-key").test_connection()
    assert works is False
    assert "refuses the API key" in message
    assert {visit.method for visit in vendors.requests()} == {"GET"}
    assert billed(vendors) == 0


def test_the_model_list_is_read_from_the_vendor(vendors: Simulator, account: MakeAccount) -> None:
    assert "grok-image-video" in account("apixgo").list_models()
    with pytest.raises(VidgenError):
        account("apixgo", password="wrong-key").list_models()


@pytest.mark.parametrize("vendor", VENDORS)
def test_the_recorded_requests_hold_no_api_key(vendor: str, vendors: Simulator, account: MakeAccount) -> None:
    submit(account(vendor))
    assert KEY not in json.dumps([visit.__dict__ for visit in vendors.requests()])
