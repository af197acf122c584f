# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
What importing the operators costs a Dag file: ``make bench-import``.

Each line after the first is what its import costs on top of the first, timed in the same fresh interpreter;
the interpreters take turns, so that a noisy minute hits all alike. The comparison is Airflow's own http
operator, where ``apache-airflow-providers-http`` is installed.
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
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=15)
    rounds = options.parse_args().rounds
    cases = {name: (BASE, case) for name, case in CASES.items()}
    cases["airflow.sdk.BaseOperator alone"] = ("", BASE)
    if importlib.util.find_spec("airflow.providers.http") is None:
        del cases["+ Airflow's HttpOperator"]
    for base, case in cases.values():
        measure(base, case)  # fills the caches of compiled files
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, (base, case) in cases.items():
            times[name].append(measure(base, case))
    print(f"{'import':<34} {'least':>8} {'median':>8} {'most':>8}   ({rounds} rounds)")
    for name, taken in times.items():
        least, median, most = min(taken), statistics.median(taken), max(taken)
        print(f"{name:<34} {least:>5.0f} ms {median:>5.0f} ms {most:>5.0f} ms")


if __name__ == "__main__":
    main()
