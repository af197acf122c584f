# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""docs/metrics.md, the dashboard and the mapping name exactly the metrics that are sent."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.sdk.exceptions import AirflowRescheduleException

from airflow_provider_vidgen import metrics
from airflow_provider_vidgen.errors import BadCredentials
from airflow_provider_vidgen.metrics import METRICS, Metric
from airflow_provider_vidgen.models import Cost, JobState, JobStatus
from tests.support.accounts import job
from tests.support.clock import NOW, Clock
from tests.support.recorded_metrics import RecordedMetrics

DOCS = Path(__file__).parents[2] / "docs"
MAPPINGS = yaml.safe_load((DOCS / "statsd_exporter_mapping.yml").read_text())["mappings"]
DASHBOARD = json.loads((DOCS / "grafana_dashboard.json").read_text())
VARIABLES = {variable["name"] for variable in DASHBOARD["templating"]["list"]}


def exported(name: str) -> tuple[str, dict[str, str]] | None:
    """Return what statsd_exporter makes of a name, by the first entry that matches; ``None`` if dropped."""
    parts = name.split(".")
    for mapping in MAPPINGS:
        match = mapping["match"].split(".")
        if len(match) == len(parts) and all(a in ("*", b) for a, b in zip(match, parts, strict=True)):
            if mapping.get("action") == "drop":
                return None
            values = [b for a, b in zip(match, parts, strict=True) if a == "*"]
            labels = {label: values[int(ref[1:]) - 1] for label, ref in mapping["labels"].items()}
            return mapping["name"], labels
    raise AssertionError(f"{name} is not mapped")


def prometheus_name(metric: Metric) -> str:
    unit = "total" if metric.kind == "counter" else "seconds"
    return f"{metric.full_name.replace('.', '_')}_{unit}"


def test_every_metric_is_sent(sent_metrics: RecordedMetrics, clock: Clock) -> None:
    done = JobStatus(
        state=JobState.SUCCEEDED,
        raw_state="done",
        result_urls=("https://cdn.example.com/v.mp4",),
        completed_at=NOW,
        cost=Cost(amount=1.0, currency="credits", basis="reported"),
    )
    metrics.submitted(job())
    metrics.unknown("apixo", "grok-video")
    metrics.delivered(job(), done, submitted_at=NOW)
    metrics.noticed(job(), done, NOW)
    metrics.landed("apixo", job(), 7)
    metrics.rate_limited("apixo", "status")
    for error in (BadCredentials("no"), AirflowRescheduleException(clock.now() + timedelta(seconds=9))):  # type: ignore[no-untyped-call]
        with pytest.raises(type(error)), metrics.TryMetrics(model="m").errors():
            raise error
    assert {name for name, _, tags in sent_metrics.sent if tags} == {metric.full_name for metric in METRICS}
    assert {name: set(tags) for name, _, tags in sent_metrics.sent if tags} == {
        metric.full_name: set(metric.tags) for metric in METRICS
    }


def test_the_page_has_every_metric_and_no_other() -> None:
    rows = re.findall(r"^\| `(vidgen\..*)$", (DOCS / "metrics.md").read_text(), re.MULTILINE)
    assert rows == [
        f"{metric.full_name}` | {metric.kind} | {', '.join(metric.tags)} | {metric.description} |"
        for metric in METRICS
    ]


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_the_mapping_makes_labels_of_the_values_in_a_name(metric: Metric) -> None:
    tags = {tag: f"{tag}-1.5" for tag in metric.tags}
    labels = {tag: f"{tag}-1__5" for tag in metric.tags}
    assert exported(f"airflow.{metric.name_with_values(tags)}") == (prometheus_name(metric), labels)
    assert exported(f"airflow.{metric.full_name}") is None
    [mapping] = [entry for entry in MAPPINGS if entry["name"] == prometheus_name(metric)]
    assert ("histogram_options" in mapping) is (metric.kind == "timer")


def expressions() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def test_the_dashboard_uses_every_metric_and_no_other() -> None:
    used = {
        re.sub(r"_(bucket|sum|count)$", "", name)
        for expression in expressions()
        for name in re.findall(r"\bvidgen_\w+", expression)
    }
    assert used == {prometheus_name(metric) for metric in METRICS}


def test_the_dashboard_uses_only_labels_that_its_metrics_have() -> None:
    tags = {prometheus_name(metric): {*metric.tags, "le"} for metric in METRICS}
    for expression in expressions():
        grouped = {
            label for found in re.findall(r"by \(([^)]*)\)", expression) for label in found.split(", ")
        }
        filtered = set(re.findall(r"(\w+)=~", expression))
        names = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"vidgen_\w+", expression)}
        for name in names:
            assert grouped | filtered <= tags[name], expression
        assert set(re.findall(r"\$(\w+)", expression)) <= {*VARIABLES, "__range", "__rate_interval"}


def test_legends_use_only_labels_that_are_left() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            grouped = re.search(r"by \(([^)]*)\)", target["expr"])
            labels = set(grouped[1].split(", ")) if grouped else set()
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= labels


def test_the_dashboard_can_be_imported() -> None:
    assert DASHBOARD["id"] is None  # Grafana gives it one
    assert DASHBOARD["schemaVersion"] >= 36  # data sources are objects with a uid
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        place: dict[str, Any] = panel["gridPos"]
        covered = {
            (place["x"] + column, place["y"] + row)
            for column in range(place["w"])
            for row in range(place["h"])
        }
        assert not cells & covered, f"{panel['title']} covers another panel"
        assert place["x"] + place["w"] <= 24
        cells |= covered
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
