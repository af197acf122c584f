# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The environment of the chaos run: an Airflow, the simulator, and the proxy between the two."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from airflow_provider_vidgen.simulator import SimulatorClient
from dev.chaos.connections import EditableConnections, connection_fields
from dev.chaos.fault_proxy import FaultProxy, FaultRule
from dev.chaos.runner import TIMEOUTS, ChaosRunner
from dev.chaos.scenarios import SPEED, VIDEO_PARAMS
from dev.local_airflow import LocalAirflow
from dev.local_simulator import LocalSimulator

_ROOT = Path(__file__).resolve().parents[2]
_DAGS = Path(__file__).resolve().parent / "dags"
#: Virtual seconds of rendering: half of the ten real seconds that a deferred task waits at least.
_JOB_SECONDS = 5 * SPEED
#: Short timeouts, so that a killed triggerer or worker is noticed soon.
_TIMEOUTS = {
    **TIMEOUTS,
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "8",
    "AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MAX": "10",
}


@contextmanager
def chaos_environment(
    folder: Path,
    *,
    outage: float = 30,
    render: bool = True,
    ignore_ledger: bool = False,
    template_dir: Path | None = None,
    log: Callable[[str], None] = print,
) -> Iterator[ChaosRunner]:
    """
    Start all servers, and end all their processes afterwards.

    :param folder: folder for all files.
    :param outage: seconds for which the API server or the simulator is down.
    :param render: render real videos, and decode each one that was landed.
    :param ignore_ledger: see :class:`~dev.chaos.runner.ChaosRunner`.
    :param template_dir: see :class:`~dev.local_airflow.LocalAirflow`.
    :param log: receives progress messages.
    """
    arguments = [
        f"--job-seconds={_JOB_SECONDS}",
        "--render" if render else "--no-render",
        '--option=requests_per_minute={"apixo": null}',
        '--option=concurrent_jobs={"apixo": null}',
    ]
    with (
        FaultProxy() as proxy,
        FaultProxy() as wrong_server,
        LocalSimulator(
            speed=SPEED,
            arguments=[*arguments, f"--public-url={proxy.url}"],
            log=folder / "simulator.log",
        ) as simulator,
    ):
        proxy.upstream_port = wrong_server.upstream_port = urlsplit(simulator.url).port or 0
        wrong_server.add(FaultRule([""], "answer 404", max_matches=sys.maxsize))
        path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
        with LocalAirflow(
            _DAGS,
            home=folder / "airflow",
            env={**_TIMEOUTS, **_connections(proxy.url), "PYTHONPATH": path},
            parallelism=20,
            template_dir=template_dir,
            start_timeout=180,
        ) as airflow:
            yield ChaosRunner(
                airflow,
                SimulatorClient(simulator.url),
                proxy,
                EditableConnections(airflow, proxy.url, wrong_server.url),
                folder,
                outage=outage,
                decode=render,
                ignore_ledger=ignore_ledger,
                log=log,
            )


def _connections(url: str) -> dict[str, str]:
    return {
        f"AIRFLOW_CONN_VIDGEN_{vendor.upper()}": json.dumps(connection_fields(vendor, url))
        for vendor in VIDEO_PARAMS
    }
