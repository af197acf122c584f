# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Run the marketing pipeline end to end on this machine: ``make demo``.

Starts a real Airflow and the simulator of the four vendors, runs the pipeline with each vendor, shows the
progress, and lists the videos. Meanwhile they can be watched in Airflow's Videos tab. Nothing leaves the
machine and nothing costs money.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_vidgen.simulator import SimulatorClient
from dev.airflow_api import ApiError
from dev.airflow_settings import LENIENT_HEALTH_CHECKS
from dev.local_airflow import LocalAirflow
from dev.local_simulator import LocalSimulator
from dev.video_decoding import DecodedVideo, decode_video

ROOT = Path(__file__).resolve().parent.parent
DAG_ID = "vidgen_marketing_pipeline"
#: The pipeline's parameters for each vendor.
PARAMS: dict[str, dict[str, Any]] = {
    "apimodels": {"model": "grok-video-3", "duration": 5, "resolution": "720p"},
    "apixo": {"model": "grok-video", "duration": 6, "resolution": "480p"},
    "apixgo": {"model": "grok-image-video", "duration": 4, "resolution": "480p"},
    "apimart": {"model": "grok-imagine-1.0-video-apimart", "duration": 6, "resolution": "480p"},
}
PRODUCTS, ASPECT_RATIOS = 3, 2
#: Seconds in which a video renders.
JOB_SECONDS = 25
TIMEOUT = 600.0


@dataclass(frozen=True)
class VideoRow:
    """One row of the table of videos; ``problem`` is empty if the file is as requested."""

    vendor: str
    task_id: str
    path: Path
    decoded: DecodedVideo | None
    problem: str = ""


def main() -> int:
    """Run the demo; return 0 only if all files exist and play, and the Videos tab has them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--home", type=Path, default=ROOT / ".demo", help="folder for all files (%(default)s)"
    )
    parser.add_argument("--once", action="store_true", help="end when the pipelines have finished")
    args = parser.parse_args()
    home = args.home.resolve()
    # Unfinished runs of an earlier demo would continue with a simulator that has ended.
    for stale in ("airflow", "videos"):
        shutil.rmtree(home / stale, ignore_errors=True)
    home.mkdir(parents=True, exist_ok=True)
    print("Starting the simulator and Airflow ...", flush=True)
    with (
        # In real time, so that the times in the Videos tab are those of this machine's clock.
        LocalSimulator(
            speed=1, arguments=["--job-seconds", str(JOB_SECONDS)], log=home / "simulator.log"
        ) as simulator,
        LocalAirflow(
            ROOT / "example_dags", home=home / "airflow", env=LENIENT_HEALTH_CHECKS, parallelism=4
        ) as airflow,
    ):
        create_connections(airflow, simulator)
        print(where_to_look(airflow), flush=True)
        rows = run_pipelines(airflow, home / "videos")
        print_table(rows)
        summary = billing_summary(SimulatorClient(simulator.url))
        print(f"\n{summary}\nThe files are in {home / 'videos'}.")
        expected = len(PARAMS) * PRODUCTS * ASPECT_RATIOS
        shown = airflow.api("GET", "//vidgen/all-cards").count('data-state="landed"')
        print(f"The Videos tab shows {shown} of {expected} videos.", flush=True)
        succeeded = len(rows) == shown == expected and not any(row.problem for row in rows)
        if not args.once:
            print(where_to_look(airflow))
            print("Press Ctrl-C to stop Airflow and the simulator.", flush=True)
            while True:
                time.sleep(3600)
    print("All videos exist and play." if succeeded else "Some videos are missing or do not play.")
    return 0 if succeeded else 1


def where_to_look(airflow: LocalAirflow) -> str:
    """Return the sentence that leads to the videos in Airflow."""
    return (
        f"Watch the videos at {airflow.url}/plugin/vidgen-videos "
        f"(user {airflow.username}, password {airflow.password})."
    )


def create_connections(airflow: LocalAirflow, simulator: LocalSimulator) -> None:
    """Create or update a connection for each vendor in the database, so that the UI lists it."""
    for variable, settings in simulator.connections().items():
        conn_id = variable.removeprefix("AIRFLOW_CONN_").lower()
        body = {**json.loads(settings), "connection_id": conn_id}
        body["extra"] = json.dumps(body["extra"])
        try:
            airflow.api("POST", "/connections", json=body)
        except ApiError as error:
            if error.status != 409:
                raise
            airflow.api("PATCH", f"/connections/{conn_id}", json=body)


def run_pipelines(airflow: LocalAirflow, videos: Path) -> list[VideoRow]:
    """Run the pipeline with all vendors at the same time, and print the progress."""
    runs = {}
    for vendor, params in PARAMS.items():
        conf = {**params, "vidgen_conn_id": f"vidgen_{vendor}", "output": (videos / vendor).as_uri()}
        runs[vendor] = airflow.start_run(DAG_ID, conf=conf)
    started, last_line = time.monotonic(), ""
    while True:
        states = {vendor: airflow.run_state(DAG_ID, run) for vendor, run in runs.items()}
        line = " | ".join(
            f"{vendor}: {progress(airflow.task_instances(DAG_ID, run))}" for vendor, run in runs.items()
        )
        if line != last_line:
            print(f"{time.monotonic() - started:5.0f} s  {line}", flush=True)
            last_line = line
        if all(state in ("success", "failed") for state in states.values()):
            break
        if time.monotonic() - started > TIMEOUT:
            print(f"Giving up after {TIMEOUT:.0f} s.", flush=True)
            break
        time.sleep(2)
    return [row for vendor, run in runs.items() for row in read_index(airflow, vendor, run)]


def progress(tasks: list[dict[str, Any]]) -> str:
    """Return a short description of a run's progress."""
    counts = Counter(
        (task["task_id"], task["state"]) for task in tasks if task["task_id"] in ("generate", "download")
    )
    failed = sum(count for (_, state), count in counts.items() if state in ("failed", "upstream_failed"))
    retrying = sum(count for (_, state), count in counts.items() if state == "up_for_retry")
    return (
        f"{counts['generate', 'deferred']} rendering, {counts['generate', 'success']} generated, "
        f"{counts['download', 'success']} landed"
        + (f", {retrying} to be retried" if retrying else "")
        + (f", {failed} failed" if failed else "")
    )


