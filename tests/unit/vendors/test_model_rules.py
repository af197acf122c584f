# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The limits of each vendor's document: one row per limit, with the nearest valid value."""

from __future__ import annotations

from typing import Any

import pytest
from vendor_case import VENDORS, request_for

_IMAGE = "https://example.com/ref.jpg"
_DATA = "data:image/png;base64,iVBORw0KGgo="
_SOURCE = {"task_id": "task_image", "index": 0}

#: Vendor, model, the request's fields, the rejected fields, the fields with a warning.
_ROWS: list[tuple[str, str, dict[str, Any], list[str], list[str]]] = []


def _rows(vendor: str, model: str, *rows: tuple[dict[str, Any], list[str], list[str]]) -> None:
    _ROWS.extend((vendor, model, fields, rejected, warned) for fields, rejected, warned in rows)


for _model, _valid, _invalid in (("grok-video-3", 5, (4, 6, 10)), ("grok-video-3-10s", 10, (5, 9, 11, 15))):
    _rows(
        "apimodels",
        _model,
        ({"duration": _valid}, [], []),
        *(({"duration": _seconds}, ["duration"], []) for _seconds in _invalid),
        ({"image_urls": []}, [], []),
        ({"image_urls": [_IMAGE]}, ["image_urls"], []),
    )
_rows(
    "apimodels",
    "grok-video-3-official",
    *(({"duration": _seconds}, [], ["duration"]) for _seconds in (6, 10, 15)),
    *(({"duration": _seconds}, ["duration"], ["duration"]) for _seconds in (5, 7, 14, 16)),
    ({"image_urls": [_IMAGE]}, [], ["image_urls"]),
    ({"image_urls": []}, [], []),
    ({}, [], []),
)
for _model in ("grok-video-3", "grok-video-3-10s", "grok-video-3-official"):
    _rows(
        "apimodels",
        _model,
        *(({"aspect_ratio": _ratio}, [], []) for _ratio in ("16:9", "1:1", "9:16")),
        *(({"aspect_ratio": _ratio}, [], ["aspect_ratio"]) for _ratio in ("2:3", "3:2")),
        *(({"aspect_ratio": _ratio}, ["aspect_ratio"], []) for _ratio in ("4:3", "3:4", "21:9", "16:10")),
        *(({"resolution": _size}, [], []) for _size in ("720p", "1080p")),
        ({"resolution": "480p"}, ["resolution"], []),
        ({"callback_url": "https://hooks.example.com/done"}, [], []),
        ({"style": "fun"}, ["style"], []),
        ({"routing": "auto"}, ["routing"], []),
        ({"continue_from": _SOURCE}, ["continue_from"], []),
    )
