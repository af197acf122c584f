# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""The simulator as a process: command line, imports, clock and job ids."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time

import pytest
from simulator_calls import VENDORS, create_job, vendor_state

from airflow_provider_vidgen.simulator import Simulator, SimulatorClient
from airflow_provider_vidgen.simulator.__main__ import main


@pytest.mark.parametrize("stop_signal", [signal.SIGINT, signal.SIGTERM])
def test_the_process_stops_cleanly_on_a_signal(stop_signal: signal.Signals) -> None:
    command = [sys.executable, "-m", "airflow_provider_vidgen.simulator", "--no-render", "--speed", "0"]
    command += ["--job-seconds", "7", "--api-key", "mine", "--option", "apimart_create_format=list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("simulator listening on http://127.0.0.1:")
        client = SimulatorClient(line.split()[-1])
        assert client.options()["apimart_create_format"] == "list"
        assert (client.options()["job_seconds"], client.options()["api_keys"]) == (7, ["mine"])
        process.send_signal(stop_signal)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, "", "")


def test_invalid_options_are_reported_at_startup(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--option", "expired_link_response=418", "--job-seconds=-1", "--no-render"])
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert "expired_link_response=418" in error
    assert "job_seconds=-1" in error


def test_it_imports_neither_airflow_nor_the_packages_vendor_code_nor_the_extra() -> None:
    code = (
        "import sys, airflow_provider_vidgen.simulator.__main__\n"
        "print([name for name in sys.modules if name == 'airflow' or name.startswith('airflow.')"
        " or name.startswith('airflow_provider_vidgen.vendors') or name in ('av', 'PIL')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_fast_clock_ends_jobs_without_advance() -> None:
    with Simulator(render=False, speed=200) as sim:
        task_id = create_job(sim, "apixo")
        end = time.monotonic() + 5
        while vendor_state(sim, "apixo", task_id) != "success":
            assert time.monotonic() < end
            time.sleep(0.02)


def test_the_clock_can_be_stopped_advanced_and_sped_up(sim: Simulator) -> None:
    assert sim.now() == sim.now()
    before = sim.now()
    sim.advance(100)
    assert sim.now() == before + 100
    sim.set_speed(1_000_000)
    sim.set_speed(0)
    assert sim.now() > before + 100


def test_many_small_advances_equal_one_large_one(sim: Simulator) -> None:
    task_id = create_job(sim, "apixo")
    for _ in range(30):
        sim.advance(0.7 - 0.1 / 3)
    assert vendor_state(sim, "apixo", task_id) == "success"


def test_two_simulators_share_no_state() -> None:
    with Simulator(render=False) as one, Simulator(render=False) as other:
        create_job(one, "apimart")
        assert other.jobs() == []


@pytest.mark.parametrize(
    ("vendor", "pattern"),
    [
        ("apimodels", "cl[0-9a-z]{23}"),
        ("apixo", "task_[0-9]{18}"),
        ("apixgo", "task_[0-9a-zA-Z]{32}"),
        ("apimart", "task_01JN[0-9A-HJKMNP-TV-Z]{18}"),
    ],
)
def test_each_vendor_has_its_own_job_id_format(sim: Simulator, vendor: str, pattern: str) -> None:
    assert re.fullmatch(pattern, create_job(sim, vendor))


@pytest.mark.parametrize("vendor", VENDORS)
def test_job_ids_are_never_repeated_after_a_restart_or_reset(vendor: str) -> None:
    """With a repeated id, a file that was landed earlier would be taken for that of the new job."""
    task_ids: list[str] = []
    for _ in range(2):
        with Simulator(render=False, options={"concurrent_jobs": {"apixo": None}}) as sim:
            task_ids += [create_job(sim, vendor) for _ in range(20)]
            sim.reset()
            sim.options(concurrent_jobs={"apixo": None})
            task_ids += [create_job(sim, vendor) for _ in range(20)]
    assert len(set(task_ids)) == 80


def test_a_seed_makes_the_same_job_ids() -> None:
    task_ids = []
    for _ in range(2):
        with Simulator(render=False, seed=7) as sim:
            task_ids.append([create_job(sim, vendor) for vendor in VENDORS])
            sim.reset()
            task_ids.append([create_job(sim, vendor) for vendor in VENDORS])
    assert task_ids == [task_ids[0]] * 4


def test_a_port_in_use_is_an_error() -> None:
    with Simulator(render=False) as one:
        port = int(one.url.rsplit(":", 1)[1])
        with pytest.raises(RuntimeError, match="did not start"):
            Simulator(render=False, port=port).start()
