# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The provider's metadata is correct and valid for Airflow."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import airflow
import jsonschema
import pytest

from airflow_provider_vidgen import __version__
from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.get_provider_info import get_provider_info
from airflow_provider_vidgen.hooks.video_gen import VideoGenHook
from airflow_provider_vidgen.vendors import ENTRY_POINT_GROUP, get_vendor, vendor_names
from tests.support.accounts import KEY

INFO = get_provider_info()
(TYPE,) = INFO["connection-types"]


def dotted_names(value: Any) -> Iterator[str]:
    """Yield every dotted name of this package in the metadata."""
    if isinstance(value, str):
        if value.startswith("airflow_provider_vidgen."):
            yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from dotted_names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from dotted_names(inner)


@pytest.mark.parametrize("schema", ["provider_info.schema.json"])
def test_the_metadata_is_valid_against_airflows_schema(schema: str) -> None:
    path = Path(airflow.__file__).parent / schema
    jsonschema.validate(INFO, json.loads(path.read_text()))


@pytest.mark.parametrize("name", sorted(set(dotted_names(INFO))))
def test_every_name_in_the_metadata_can_be_imported(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute)


def test_the_entry_point_returns_this_metadata() -> None:
    (point,) = (
        point
        for point in importlib.metadata.entry_points(group="apache_airflow_provider")
        if point.value.startswith("airflow_provider_vidgen")
    )
    assert point.load()() == INFO
    assert INFO["package-name"] == "airflow-provider-vidgen"
    assert INFO["versions"][0] == __version__


def test_the_public_names_exist_and_are_listed() -> None:
    for name in (
        "hooks.video_gen.VideoGenHook",
        "operators.video_generation.VideoGenerationOperator",
        "operators.video_download.VideoDownloadOperator",
        "sensors.video_task.VideoTaskSensor",
        "triggers.video_task.VideoTaskTrigger",
    ):
        module, _, attribute = f"airflow_provider_vidgen.{name}".rpartition(".")
        assert hasattr(importlib.import_module(module), attribute)
        assert any(module in listed["python-modules"] for listed in INFO[name.split(".")[0]])


def form_vendors() -> list[str]:
    """Return the vendors that the connection form offers."""
    vendor_names.cache_clear()
    (connection_type,) = get_provider_info()["connection-types"]
    return list(connection_type["conn-fields"]["vendor"]["schema"]["enum"])


def test_the_form_offers_the_vendors_of_all_installed_distributions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ["apimart", "apimodels", "apixgo", "apixo"]
    assert form_vendors() == own
    assert all(get_vendor(name).name == name for name in own)
    distribution = tmp_path / "vidgen_vendor_acme-0.1.0.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: vidgen-vendor-acme\nVersion: 0.1.0\n"
    )
    (distribution / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\nacme = not_importable:Acme\n")
    with monkeypatch.context() as installed:
        installed.syspath_prepend(str(tmp_path))
        assert form_vendors() == ["acme", *own]
    assert form_vendors() == own


def test_the_form_has_exactly_the_extras_that_a_connection_reads() -> None:
    read: set[str] = set()

    class Extra(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            read.add(key)
            return super().get(key, default)

    ConnectionSettings.read("c", host=None, password=KEY, extra=Extra(vendor="apixo"))
    assert set(TYPE["conn-fields"]) == read


def test_every_default_of_the_form_is_valid_for_its_field() -> None:
    for field in TYPE["conn-fields"].values():
        jsonschema.Draft7Validator.check_schema(field["schema"])
        if "default" in field["schema"]:
            jsonschema.validate(field["schema"]["default"], field["schema"])


def test_the_hook_has_the_connection_type_of_the_metadata() -> None:
    assert TYPE["connection-type"] == VideoGenHook.conn_type == "vidgen"
    assert TYPE["hook-name"] == VideoGenHook.hook_name
    assert VideoGenHook.default_conn_name == "vidgen_default"
    assert TYPE["hook-class-name"] == f"{VideoGenHook.__module__}.{VideoGenHook.__name__}"