_rows(
    "apimodels",
    "p-video",
    ({}, [], []),
    ({"duration": 1}, [], ["duration"]),
    ({"duration": 11}, [], ["duration", "duration"]),
    ({"duration": 21}, ["duration"], ["duration"]),
    ({"image_urls": [_IMAGE]}, [], ["image_urls"]),
    ({"image_urls": [_IMAGE, _IMAGE]}, ["image_urls"], ["image_urls"]),
    ({"callback_url": "https://hooks.example.com/done"}, ["callback_url"], []),
    ({"extra": {"image": _IMAGE}}, ["extra.image"], []),
    ({"extra": {"resolution": "720p"}}, ["extra.resolution"], []),
    ({"extra": {"fps": 24}}, [], []),
)
_rows(
    "apixo",
    "grok-video",
    ({"prompt": "x" * 5000}, [], []),
    ({"prompt": "x" * 5001}, ["prompt"], []),
    *(({"duration": _seconds}, [], []) for _seconds in (6, 7, 30)),
    *(({"duration": _seconds}, ["duration"], []) for _seconds in (5, 31)),
    *(({"resolution": _size}, [], []) for _size in ("480p", "720p")),
    ({"resolution": "1080p"}, ["resolution"], []),
    *(({"aspect_ratio": _ratio}, [], []) for _ratio in ("1:1", "2:3", "3:2", "9:16", "16:9")),
    *(({"aspect_ratio": _ratio}, ["aspect_ratio"], []) for _ratio in ("4:3", "3:4")),
    ({"image_urls": [_IMAGE]}, [], []),
    ({"image_urls": [_IMAGE, _IMAGE]}, ["image_urls"], []),
    ({"image_urls": [_DATA]}, ["image_urls[0]"], []),
    ({"image_urls": [_IMAGE], "aspect_ratio": "3:2"}, [], ["aspect_ratio"]),
    ({"continue_from": _SOURCE, "aspect_ratio": "3:2"}, [], ["aspect_ratio"]),
    *(({"continue_from": {**_SOURCE, "index": _index}}, [], []) for _index in (0, 5)),
    *(
        ({"continue_from": {**_SOURCE, "index": _index}}, ["continue_from.index"], [])
        for _index in (-1, 6, "0", True, 1.0, None)
    ),
    *(
        ({"continue_from": {**_SOURCE, "task_id": _id}}, ["continue_from.task_id"], [])
        for _id in ("", "  ", 7, None, "\ud800")
    ),
    *(
        ({"continue_from": _source}, ["continue_from"], [])
        for _source in ({"task_id": "t"}, {"index": 0}, {}, {**_SOURCE, "more": 1}, "task_image", ["t", 0])
    ),
    ({"continue_from": _SOURCE, "image_urls": [_IMAGE]}, ["continue_from"], []),
    ({"continue_from": _SOURCE, "image_urls": []}, [], []),
    *(({"routing": _name}, [], []) for _name in ("auto", "value", "official")),
    *(({"routing": _name}, ["routing"], []) for _name in ("cheap", "", "AUTO", 1)),
    *(({"style": _name}, [], []) for _name in ("normal", "fun", "spicy")),
    ({"style": "noir"}, [], ["style"]),
    *(({"style": _style}, ["style"], []) for _style in (3, ["fun"], "\ud800")),
    ({"callback_url": "https://hooks.example.com/done"}, [], []),
    ({"extra": {"request_type": "callback"}}, ["extra.request_type"], []),
    ({"extra": {"callback_url": "https://a.example.com"}}, ["extra.callback_url"], []),
    ({"extra": {"provider": "auto"}}, ["extra.provider"], []),
    *(
        ({"extra": {"input": {_name: "x"}}}, [f"extra.input.{_name}"], [])
        for _name in ("mode", "prompt", "duration", "resolution", "aspect_ratio", "image_urls", "task_id")
    ),
    *(({"extra": {"input": {_name: 1}}}, [f"extra.input.{_name}"], []) for _name in ("index", "style")),
    ({"extra": {"input": ["x"]}}, ["extra.input"], []),
    ({"extra": {"input": {"seed": 1}, "priority": 2}}, [], []),
)
_rows(
    "apixgo",
    "grok-image-video",
    ({"image_urls": [_IMAGE] * 7}, [], []),
    ({"image_urls": [_IMAGE] * 8}, ["image_urls"], []),
    ({"image_urls": [_DATA]}, [], []),
    *(({"duration": _seconds}, [], []) for _seconds in (4, 6, 8, 10, 12, 15)),
    *(({"duration": _seconds}, [], ["duration"]) for _seconds in (1, 5, 7, 14)),
    *(({"duration": _seconds}, ["duration"], []) for _seconds in (0, -1, 16)),
    ({"duration": 15, "image_urls": [_IMAGE]}, [], []),
    ({"duration": 10, "image_urls": [_IMAGE] * 2}, [], []),
    ({"duration": 12, "image_urls": [_IMAGE] * 2}, ["duration"], []),
    ({"duration": 11, "image_urls": [_IMAGE] * 2}, ["duration"], ["duration"]),
    ({"duration": 12, "image_urls": [_IMAGE]}, [], []),
    ({"duration": 12, "extra": {"reference_images": [_IMAGE, _IMAGE]}}, ["duration"], []),
    *(({"aspect_ratio": _ratio}, [], []) for _ratio in ("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3")),
    ({"aspect_ratio": "21:9"}, ["aspect_ratio"], []),
)
_rows(
    "apixgo",
    "grok-video-1.5",
    ({"image_urls": [_IMAGE]}, [], []),
    ({}, ["image_urls"], []),
    ({"image_urls": [_IMAGE, _IMAGE]}, ["image_urls"], []),
    ({"extra": {"input_reference": {"image_url": _IMAGE}}}, [], []),
    ({"extra": {"input_reference": _IMAGE}, "image_urls": [_IMAGE]}, ["image_urls"], []),
    ({"image_urls": [_IMAGE], "duration": 15}, [], []),
    ({"image_urls": [_IMAGE], "duration": 16}, ["duration"], []),
    *(({"image_urls": [_IMAGE], "aspect_ratio": _ratio}, [], []) for _ratio in ("16:9", "9:16")),
    ({"image_urls": [_IMAGE], "aspect_ratio": "1:1"}, ["aspect_ratio"], []),
)
for _model, _images in (("grok-image-video", []), ("grok-video-1.5", [_IMAGE])):
    _rows(
        "apixgo",
        _model,
        *(({"image_urls": _images, "resolution": _size}, [], []) for _size in ("480p", "720p")),
        ({"image_urls": _images, "resolution": "1080p"}, ["resolution"], []),
        ({"image_urls": _images, "prompt": "x" * 4096}, [], []),
        ({"image_urls": _images, "prompt": "x" * 4097}, [], ["prompt"]),
        ({"image_urls": _images, "callback_url": "https://hooks.example.com"}, ["callback_url"], []),
        ({"image_urls": _images, "style": "fun"}, ["style"], []),
        ({"image_urls": _images, "continue_from": _SOURCE}, ["continue_from"], []),
        ({"image_urls": ["http://example.com/ref.jpg"]}, [], ["image_urls[0]"]),
    )
