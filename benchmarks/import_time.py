# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
What importing the operators costs a Dag file: ``make bench-import``.

Each figure is the median over fresh interpreters, taken in turn so that a noisy minute hits all alike. The
comparison is Airflow's own http operator, where ``apache-airflow-providers-http`` is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import subprocess
import sys

BASE = "from airflow.sdk import BaseOperator"
CASES = {
    "airflow.sdk.BaseOperator alone": "",
    "+ VideoGenerationOperator": (
        "from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator"
    ),
    "+ all operators and the sensor": (
        "from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator\n"
        "from airflow_provider_vidgen.operators.video_download import VideoDownloadOperator\n"
        "from airflow_provider_vidgen.sensors.video_task import VideoTaskSensor"
    ),
    "+ Airflow's HttpOperator": "from airflow.providers.http.operators.http import HttpOperator",
}
PROGRAM = """
import time
start = time.perf_counter()
{base}
{case}
print((time.perf_counter() - start) * 1000)
"""


def measure(case: str) -> float:
    """Return the milliseconds that one fresh interpreter takes."""
    program = PROGRAM.format(base=BASE, case=case)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=15)
    rounds = options.parse_args().rounds
    cases = dict(CASES)
    if importlib.util.find_spec("airflow.providers.http") is None:
        del cases["+ Airflow's HttpOperator"]
    for case in cases.values():
        measure(case)  # fills the caches of compiled files
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            times[name].append(measure(case))
    base = statistics.median(times["airflow.sdk.BaseOperator alone"])
    print(f"{'import':<34} {'median':>9} {'more':>9}   ({rounds} rounds)")
    for name, taken in times.items():
        median = statistics.median(taken)
        print(f"{name:<34} {median:>6.0f} ms {median - base:>6.0f} ms")


if __name__ == "__main__":
    main()
