# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Reference images that no vendor can fetch are rejected with advice, and shown without secrets."""

from __future__ import annotations

from typing import Any

import pytest
from vendor_case import PROMPT, VENDORS, request_for

from airflow_provider_vidgen.errors import Problem

_every_vendor = pytest.mark.parametrize("vendor", VENDORS)


def _rejected(vendor: str, **fields: Any) -> dict[str, Problem]:
    problems = VENDORS[vendor].problems(request_for(vendor, **fields))
    return {problem.field: problem for problem in problems if problem.is_error}


@_every_vendor
@pytest.mark.parametrize(
    ("image", "preview"),
    [
        ("/data/secret/a.png", "a path"),
        ("./secret/a.png", "a path"),
        ("C:\\secret\\a.png", "a path"),
        ("secret.PNG", "a path"),
        ("cdn.example.com/secret.png", "URL without https://"),
        ("file:///data/secret.png", "a file: address without a host"),
        ("file:/data/secret.png", "a file: address without a host"),
        ("s3://bucket/secret.png", "s3://bucket/***"),
        ("gs://user:secret@bucket/a.png", "gs://bucket/***"),
        ("https://cdn.example.com/a b.png?sig=secret", "https://cdn.example.com/***"),
        ("http://cdn.example.com:99999/secret", "http://cdn.example.com/***"),
        ("https://user:secret@cdn.example.com/a.png", "https://cdn.example.com/***"),
        ("https://", "a https: address without a host"),
        ("iVBORw0KGgoAAAANSUhEUgAAsecret", "bare base64"),
        ("/9j/4AAQSkZJRgABAQsecret", "bare base64"),
        ("a secret lamp", "13 characters"),
        ("", "empty text"),
        (None, "None"),
        (7, "int"),
    ],
)
def test_the_preview_of_an_image_is_its_host_or_its_kind(vendor: str, image: Any, preview: str) -> None:
    problem = _rejected(vendor, image_urls=[image])["image_urls[0]"]
    assert preview in problem.value
    assert "secret" not in str(problem)
    assert len(str(problem)) < 300


@_every_vendor
@pytest.mark.parametrize("image", ["/data/a.png", "file:///data/a.png", "s3://bucket/a.png", "a.png"])
def test_a_local_file_as_image_is_rejected_with_the_advice_to_upload_it(vendor: str, image: str) -> None:
    constraint = _rejected(vendor, image_urls=[image])["image_urls[0]"].constraint
    assert "upload the image first" in constraint
    assert ("data URL" in constraint) == VENDORS[vendor].accepts_data_urls


def test_an_http_link_gets_a_warning_with_its_host() -> None:
    problems = VENDORS["apixgo"].problems(
        request_for("apixgo", prompt=PROMPT, image_urls=["http://cdn.example.com/a.png?sig=1"])
    )
    assert [(p.value, p.is_error) for p in problems] == [("http://cdn.example.com/***", False)]
