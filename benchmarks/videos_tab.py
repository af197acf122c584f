# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
The Videos tab in a running Airflow: ``make bench-videos-tab``.

Ten runs of 1,000 videos each are written into the database of an Airflow of which all components run. Then:

- the time until the API server has sent a page, beside that of one page of Airflow's own task instances;
- the time until a browser shows the first cards, from its first request on;
- the share of a core that the API server uses for a tab that is left open, asked for as the page's script
  does, while nothing changes and while ten videos report progress every two seconds, beside the idle server.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

import requests

from benchmarks.process_usage import cpu_seconds
from dev.headless_browser import running_browser
from dev.local_airflow import COMPONENTS, LocalAirflow

DAG_ID = "bench_videos"
RUNS, VIDEOS = 10, 1_000
#: The cards are in the page itself: they are shown with the first paint after it has been read.
_FIRST_CARDS = """
const [page] = performance.getEntriesByType("navigation");
const paint = performance.getEntriesByName("first-contentful-paint")[0];
if (!document.querySelector(".card")) throw new Error("no cards");
return Math.max(page.domInteractive, paint ? paint.startTime : page.loadEventEnd);
"""
_PLUGIN = "from airflow_provider_vidgen.plugins.vidgen import VidgenPlugin  # noqa: F401\n"


def main() -> None:
    """Run the benchmark, and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20, help="requests of each page (%(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each open tab (%(default)s)")
    parser.add_argument("--fill", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--progress", type=float, default=0.0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.fill:
        fill_database()
    elif arguments.progress:
        report_progress(arguments.progress)
    else:
        measure(arguments.requests, arguments.seconds)


def measure(count: int, seconds: float) -> None:
    """Print all figures."""
    with tempfile.TemporaryDirectory(prefix="vidgen-bench-") as folder:
        home = Path(folder, "home")
        (home / "plugins").mkdir(parents=True)
        # The plugin of this checkout, also where the installed package is another one.
        (home / "plugins" / "videos_tab.py").write_text(_PLUGIN)
        dags = Path(folder, "dags")
        dags.mkdir()
        env = {
            "PYTHONPATH": os.pathsep.join(sys.path),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(home / "plugins"),
        }
        with LocalAirflow(dags, home=home, env=env) as airflow:
            subprocess.run([sys.executable, "-m", __spec__.name, "--fill"], env=airflow.env, check=True)
            tab = OpenTab(airflow)
            tab.print_page_times(count)
            tab.print_browser_times(count, Path(folder, "browser"))
            tab.print_cpu_shares(seconds)


class OpenTab:
    """The tab of a logged-in user."""

    def __init__(self, airflow: LocalAirflow) -> None:
        self._airflow = airflow
        self._session = requests.Session()
        self._session.trust_env = False
        login = {"username": airflow.username, "password": airflow.password}
        reply = self._session.post(f"{airflow.url}/auth/token", json=login, timeout=30)
        self._session.cookies.set("_token", reply.json()["access_token"])

    def print_page_times(self, count: int) -> None:
        """Print the median times of pages, beside a page of Airflow's own."""
        run = {"dag_id": DAG_ID, "run_id": "run_5"}
        paths = {
            "Airflow's own list of 60 task instances": "api/v2/dags/~/dagRuns/~/taskInstances?limit=60",
            f"the tab of a run of {VIDEOS} videos": f"vidgen/videos?{urlencode(run)}",
            f"the page over all Dags, {RUNS * VIDEOS} videos": "vidgen/all-videos",
        }
        own = 0.0
        print(f"{'seconds until the whole page has arrived':52} first  median  ratio")
        for name, path in paths.items():
            times = [self._time(path) for _ in range(count + 1)]
            median = statistics.median(times[1:])
            own = own or median
            print(f"{name:52} {times[0]:5.3f}  {median:6.3f}  {median / own:5.2f}")

    def print_browser_times(self, count: int, profile: Path) -> None:
        """Print the times until Chromium shows the first cards, the first time with an empty cache."""
        with running_browser(profile) as browser:
            browser.get(f"{self._airflow.url}/api/v2/version")
            browser.add_cookie({"name": "_token", "value": self._session.cookies["_token"]})
            times = []
            for _ in range(count + 1):
                query = urlencode({"dag_id": DAG_ID, "run_id": "run_5"})
                browser.get(f"{self._airflow.url}/vidgen/videos?{query}")
                times.append(browser.execute_script(_FIRST_CARDS) / 1000)
        print(f"\n{'seconds until a browser shows the first cards':52} first  median    max")
        median = statistics.median(times[1:])
        print(
            f"{f'the tab of a run of {VIDEOS} videos':52} {times[0]:5.3f}  {median:6.3f}  {max(times):5.3f}"
        )

    def _time(self, path: str) -> float:
        start = time.perf_counter()
        reply = self._session.get(f"{self._airflow.url}/{path}", timeout=60)
        reply.raise_for_status()
        return time.perf_counter() - start

    def print_cpu_shares(self, seconds: float) -> None:
        """Print the API server's share of a core for an open tab."""
        idle = self._share(lambda: time.sleep(seconds))
        print(f"\n{'share of a core used by the API server':52}  total   tab")
        print(f"{'without a tab':52} {idle:6.2%}")
        shares = {"an open tab, nothing changes": self._share(lambda: self._keep_open("run_5", seconds))}
        command = [sys.executable, "-m", __spec__.name, f"--progress={seconds}"]
        with subprocess.Popen(command, env=self._airflow.env) as progress:
            name = "an open tab, ten videos report every 2 s"
            shares[name] = self._share(lambda: self._keep_open("run_9", seconds))
            progress.wait()
        for name, share in shares.items():
            print(f"{name:52} {share:6.2%} {share - idle:6.2%}")

    def _share(self, action: Callable[[], None]) -> float:
        pids = {name: self._airflow.pid(name) for name in COMPONENTS}
        before, start = cpu_seconds(pids)["api-server"], time.monotonic()
        action()
        return (cpu_seconds(pids)["api-server"] - before) / (time.monotonic() - start)

    def _keep_open(self, run_id: str, seconds: float) -> None:
        """Ask for changes as ``live.js`` does."""
        query = {"dag_id": DAG_ID, "run_id": run_id, "first": 1, "last": 1}
        end, etag, unchanged, changed = time.monotonic() + seconds, "", 0, 0
        while True:
            reply = self._session.get(
                f"{self._airflow.url}/vidgen/cards?{urlencode(query)}",
                headers={"If-None-Match": etag},
                timeout=60,
            )
            etag = reply.headers["ETag"]
            unchanged, changed = unchanged + (reply.status_code == 304), changed + (reply.status_code == 200)
            wait = float(reply.headers["Videos-Check-After"])
            if time.monotonic() + wait > end:
                time.sleep(max(0.0, end - time.monotonic()))
                print(f"({run_id}: {unchanged} checks without a change, {changed} with one)", file=sys.stderr)
                return
            time.sleep(wait)


