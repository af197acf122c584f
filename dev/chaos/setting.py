# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The stage: an Airflow, the simulator, and the proxy between the two."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from airflow_provider_vidgen.simulator import SimulatorClient
from dev.chaos.plan import ORDERS, SPEED
from dev.chaos.proxy import Proxy, Rule
from dev.chaos.rounds import IMPATIENT, Runner
from dev.chaos.typed import TypedConnections, connection
from dev.local_airflow import LocalAirflow
from dev.local_simulator import LocalSimulator

_ROOT = Path(__file__).resolve().parents[2]
_DAGS = Path(__file__).resolve().parent / "dags"
#: Virtual seconds a job takes: half of the ten real seconds a deferred task waits anyway.
_JOB_SECONDS = 5 * SPEED
#: A scheduler that is gone and a worker that is gone are noticed this soon; the rest is the harness's pace.
_PACE = {
    **IMPATIENT,
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "8",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "8",
    "AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MAX": "10",
}


@contextmanager
def stage(
    folder: Path,
    *,
    outage: float = 30,
    rendering: bool = True,
    forgetful: bool = False,
    template_dir: Path | None = None,
    say: Callable[[str], None] = print,
) -> Iterator[Runner]:
    """
    Set everything up, and end every process of it afterwards.

    :param folder: for everything that is written.
    :param outage: seconds that the API server or the simulator stay down.
    :param rendering: make real videos, and decode each one that was landed.
    :param forgetful: see :class:`~dev.chaos.rounds.Runner`.
    """
    arguments = [
        f"--job-seconds={_JOB_SECONDS}",
        "--render" if rendering else "--no-render",
        '--option=requests_per_minute={"apixo": null}',
        '--option=concurrent_jobs={"apixo": null}',
    ]
    with (
        Proxy() as proxy,
        Proxy() as elsewhere,
        LocalSimulator(
            speed=SPEED,
            arguments=[*arguments, f"--public-url={proxy.url}"],
            log=folder / "simulator.log",
        ) as simulator,
    ):
        proxy.upstream = elsewhere.upstream = urlsplit(simulator.url).port or 0
        elsewhere.add(Rule([""], "not here", times=sys.maxsize))
        path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
        with LocalAirflow(
            _DAGS,
            home=folder / "airflow",
            env={**_PACE, **_environment(proxy.url), "PYTHONPATH": path},
            parallelism=20,
            template_dir=template_dir,
            start_timeout=180,
        ) as airflow:
            yield Runner(
                airflow,
                SimulatorClient(simulator.url),
                proxy,
                TypedConnections(airflow, proxy.url, elsewhere.url),
                folder,
                outage=outage,
                plays=rendering,
                forgetful=forgetful,
                say=say,
            )


def _environment(url: str) -> dict[str, str]:
    return {f"AIRFLOW_CONN_VIDGEN_{vendor.upper()}": json.dumps(connection(vendor, url)) for vendor in ORDERS}
