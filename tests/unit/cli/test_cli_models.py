# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""``airflow vidgen models``: every vendor's models with their limits, and the live list of a connection."""

from __future__ import annotations

import json
from argparse import Namespace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import requests_mock
import yaml

from airflow_provider_vidgen.cli import models
from airflow_provider_vidgen.models import Cost, VideoRequest
from airflow_provider_vidgen.vendors import get_vendor, vendor_names
from tests.support.accounts import BASE, KEY, connection

#: Without spaces at the ends of the lines.
TABLE = (Path(__file__).parent / "golden" / "models_table.txt").read_text()


@pytest.fixture(autouse=True)
def _context(monkeypatch: pytest.MonkeyPatch) -> None:
    # The command sets it.
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")


def list_models(
    capsys: pytest.CaptureFixture[str],
    *,
    vendor: str | None = None,
    conn_id: str | None = None,
    output: str = "json",
) -> Any:
    """The rows that the command prints."""
    capsys.readouterr()
    models.list_models(Namespace(vendor=vendor, vidgen_conn_id=conn_id, output=output, verbose=False))
    written = capsys.readouterr().out
    return json.loads(written) if output == "json" else written


def test_every_model_of_every_vendor_is_listed_once(capsys: pytest.CaptureFixture[str]) -> None:
    listed = [(row["vendor"], row["model"]) for row in list_models(capsys)]
    assert listed == [(name, model) for name in vendor_names() for model in get_vendor(name).models]


def test_the_table_of_all_models(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.rstrip() for line in list_models(capsys, output="table").splitlines()]
    assert "\n".join(line for line in lines if line) + "\n" == TABLE


def test_plain_and_yaml_output_have_the_same_rows(capsys: pytest.CaptureFixture[str]) -> None:
    rows = list_models(capsys)
    assert yaml.safe_load(list_models(capsys, output="yaml")) == rows
    header, *lines = list_models(capsys, output="plain").splitlines()
    assert header.split() == list(rows[0])
    assert [line.split() for line in lines] == [" ".join(row.values()).split() for row in rows]


def test_a_row_has_the_documented_limits_price_and_dates(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {row["model"]: row for row in list_models(capsys, vendor="apimodels")}
    assert rows["grok-video-3-official"] == {
        "vendor": "apimodels",
        "model": "grok-video-3-official",
        "seconds": "6, 10, 15",
        "resolutions": "720p, 1080p",
        "aspect_ratios": "16:9, 1:1, 9:16, 2:3, 3:2",
        "images": "any",
        "price": "0.08 USD (2026-11-20)",
        "usual_seconds": "-",
        "other_limits": "not in the document: image_urls, duration",
        "as_of": "2026-11-20",
    }
    assert (rows["grok-video-3"]["usual_seconds"], rows["p-video"]["price"]) == ("30", "-")
    (apixo,) = list_models(capsys, vendor="apixo")
    assert apixo["other_limits"] == "prompt of at most 5000 characters"


@pytest.mark.parametrize(
    ("as_of", "price"), [(date(2026, 1, 2), "0.30 to 1.50 USD (2026-01-02)"), (None, "0.30 to 1.50 USD")]
)
def test_a_price_that_depends_on_the_length_is_a_range(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, as_of: date | None, price: str
) -> None:
    def estimate(request: VideoRequest) -> Cost:
        return Cost(amount=0.05 * request.duration, currency="USD", basis="estimated", as_of=as_of)

    monkeypatch.setattr(get_vendor("apixo"), "estimate", estimate, raising=True)
    (row,) = list_models(capsys, vendor="apixo")
    assert row["price"] == price


def test_a_model_without_limits_accepts_any_value(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = models.ModelRules(as_of=date(2026, 11, 20))
    monkeypatch.setattr(get_vendor("apixo"), "models", {"free": rules}, raising=True)
    (row,) = list_models(capsys, vendor="apixo")
    values = [row[name] for name in ("seconds", "resolutions", "aspect_ratios", "images", "other_limits")]
    assert values == ["any", "any", "any", "any", "-"]


# --- live lists -----------------------------------------------------------------------------------------


def test_a_connections_live_list_is_joined_with_the_documents(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MINE", connection("apixgo"))
    with requests_mock.Mocker() as web:
        web.get(f"{BASE['apixgo']}/v1/models", json={"data": [{"id": "new-model"}, {"id": "grok-video-1.5"}]})
        rows = list_models(capsys, conn_id="mine")
    (sent,) = web.request_history
    assert (sent.method, sent.headers["Authorization"]) == ("GET", f"Bearer {KEY}")
    assert [(row["model"], row["in_live_list"], row["as_of"]) for row in rows] == [
        ("new-model", "yes", "-"),
        ("grok-video-1.5", "yes", "2026-11-20"),
        ("grok-image-video", "no", "2026-11-20"),
    ]
    assert rows[0]["other_limits"] == "not in the vendor's document"
    assert rows[0]["seconds"] == rows[0]["price"] == "-"


@pytest.mark.parametrize("vendor", ["apixo", None])
def test_a_vendor_without_a_documented_list_sends_no_request(
    vendor: str | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MINE", connection("apixo"))
    arguments = Namespace(vendor=vendor, vidgen_conn_id="mine", output="json", verbose=False)
    with requests_mock.Mocker() as web:
        models.list_models(arguments)
    assert web.request_history == []
    written = capsys.readouterr()
    assert [row["model"] for row in json.loads(written.out)] == ["grok-video"]
    assert "Apixo documents no list" in written.err


@pytest.mark.parametrize(
    ("conn_id", "vendor", "reply", "message"),
    [
        ("gone", None, {}, "There is no connection 'gone'."),
        ("mine", "apixo", {}, "The connection 'mine' is one of apixgo, not of apixo."),
        ("bad", None, {}, "must be the API key"),
        ("mine", None, {"status_code": 401, "json": {"error": {"message": "no"}}}, "HTTP 401"),
    ],
)
def test_a_list_that_cannot_be_read_ends_with_the_reason(
    conn_id: str,
    vendor: str | None,
    reply: dict[str, Any],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MINE", connection("apixgo"))
    monkeypatch.setenv("AIRFLOW_CONN_BAD", connection("apixgo", password=""))
    with requests_mock.Mocker() as web:
        web.get(requests_mock.ANY, **reply)
        with pytest.raises(SystemExit, match=message) as ended:
            list_models(capsys, conn_id=conn_id, vendor=vendor)
    assert KEY not in str(ended.value)
