# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The validation that is common to all vendors, and requests beyond the documents' examples."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from vendor_case import MODELS, VENDORS, request_for

from airflow_provider_vidgen.vendors import get_vendor, vendor_names

_every_vendor = pytest.mark.parametrize("vendor", VENDORS)


def _rejected(vendor: str, **fields: Any) -> list[str]:
    allow = fields.pop("allow_private", False)
    problems = VENDORS[vendor].problems(request_for(vendor, **fields), allow_private=allow)
    return [problem.field for problem in problems if problem.is_error]


@_every_vendor
@pytest.mark.parametrize("prompt", ["", "  \n", None, 7, ["a"], b"a", "half a pair \ud83c"])
def test_a_prompt_that_is_no_utf8_text_is_rejected(vendor: str, prompt: Any) -> None:
    assert _rejected(vendor, prompt=prompt) == ["prompt"]


@_every_vendor
@pytest.mark.parametrize("prompt", ["a", "東京の夜 🌃", "línea\nnueva"])
def test_a_prompt_may_be_in_any_language(vendor: str, prompt: str) -> None:
    assert _rejected(vendor, prompt=prompt) == []


@_every_vendor
@pytest.mark.parametrize(
    "model", [None, "", " ", 3, "two words", "../admin", "a/../b", ".", "a/.", "a?b", "a#b"]
)
def test_a_malformed_model_id_is_rejected(vendor: str, model: Any) -> None:
    assert "model" in _rejected(vendor, model=model)


@_every_vendor
@pytest.mark.parametrize("model", ["brand-new-model", "provider/model_2.5", "veo3.1:fast"])
def test_an_unknown_model_passes_with_one_warning(vendor: str, model: str) -> None:
    request = request_for(vendor, model=model, duration=300, aspect_ratio="32:9", resolution="1080p")
    (problem,) = VENDORS[vendor].problems(request)
    assert (problem.field, problem.is_error) == ("model", False)
    assert MODELS[vendor] in problem.constraint
    assert model in json.dumps(VENDORS[vendor].submit_call(request).body) + VENDORS[vendor].submit_call(
        request
    ).path.replace("%2F", "/").replace("%3A", ":")


@_every_vendor
@pytest.mark.parametrize("duration", [6.0, True, False, 0, -6, [6], float("nan"), b"6"])
def test_a_duration_that_is_no_positive_integer_is_rejected(vendor: str, duration: Any) -> None:
    assert _rejected(vendor, duration=duration) == ["duration"]


@_every_vendor
@pytest.mark.parametrize("text", ["6", " 6 ", "06", "6\n", "6\u00a0"])
def test_a_duration_may_be_an_integer_in_text_as_from_a_csv(vendor: str, text: str) -> None:
    as_text, as_number = request_for(vendor, duration=text), request_for(vendor, duration=6)
    assert as_text == as_number
    assert VENDORS[vendor].submit_call(as_text).body == VENDORS[vendor].submit_call(as_number).body
    assert _rejected(vendor, duration=text) == []
    assert _rejected(vendor, duration="0") == _rejected(vendor, duration="99") == ["duration"]


@_every_vendor
@pytest.mark.parametrize(
    "text", ["6.0", "6.5", "+6", "-6", "1_0", "6 s", "６", "٦", "six", "", " ", "9" * 5000, "0x6", "6e0"]
)
def test_other_text_as_duration_is_rejected_with_the_advice_int(vendor: str, text: str) -> None:
    (problem,) = [p for p in VENDORS[vendor].problems(request_for(vendor, duration=text)) if p.is_error]
    assert problem.field == "duration"
    assert "int(...)" in problem.constraint


@_every_vendor
@pytest.mark.parametrize(
    "ratio", ["", "16x9", "16/9", "0:1", "16:0", "16:9 ", ":9", "-16:9", 1.78, "16:9\n", "१६:९"]
)
def test_a_malformed_aspect_ratio_is_rejected(vendor: str, ratio: Any) -> None:
    assert _rejected(vendor, aspect_ratio=ratio) == ["aspect_ratio"]


@_every_vendor
@pytest.mark.parametrize("resolution", ["720P", "720", "4k", "1280x720", 720, ""])
def test_another_spelling_of_a_resolution_is_rejected(vendor: str, resolution: Any) -> None:
    assert _rejected(vendor, resolution=resolution) == ["resolution"]


