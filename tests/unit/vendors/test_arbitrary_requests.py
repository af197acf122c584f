# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Property tests: any values of a user can be validated, and a request without errors can be sent."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vendor_case import MODELS, PROMPT, VENDORS

from airflow_provider_vidgen.models import VideoRequest
from airflow_provider_vidgen.vendors.request_values import find_template_leftover

_IMAGE = "https://example.com/ref.jpg"
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([float("nan"), float("inf"), object(), datetime.min, b"x", {1}, "\ud800", "\0"])
    | st.just(5000).map(lambda digits: 10**digits)  # too long for str()
    | st.floats()
    | st.text(max_size=12)
    | st.binary(max_size=4)
)
_KEYS = st.sampled_from(
    ["input", "seed", "prompt", "task_id", "index", "image", "reference_images"]
) | _LEAVES.filter(lambda key: not isinstance(key, set))
_ANYTHING = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(_KEYS, inner, max_size=3)
    ),
    max_leaves=8,
)
_MODELS = [*MODELS.values(), "grok-video-3", "grok-video-1.5", "p-video", "brand-new"]


def _valid_or_anything(*valid: Any) -> st.SearchStrategy[Any]:
    return st.none() | st.sampled_from(valid) | _ANYTHING


_REQUESTS = st.builds(
    VideoRequest,
    prompt=st.just(PROMPT) | _ANYTHING,
    model=st.sampled_from(_MODELS) | _ANYTHING,
    duration=_valid_or_anything(5, 6, 10, 15, 16, 30),
    aspect_ratio=_valid_or_anything("16:9", "9:16", "3:2", "21:9"),
    resolution=_valid_or_anything("480p", "720p", "1080p"),
    image_urls=_valid_or_anything([], [_IMAGE], (_IMAGE,), ["data:image/png;base64,AAAA"], [_IMAGE] * 8),
    continue_from=_valid_or_anything({"task_id": "t", "index": 0}, {"task_id": "t", "index": 9}),
    style=_valid_or_anything("fun", "noir"),
    routing=_valid_or_anything("auto", "cheap"),
    callback_url=_valid_or_anything("https://hooks.example.com/done", "http://127.0.0.1/"),
    extra=_valid_or_anything(
        {}, {"seed": 1}, {"input": {"seed": 1}}, {"input": None}, {"seed": None}, {"input": 7}
    ),
)


@pytest.mark.parametrize("vendor", VENDORS)
@given(video_request=_REQUESTS, allow_private=st.booleans())
@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_request_can_be_validated_and_a_valid_one_can_be_sent(
    vendor: str, video_request: VideoRequest, allow_private: bool
) -> None:
    problems = VENDORS[vendor].problems(video_request, allow_private=allow_private)
    for problem in problems:
        assert problem.field
        assert problem.value
        assert problem.constraint
        assert len(str(problem)) < 600
        str(problem).encode()
    if any(problem.is_error for problem in problems):
        return
    call = VENDORS[vendor].submit_call(video_request, idempotency_key="key")
    assert call.method == "POST"
    call.path.encode("ascii")
    body = json.dumps(call.body, ensure_ascii=False, allow_nan=False).encode()
    # A tuple is sent as a list; nothing else may change.
    assert json.loads(body) == json.loads(json.dumps(call.body))


_VALID_FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "resolution": st.just("720p"),
        "aspect_ratio": st.sampled_from(["16:9", "9:16"]),
        "extra": st.just({"seed": 1}) | st.just({}),
    },
)

#: Hypothesis tries "undefined" and "null" by itself.
_PROMPTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50).filter(
    lambda prompt: find_template_leftover(prompt) is None
)


@pytest.mark.parametrize("vendor", VENDORS)
@given(fields=_VALID_FIELDS, prompt=_PROMPTS)
@settings(max_examples=50, deadline=None)
def test_the_prompt_is_sent_unchanged(vendor: str, fields: dict[str, Any], prompt: str) -> None:
    request = VideoRequest(prompt=prompt, model=MODELS[vendor], **fields)
    refused = [problem.field for problem in VENDORS[vendor].problems(request) if problem.is_error]
    assert refused == ([] if prompt.strip() else ["prompt"])
    body = VENDORS[vendor].submit_call(request).body
    assert body is not None
    assert (body.get("input") or body)["prompt"] == prompt
