# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Import time of the operators in a Dag file: ``make bench-import``.

Each line after the first shows the additional time of its import, measured in a fresh interpreter that has
run the first. The cases take turns, so that other load on the machine affects all alike. Airflow's own http
operator is included if ``apache-airflow-providers-http`` is installed.
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
{base}
start = time.perf_counter()
{case}
print((time.perf_counter() - start) * 1000)
"""


def measure(base: str, case: str) -> float:
    """Return the milliseconds that ``case`` takes in a fresh interpreter that has run ``base``."""
    program = PROGRAM.format(base=base, case=case)
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return float(process.stdout.split()[-1])


def main() -> None:
    """Measure all cases, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="(%(default)s)")
    rounds = parser.parse_args().rounds
    cases = {name: (BASE, case) for name, case in CASES.items()}
    cases["airflow.sdk.BaseOperator alone"] = ("", BASE)
    if importlib.util.find_spec("airflow.providers.http") is None:
        del cases["+ Airflow's HttpOperator"]
    for base, case in cases.values():
        measure(base, case)  # compiles the files
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, (base, case) in cases.items():
            times[name].append(measure(base, case))
    print(f"{'import':<34} {'min':>8} {'median':>8} {'max':>8}   ({rounds} rounds)")
    for name, durations in times.items():
        median = statistics.median(durations)
        print(f"{name:<34} {min(durations):>5.0f} ms {median:>5.0f} ms {max(durations):>5.0f} ms")


if __name__ == "__main__":
    main()
