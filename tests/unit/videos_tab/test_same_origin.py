# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""An action that another site has sent is refused."""

from __future__ import annotations

import pytest
from fastapi import HTTPException, Request

from airflow_provider_vidgen.videos_tab.same_origin import refuse_other_sites

JSON = {"content-type": "application/json"}
HOST = {"host": "airflow.example:8080"}


def request(headers: dict[str, str]) -> Request:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "headers": raw})


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "same-origin"},
        {"origin": "http://airflow.example:8080"},
        {"origin": "https://airflow.example:8080"},
        {"origin": "https://public.example", "x-forwarded-host": "public.example"},
        {"authorization": "Bearer abc"},
        {"authorization": "bearer abc", "origin": "https://other.example"},
    ],
)
def test_airflows_own_pages_and_bearer_tokens_may_act(headers: dict[str, str]) -> None:
    refuse_other_sites(request({**HOST, **JSON, **headers}))
    refuse_other_sites(request({**HOST, **headers, "content-type": "Application/JSON; charset=utf-8"}))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "cross-site", "origin": "http://airflow.example:8080"},
        {"origin": "null"},
        {"origin": "https://other.example"},
        {"origin": "http://airflow.example"},
        {"origin": "http://airflow.example:8080.other.example"},
        {"authorization": "Basic abc"},
    ],
)
def test_other_sites_may_not_act(headers: dict[str, str]) -> None:
    with pytest.raises(HTTPException) as raised:
        refuse_other_sites(request({**HOST, **JSON, **headers}))
    assert raised.value.status_code == 403


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/x-www-form-urlencoded", "text/plain; application/json"]
)
def test_a_form_cannot_act(content_type: str) -> None:
    with pytest.raises(HTTPException) as raised:
        refuse_other_sites(request({**HOST, "content-type": content_type, "sec-fetch-site": "same-origin"}))
    assert raised.value.status_code == 415