@_every_vendor
@pytest.mark.parametrize(
    "image",
    [
        "iVBORw0KGgoAAAANSUhEUgAA",
        "ftp://example.com/a.png",
        "file:///etc/passwd",
        "/images/a.png",
        "https://",
        "https://exa mple.com/a.png",
        "https://user:secret@example.com/a.png",
        "https://user@example.com/a.png",
        "https://example.com:99999/a.png",
        "https://example.com\\@evil.example.net/a.png",
        "data:image/png,rawbytes",
        "data:text/html;base64,AAAA",
        "",
        None,
        7,
    ],
)
def test_an_image_that_no_vendor_can_fetch_is_rejected(vendor: str, image: Any) -> None:
    assert "image_urls[0]" in _rejected(vendor, image_urls=[image])


@_every_vendor
@pytest.mark.parametrize("images", ["https://example.com/a.png", {"url": "x"}, 3])
def test_images_that_are_no_list_are_rejected(vendor: str, images: Any) -> None:
    assert "image_urls" in _rejected(vendor, image_urls=images)


@pytest.mark.parametrize("image", ["data:image/png;base64,iVBORw0KGgo=", "data:image/svg+xml;base64,AAAA"])
def test_only_apixgo_accepts_data_urls(image: str) -> None:
    accepting = [v for v in VENDORS if "image_urls[0]" not in _rejected(v, image_urls=[image])]
    assert accepting == ["apixgo"]


_CALLBACK_VENDORS = pytest.mark.parametrize("vendor", ["apimodels", "apixo"])


@_CALLBACK_VENDORS
@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/done",
        "https://localhost/done",
        "https://127.0.0.1/done",
        "https://10.1.2.3/done",
        "https://[::1]/done",
        "https://2130706433/done",
        "https://airflow/done",
        "https://airflow.internal/done",
    ],
)
def test_a_callback_must_be_https_and_public_unless_private_urls_are_allowed(vendor: str, url: str) -> None:
    assert _rejected(vendor, callback_url=url) == ["callback_url"]
    assert _rejected(vendor, callback_url=url, allow_private=True) == []


@_CALLBACK_VENDORS
@pytest.mark.parametrize("url", ["", "hooks.example.com", 7, "ftp://hooks.example.com", "https://a b"])
def test_a_callback_is_a_link_even_where_private_ones_are_allowed(vendor: str, url: Any) -> None:
    assert _rejected(vendor, callback_url=url, allow_private=True) == ["callback_url"]


@_CALLBACK_VENDORS
def test_the_scheme_of_a_callback_is_case_insensitive(vendor: str) -> None:
    assert _rejected(vendor, callback_url="HTTPS://hooks.example.com/done") == []


@_every_vendor
@pytest.mark.parametrize(
    "extra",
    [
        "seed=1",
        [1],
        {1: 2},
        {"when": date(2026, 1, 1)},
        {"x": float("nan")},
        {"x": "\ud800"},
        {"x": {1, 2}},
        {"input": {"x": b"raw"}},
    ],
)
def test_extra_that_is_no_json_mapping_is_rejected(vendor: str, extra: Any) -> None:
    assert "extra" in _rejected(vendor, extra=extra)


@_every_vendor
def test_extra_must_not_override_a_parameter(vendor: str) -> None:
    for path, field in VENDORS[vendor].mapped_fields.items():
        outer, _, inner = path.partition(".")
        extra = {outer: {inner: "x"}} if inner else {outer: "x"}
        problems = [p for p in VENDORS[vendor].problems(request_for(vendor, extra=extra)) if p.is_error]
        assert [problem.field for problem in problems] == [f"extra.{path}"]
        assert field in problems[0].constraint


@_every_vendor
def test_extra_is_sent_unchanged_after_all_other_fields(vendor: str) -> None:
    extra = {"seed": 7, "nothing": None, "deep": {"a": [1, {"b": "ü"}]}}
    body = VENDORS[vendor].submit_call(request_for(vendor, extra=extra)).body
    assert body is not None
    assert list(body.items())[-3:] == list(extra.items())
    p_video = VENDORS["apimodels"].submit_call(request_for("apimodels", model="p-video", extra=extra)).body
    assert p_video is not None
    assert list(p_video.items())[-3:] == list(extra.items())


