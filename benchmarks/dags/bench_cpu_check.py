# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Not contenders: empty tasks, and tasks with a known CPU time, to check the measurement."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from airflow.sdk import DAG, task

TASKS = int(os.environ["VIDGEN_BENCH_CHECK_TASKS"])
USE_CPU = "import sys, time\nwhile time.process_time() < float(sys.argv[1]): pass"


@task
def empty(number: int) -> None:
    """Do nothing, to measure the cost of any task."""


@task
def use_cpu(seconds: float) -> None:
    """Use CPU time, half of it in a child process."""
    end = time.process_time() + seconds / 2
    while time.process_time() < end:
        pass
    subprocess.run([sys.executable, "-S", "-c", USE_CPU, str(seconds / 2)], check=True)


with DAG(dag_id="cpu_check_empty", schedule=None):
    empty.expand(number=list(range(TASKS)))

with DAG(dag_id="cpu_check_used", schedule=None):
    use_cpu.expand(seconds=[float(os.environ["VIDGEN_BENCH_CHECK_CPU_SECONDS"])] * TASKS)
