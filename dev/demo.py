# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
The main job, end to end, on this machine: ``make demo``.

Starts a real Airflow and the simulator of the four vendors, runs the marketing pipeline on each vendor, shows
how it goes, and lists what was made. Nothing leaves the machine and nothing costs money.
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

from dev.airflow_rest import ApiError
from dev.airflow_settings import PATIENT
from dev.local_airflow import LocalAirflow
from dev.local_simulator import LocalSimulator
from dev.probing import Probe, probe

ROOT = Path(__file__).resolve().parent.parent
DAG_ID = "vidgen_marketing_pipeline"
#: What each vendor is asked for: the pipeline's parameters.
ORDERS: dict[str, dict[str, Any]] = {
    "apimodels": {"model": "grok-video-3", "duration": 5, "resolution": "720p"},
    "apixo": {"model": "grok-video", "duration": 6, "resolution": "480p"},
    "apixgo": {"model": "grok-image-video", "duration": 4, "resolution": "480p"},
    "apimart": {"model": "grok-imagine-1.0-video-apimart", "duration": 6, "resolution": "480p"},
}
PRODUCTS, RATIOS = 3, 2
TIMEOUT = 600.0


@dataclass(frozen=True)
class Made:
    """One line of the table."""

    vendor: str
    task_id: str
    path: Path
    probe: Probe | None
    trouble: str = ""


def main() -> int:
    """Run the demo; 0 only if every file is there and plays."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--home", type=Path, default=ROOT / ".demo", help="where everything is kept")
    options.add_argument("--once", action="store_true", help="end when the pipelines have")
    chosen = options.parse_args()
    home = chosen.home.resolve()
    # Each demo begins anew: an earlier one's unfinished runs would go on against a simulator that is gone.
    for left_over in ("airflow", "videos"):
        shutil.rmtree(home / left_over, ignore_errors=True)
    home.mkdir(parents=True, exist_ok=True)
    print("Starting the simulator and Airflow ...", flush=True)
    with (
        LocalSimulator(speed=5, log=home / "simulator.log") as simulator,
        LocalAirflow(ROOT / "example_dags", home=home / "airflow", env=PATIENT, parallelism=4) as airflow,
    ):
        connect(airflow, simulator)
        print(f"Airflow: {airflow.url}  user {airflow.username}, password {airflow.password}", flush=True)
        made = run_pipelines(airflow, home / "videos")
        show(made)
        bills = json_from(f"{simulator.url}/__sim/ledger")
        print(f"\n{bill(bills)}\nVideos: {home / 'videos'}")
        print(f"Airflow: {airflow.url}  user {airflow.username}, password {airflow.password}", flush=True)
        whole = len(made) == len(ORDERS) * PRODUCTS * RATIOS and not any(one.trouble for one in made)
        if not chosen.once:
            print("Press ctrl-C to end everything that was started here.", flush=True)
            while True:
                time.sleep(3600)
    print("All videos are there and play." if whole else "Some videos are missing or do not play.")
    return 0 if whole else 1


def connect(airflow: LocalAirflow, simulator: LocalSimulator) -> None:
    """Create a connection for each vendor, where the UI shows it; the simulator's port is new each time."""
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


def run_pipelines(airflow: LocalAirflow, videos: Path) -> list[Made]:
    """Run the pipeline on every vendor at the same time."""
    runs = {}
    for vendor, order in ORDERS.items():
        conf = {**order, "vidgen_conn_id": f"vidgen_{vendor}", "output": (videos / vendor).as_uri()}
        runs[vendor] = airflow.start_run(DAG_ID, conf=conf)
    started, shown = time.monotonic(), ""
    while True:
        states = {vendor: airflow.run_state(DAG_ID, run) for vendor, run in runs.items()}
        line = " | ".join(
            f"{vendor}: {progress(airflow.task_instances(DAG_ID, run))}" for vendor, run in runs.items()
        )
        if line != shown:
            print(f"{time.monotonic() - started:5.0f} s  {line}", flush=True)
            shown = line
        if all(state in ("success", "failed") for state in states.values()):
            break
        if time.monotonic() - started > TIMEOUT:
            print(f"Giving up after {TIMEOUT:.0f} s.", flush=True)
            break
        time.sleep(2)
    return [made for vendor, run in runs.items() for made in collect(airflow, vendor, run)]


def progress(tasks: list[dict[str, Any]]) -> str:
    """Say in a few words how far a run is."""
    counts = Counter(
        (task["task_id"], task["state"]) for task in tasks if task["task_id"] in ("generate", "download")
    )
    failed = sum(count for (_, state), count in counts.items() if state in ("failed", "upstream_failed"))
    retrying = sum(count for (_, state), count in counts.items() if state == "up_for_retry")
    return (
        f"{counts['generate', 'deferred']} rendering, {counts['generate', 'success']} made, "
        f"{counts['download', 'success']} landed"
        + (f", {retrying} to be retried" if retrying else "")
        + (f", {failed} failed" if failed else "")
    )


def collect(airflow: LocalAirflow, vendor: str, run: str) -> list[Made]:
    """Read the index that a run wrote, and look into each of its files."""
    index = airflow.xcom(DAG_ID, run, "write_index", default=None)
    if not index:
        return []
    made = []
    for entry in json.loads(Path(urlsplit(index).path).read_text()):
        for file in entry["files"]:
            path = Path(urlsplit(file["path"]).path)
            made.append(look_into(vendor, entry["task_id"], path))
    return made


def look_into(vendor: str, task_id: str, path: Path) -> Made:
    """Probe one file against what was ordered."""
    try:
        found = probe(path)
    except Exception as error:
        return Made(vendor, task_id, path, None, f"{type(error).__name__}: {error}")
    order = ORDERS[vendor]
    trouble = ""
    if abs(found.seconds - order["duration"]) > 0.5:
        trouble = f"{order['duration']} s were ordered"
    if f"{min(found.width, found.height)}p" != order["resolution"]:
        trouble = f"{order['resolution']} was ordered"
    return Made(vendor, task_id, path, found, trouble)


def show(made: list[Made]) -> None:
    """Print the table."""
    print(f"\n{'vendor':<10} {'job':<38} {'length':>7} {'picture':>10} {'size':>9}  file")
    for one in made:
        if one.probe is None:
            print(f"{one.vendor:<10} {one.task_id:<38} {one.trouble}")
            continue
        picture = f"{one.probe.width}x{one.probe.height}"
        size = f"{one.path.stat().st_size / 1024:.0f} KiB"
        trouble = f"  !! {one.trouble}" if one.trouble else ""
        print(
            f"{one.vendor:<10} {one.task_id:<38} {one.probe.seconds:>5.1f} s {picture:>10} {size:>9}  "
            f"{one.path.name}{trouble}"
        )


def bill(ledger: dict[str, Any]) -> str:
    """Say what the vendors would have charged."""
    settled = sum(entry["state"] == "settled" for entry in ledger["entries"])
    twice = sum(count > 1 for count in ledger["accepted_by_hash"].values())
    return f"Billed by the simulated vendors: {settled} videos, {twice} of them more than once."


def json_from(url: str) -> dict[str, Any]:
    """Get JSON from the simulator's control side."""
    import requests

    found: dict[str, Any] = requests.get(url, timeout=10).json()
    return found


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\nEverything that was started here has ended.")
        sys.exit(130)
