# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What Airflow is told about this provider is true, and in the form Airflow wants."""

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
from airflow_provider_vidgen.get_provider_info import get_provider_info
from airflow_provider_vidgen.hooks.video_gen import VideoGenHook
from airflow_provider_vidgen.transport.settings import ConnectionSettings
from airflow_provider_vidgen.vendors import ENTRY_POINT_GROUP, get_vendor, vendor_names
from tests.support.accounts import KEY

INFO = get_provider_info()
(TYPE,) = INFO["connection-types"]


def classes(value: Any) -> Iterator[str]:
    """Every dotted name of ours in the metadata."""
    if isinstance(value, str):
        if value.startswith("airflow_provider_vidgen."):
            yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from classes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from classes(inner)


@pytest.mark.parametrize("schema", ["provider_info.schema.json"])
def test_it_is_valid_by_airflows_own_schema(schema: str) -> None:
    path = Path(airflow.__file__).parent / schema
    jsonschema.validate(INFO, json.loads(path.read_text()))


@pytest.mark.parametrize("name", sorted(set(classes(INFO))))
def test_everything_it_names_exists(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute)


def test_it_is_what_the_installed_package_says() -> None:
    (point,) = (
        point
        for point in importlib.metadata.entry_points(group="apache_airflow_provider")
        if point.value.startswith("airflow_provider_vidgen")
    )
    assert point.load()() == INFO
    assert INFO["package-name"] == "airflow-provider-vidgen"
    assert INFO["versions"][0] == __version__


def test_the_public_names_of_the_design_are_there() -> None:
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


def test_the_form_offers_the_vendors_that_are_installed() -> None:
    ours = {
        point.name
        for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
        if point.value.startswith("airflow_provider_vidgen.")
    }
    assert set(TYPE["conn-fields"]["vendor"]["schema"]["enum"]) == ours
    assert ours <= set(vendor_names())
    assert all(get_vendor(name).name == name for name in ours)


def test_the_form_has_every_extra_that_is_read_and_no_other() -> None:
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


def test_hook_and_metadata_agree() -> None:
    assert TYPE["connection-type"] == VideoGenHook.conn_type == "vidgen"
    assert TYPE["hook-name"] == VideoGenHook.hook_name
    assert VideoGenHook.default_conn_name == "vidgen_default"
    assert TYPE["hook-class-name"] == f"{VideoGenHook.__module__}.{VideoGenHook.__name__}"
