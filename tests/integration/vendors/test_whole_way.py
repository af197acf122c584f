# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The whole way of a video, submitted once and landed whole, and the requests as the documents show them."""

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


def examples() -> dict[str, tuple[str, str]]:
    """The request examples of the documents, byte for byte, as the simulator's tests hold them."""
    path = Path(__file__).parents[1] / "simulator" / "simulator_examples.py"
    spec = importlib.util.spec_from_file_location("documents_examples", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return dict(module.EXAMPLES)


EXAMPLES = examples()
#: How a user of this package asks for what each example asks for.
ASKED: dict[str, dict[str, Any]] = {
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
def test_the_documents_own_example_is_what_reaches_the_vendor(
    name: str, vendors: Simulator, account: MakeAccount
) -> None:
    vendor, document = EXAMPLES[name]
    body = json.loads(document)
    submission = account(vendor).submit(VideoRequest(prompt=prompt_of(body), **ASKED[name]))
    (visit,) = vendors.requests()
    assert json.loads(visit.body) == body
    assert list(json.loads(visit.body)) == [key for key in json.loads(visit.body) if key in body]
    assert visit.headers["Content-Type"] == "application/json"
    assert visit.authorization == "good"
    assert submission.status.state is JobState.QUEUED
    assert billed(vendors) == 1


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_video_is_paid_once_waited_for_and_landed_whole(
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
        ("apimart", {"apimart_create": "list"}),
        ("apimart", {"apimart_create": "task", "apimart_cost": True}),
        ("apixgo", {"apixgo_create": "enveloped"}),
        ("apimodels", {"apimodels_result": "resultJson"}),
    ],
)
def test_the_other_shapes_that_vendors_send_are_read_too(
    vendor: str, options: dict[str, Any], vendors: Simulator, account: MakeAccount, clock: SimulatorClock
) -> None:
    vendors.options(**options)
    hook = account(vendor)
    assert wait(hook, clock, submit(hook)).has_video


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    "words",
    ["[sim:word=daydreaming]", "[sim:backwards]", "[sim:progress=null]", "[sim:nourl=3]", "[sim:null=2]"],
)
def test_odd_courses_end_in_a_video_all_the_same(
    vendor: str, words: str, vendors: Simulator, account: MakeAccount, clock: SimulatorClock
) -> None:
    hook = account(vendor)
    assert wait(hook, clock, submit(hook, f"a cat {words}")).has_video
    assert posts(vendors) == billed(vendors) == 1


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_failed_job_is_told_with_its_reason(
    vendor: str, account: MakeAccount, clock: SimulatorClock
) -> None:
    hook = account(vendor)
    ended = wait(hook, clock, submit(hook, "a cat [sim:fail=CONTENT_VIOLATION:violates content policy]"))
    assert ended.failure is not None
    assert ended.failure.category == "content_policy"


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_prompt_of_the_world_arrives_as_it_was_written(
    vendor: str, vendors: Simulator, account: MakeAccount
) -> None:
    prompt = 'Ein "Leuchtturm" \\ im Sturm – 灯塔 🗼\n{ "not": "a template" } 100 %'
    submit(account(vendor), prompt)
    assert prompt_of(json.loads(vendors.requests()[0].body)) == prompt


def test_the_synchronous_endpoint_brings_the_video_in_its_one_reply(
    vendors: Simulator, account: MakeAccount
) -> None:
    hook = account("apimodels")
    submission = submit(hook, "a cat [sim:fast]", model="p-video", duration=5)
    assert submission.status.has_video
    assert posts(vendors) == billed(vendors) == 1


@pytest.mark.parametrize("vendor", VENDORS)
def test_the_connection_test_tells_good_from_bad_and_costs_nothing(
    vendor: str, vendors: Simulator, account: MakeAccount
) -> None:
    assert account(vendor).test_connection()[0] is True
    good, words = account(vendor, password="wrong-key").test_connection()
    assert good is False
    assert "refuses the API key" in words
    assert {visit.method for visit in vendors.requests()} == {"GET"}
    assert billed(vendors) == 0


def test_the_model_list_is_the_vendors(vendors: Simulator, account: MakeAccount) -> None:
    assert "grok-image-video" in account("apixgo").list_models()
    with pytest.raises(VidgenError):
        account("apixgo", password="wrong-key").list_models()


@pytest.mark.parametrize("vendor", VENDORS)
def test_no_key_is_in_what_the_vendors_wrote_down(
    vendor: str, vendors: Simulator, account: MakeAccount
) -> None:
    submit(account(vendor))
    assert KEY not in json.dumps([visit.__dict__ for visit in vendors.requests()])