def test_apixos_extra_input_is_merged_into_the_input() -> None:
    request = request_for("apixo", duration=6, extra={"input": {"seed": 7}, "priority": 1})
    body = VENDORS["apixo"].submit_call(request).body
    assert body == {
        "request_type": "async",
        "input": {"mode": "text-to-video", "prompt": request.prompt, "duration": 6, "seed": 7},
        "priority": 1,
    }
    assert request.extra == {"input": {"seed": 7}, "priority": 1}


@_every_vendor
def test_no_problem_shows_a_prompt_a_link_or_a_data_url(vendor: str) -> None:
    prompt, signature = "zebra" * 2000, "signature=s3cr3t"
    link, data = f"https://user:pw@example.com/a.png?{signature}", "data:image/png;base64,SECRETDATA!"
    for field in (prompt, link, data, f"http://10.0.0.1/cb?{signature}"):
        request = request_for(
            vendor,
            prompt=prompt,
            model=f"m {field}",
            duration=field,
            aspect_ratio=field,
            resolution=field,
            image_urls=[field, [field]],
            continue_from={"task_id": [link], "index": data},
            style=field,
            routing=field,
            callback_url=field,
            extra={"model": link, "prompt": prompt, "input": {"prompt": prompt}},
        )
        messages = " ".join(map(str, VENDORS[vendor].problems(request)))
        for secret_part in ("zebra" * 13, "s3cr3t", "SECRETDATA", "user:pw", "a.png"):
            assert secret_part not in messages
    assert prompt not in repr(request_for(vendor, prompt=prompt, image_urls=[link]))


@_every_vendor
def test_values_that_cannot_be_converted_to_text_are_still_validated(vendor: str) -> None:
    huge = 10**5000
    assert "duration" in _rejected(vendor, duration=huge)
    assert "model" in _rejected(vendor, model=huge)
    assert "aspect_ratio" in _rejected(vendor, aspect_ratio=huge)
    assert _rejected(vendor, style=huge, routing=huge, continue_from={huge: huge})


def test_the_idempotency_key_is_sent_only_to_apimart() -> None:
    for name, vendor in VENDORS.items():
        headers = vendor.submit_call(request_for(name), idempotency_key="key-1").headers
        assert dict(headers) == ({"Idempotency-Key": "key-1"} if vendor.idempotency_window else {})
    assert [name for name, vendor in VENDORS.items() if vendor.idempotency_window] == ["apimart"]


def test_apimodels_is_sent_no_duration_for_models_with_a_fixed_one() -> None:
    for model, seconds, sent in (
        ("grok-video-3", 5, None),
        ("grok-video-3-10s", 10, None),
        ("grok-video-3-official", 15, 15),
        ("other", 8, 8),
    ):
        request = request_for("apimodels", model=model, duration=seconds, resolution="1080p")
        body = VENDORS["apimodels"].submit_call(request).body
        assert body is not None
        assert body.get("duration") == sent
        assert body["size"] == "1080P"


def test_p_video_is_one_blocking_call_without_a_model() -> None:
    request = request_for(
        "apimodels", model="p-video", duration=5, resolution="720p", image_urls=["https://example.com/a.png"]
    )
    call = VENDORS["apimodels"].submit_call(request)
    assert (call.method, call.path, call.read_timeout) == ("POST", "/api/v1/video/p-video", 180.0)
    assert call.body == {
        "prompt": request.prompt,
        "duration": 5,
        "resolution": "720p",
        "image": "https://example.com/a.png",
    }
    assert VENDORS["apimodels"].is_synchronous(request)
    assert not any(vendor.is_synchronous(request_for(name)) for name, vendor in VENDORS.items())


def test_job_ids_and_models_are_quoted_in_paths() -> None:
    from airflow_provider_vidgen.models import VideoJob

    for name, vendor in VENDORS.items():
        call = vendor.status_call(
            VideoJob(vendor=name, base_url="https://x", model="a/b?c", task_id="../x?y#z/ü")
        )
        assert not set("?#") & set(call.path)
        assert "/x" not in call.path
        assert "a/b" not in call.path


def test_the_vendors_are_found_by_their_entry_points() -> None:
    assert set(VENDORS) <= set(vendor_names())
    for name, vendor in VENDORS.items():
        assert type(get_vendor(name)) is type(vendor)
    with pytest.raises(KeyError):
        get_vendor("nobody")