_rows(
    "apixgo",
    "grok-image-video",
    (
        {"extra": {"input_reference": _IMAGE, "reference_images": [_IMAGE]}},
        ["extra.reference_images"],
        [],
    ),
)
_rows(
    "apimart",
    "grok-imagine-1.0-video-apimart",
    *(({"duration": _seconds}, [], []) for _seconds in (6, 17, 30)),
    *(({"duration": _seconds}, ["duration"], []) for _seconds in (5, 31)),
    *(({"resolution": _size}, [], []) for _size in ("480p", "720p")),
    ({"resolution": "1080p"}, ["resolution"], []),
    *(({"aspect_ratio": _ratio}, [], []) for _ratio in ("16:9", "9:16", "1:1", "3:2", "2:3")),
    ({"aspect_ratio": "4:3"}, ["aspect_ratio"], []),
    ({"image_urls": [_IMAGE] * 7}, [], []),
    ({"image_urls": [_IMAGE] * 8}, ["image_urls"], []),
    ({"image_urls": [_IMAGE, _DATA]}, ["image_urls[1]"], []),
    ({"image_urls": [_IMAGE], "aspect_ratio": "16:9"}, [], ["aspect_ratio"]),
    ({"callback_url": "https://hooks.example.com"}, ["callback_url"], []),
    ({"extra": {"webhook": "https://hooks.example.com"}}, [], []),
    ({"extra": {"size": "16:9"}}, ["extra.size"], []),
    ({"extra": {"quality": "720p"}}, ["extra.quality"], []),
)


def _id(row: Any) -> str:
    return (
        ",".join(f"{key}={value!s:.24}" for key, value in row.items()) if isinstance(row, dict) else str(row)
    )


@pytest.mark.parametrize(("vendor", "model", "fields", "rejected", "warned"), _ROWS, ids=_id)
def test_a_documented_limit_is_enforced(
    vendor: str, model: str, fields: dict[str, Any], rejected: list[str], warned: list[str]
) -> None:
    problems = VENDORS[vendor].problems(request_for(vendor, **{"model": model, **fields}))
    assert [problem.field for problem in problems if problem.is_error] == rejected
    assert [problem.field for problem in problems if not problem.is_error] == warned
    assert all(problem.value and problem.constraint for problem in problems)


@pytest.mark.parametrize(
    ("vendor", "fields"),
    [
        ("apixgo", {"duration": 16, "aspect_ratio": "21:9", "resolution": "1080p", "style": "fun"}),
        ("apixo", {"duration": 5, "aspect_ratio": "4:3", "resolution": "1080p", "routing": "x"}),
        ("apimart", {"duration": 5, "aspect_ratio": "4:3", "resolution": "1080p", "routing": "x"}),
        ("apimodels", {"duration": 5, "aspect_ratio": "4:3", "resolution": "480p", "style": "fun"}),
    ],
)
def test_all_errors_are_reported_at_once(vendor: str, fields: dict[str, Any]) -> None:
    problems = VENDORS[vendor].problems(request_for(vendor, prompt="", **fields))
    assert {problem.field for problem in problems if problem.is_error} == {"prompt", *fields}


def test_a_problem_names_the_field_the_value_and_the_limit() -> None:
    (problem,) = VENDORS["apimart"].problems(request_for("apimart", duration=31))
    assert str(problem) == "duration=31: grok-imagine-1.0-video-apimart accepts 6 to 30 seconds"