# --- in a process with Airflow's settings ---------------------------------------------------------------


def fill_database() -> None:
    """Write the runs; the videos of the last one are rendering."""
    from dev.videos_in_database import START, VideosInDatabase

    database = VideosInDatabase()
    prompt = "A slow camera move around a brushed steel espresso machine, warm morning light, premium style"
    for run in range(RUNS):
        run_id = f"run_{run}"
        is_last = run == RUNS - 1
        rows = [
            {
                "map_index": index,
                "state": "deferred" if is_last else "success",
                "name": f"product {index}",
                "video": {
                    **{"v": 1, "state": "rendering" if is_last else "landed", "since": START.isoformat()},
                    **{"prompt": prompt, "vendor": "apixo", "vendor_name": "Apixo", "model": "grok-video"},
                    **{"job_id": f"task_{run}_{index}", "submitted_at": START.isoformat()},
                    "cost": {"amount": 0.12, "currency": "USD", "basis": "reported"},
                    "files": [{"path": f"s3://videos/{run}/{index}.mp4", "bytes": 4_200_000}],
                },
                "progress": {"state": "running", "percent": 10},
            }
            for index in range(VIDEOS)
        ]
        database.add_tasks(rows, dag_run_id=database.add_run(DAG_ID, run_id), dag_id=DAG_ID, run_id=run_id)


def report_progress(seconds: float) -> None:
    """Set the progress of ten videos every two seconds."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import update

    end, percent = time.monotonic() + seconds, 10
    while time.monotonic() < end:
        percent += 1
        with create_session() as session:
            session.execute(
                update(XComModel)
                .where(XComModel.run_id == f"run_{RUNS - 1}", XComModel.key == "progress")
                .where(XComModel.map_index < 10)
                .values(
                    value=XComModel.serialize_value({"state": "running", "percent": percent}),
                    timestamp=datetime.now(UTC),
                )
            )
        time.sleep(2.0)


if __name__ == "__main__":
    main()
