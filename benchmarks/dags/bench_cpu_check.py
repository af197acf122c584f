# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""No contenders: an empty task, and one that burns a known time, to check the accounting with."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from airflow.sdk import DAG, task

TASKS = int(os.environ["VIDGEN_BENCH_CHECKS"])
BURN = "import sys, time\nwhile time.process_time() < float(sys.argv[1]): pass"


@task
def nothing(number: int) -> None:
    """Do nothing: what any task costs."""


@task
def burn(seconds: float) -> None:
    """Use up CPU time, half of it in a child."""
    end = time.process_time() + seconds / 2
    while time.process_time() < end:
        pass
    subprocess.run([sys.executable, "-S", "-c", BURN, str(seconds / 2)], check=True)


with DAG(dag_id="check_nothing", schedule=None):
    nothing.expand(number=list(range(TASKS)))

with DAG(dag_id="check_burn", schedule=None):
    burn.expand(seconds=[float(os.environ["VIDGEN_BENCH_BURN"])] * TASKS)