def read_index(airflow: LocalAirflow, vendor: str, run: str) -> list[VideoRow]:
    """Read the index that a run wrote, and check each of its files."""
    index = airflow.xcom(DAG_ID, run, "write_index", default=None)
    if not index:
        return []
    rows = []
    for entry in json.loads(Path(urlsplit(index).path).read_text()):
        for file in entry["files"]:
            path = Path(urlsplit(file["path"]).path)
            rows.append(check_file(vendor, entry["task_id"], path))
    return rows


def check_file(vendor: str, task_id: str, path: Path) -> VideoRow:
    """Decode a file and compare it with the requested parameters."""
    try:
        decoded = decode_video(path)
    except Exception as error:
        return VideoRow(vendor, task_id, path, None, f"{type(error).__name__}: {error}")
    params = PARAMS[vendor]
    problem = ""
    if abs(decoded.seconds - params["duration"]) > 0.5:
        problem = f"{params['duration']} s were requested"
    if f"{min(decoded.width, decoded.height)}p" != params["resolution"]:
        problem = f"{params['resolution']} was requested"
    return VideoRow(vendor, task_id, path, decoded, problem)


def print_table(rows: list[VideoRow]) -> None:
    """Print the table."""
    print(f"\n{'vendor':<10} {'job':<38} {'length':>7} {'image':>10} {'size':>9}  file")
    for row in rows:
        if row.decoded is None:
            print(f"{row.vendor:<10} {row.task_id:<38} {row.problem}")
            continue
        image = f"{row.decoded.width}x{row.decoded.height}"
        size = f"{row.path.stat().st_size / 1024:.0f} KiB"
        problem = f"  !! {row.problem}" if row.problem else ""
        print(
            f"{row.vendor:<10} {row.task_id:<38} {row.decoded.seconds:>5.1f} s {image:>10} {size:>9}  "
            f"{row.path.name}{problem}"
        )


def billing_summary(simulator: SimulatorClient) -> str:
    """Return what the vendors would have charged."""
    ledger = simulator.ledger()
    settled = sum(entry.state == "settled" for entry in ledger.entries)
    billed_twice = sum(count > 1 for count in ledger.accepted_by_hash.values())
    return f"Billed by the simulated vendors: {settled} videos, {billed_twice} of them more than once."


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\nAirflow and the simulator have been stopped.")
        sys.exit(130)
