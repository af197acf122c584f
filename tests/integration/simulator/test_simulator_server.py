# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""The simulator as a process, its clock, and its pictures."""

from __future__ import annotations

import io
import re
import signal
import subprocess
import sys
import time

import av
import pytest
import requests
from simulator_calls import TIMEOUT, VENDORS, created, finished_link, order, word

from airflow_provider_vidgen.simulator import Simulator, SimulatorClient
from airflow_provider_vidgen.simulator.__main__ import main


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_runs_as_a_process_and_ends_cleanly(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "airflow_provider_vidgen.simulator", "--no-render", "--speed", "0"]
    command += ["--job-seconds", "7", "--api-key", "mine", "--option", "apimart_create_format=list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("simulator listening on http://127.0.0.1:")
        client = SimulatorClient(line.split()[-1])
        assert client.options()["apimart_create_format"] == "list"
        assert (client.options()["job_seconds"], client.options()["api_keys"]) == (7, ["mine"])
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, "", "")


def test_an_option_that_does_not_fit_is_told_before_it_runs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--option", "expired_link_response=418", "--job-seconds=-1", "--no-render"])
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert "expired_link_response=418" in said
    assert "job_seconds=-1" in said


def test_it_imports_neither_airflow_nor_the_packages_own_reading_of_the_vendors() -> None:
    code = (
        "import sys, airflow_provider_vidgen.simulator.__main__\n"
        "print([name for name in sys.modules if name == 'airflow' or name.startswith('airflow.')"
        " or name.startswith('airflow_provider_vidgen.vendors') or name in ('av', 'PIL')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_clock_that_runs_fast_ends_jobs_by_itself() -> None:
    with Simulator(render=False, speed=200) as sim:
        task_id = created(sim, "apixo")
        end = time.monotonic() + 5
        while word(sim, "apixo", task_id) != "success":
            assert time.monotonic() < end
            time.sleep(0.02)


def test_time_can_stand_still_go_on_and_jump(sim: Simulator) -> None:
    assert sim.now() == sim.now()
    before = sim.now()
    sim.advance(100)
    assert sim.now() == before + 100
    sim.set_speed(1_000_000)
    sim.set_speed(0)
    assert sim.now() > before + 100


def test_many_small_steps_lead_as_far_as_one_large_one(sim: Simulator) -> None:
    task_id = created(sim, "apixo")
    for _ in range(30):
        sim.advance(0.7 - 0.1 / 3)
    assert word(sim, "apixo", task_id) == "success"


def test_two_simulators_do_not_know_each_other() -> None:
    with Simulator(render=False) as one, Simulator(render=False) as other:
        created(one, "apimart")
        assert other.jobs() == []


@pytest.mark.parametrize(
    ("vendor", "form"),
    [
        ("apimodels", "cl[0-9a-z]{23}"),
        ("apixo", "task_[0-9]{18}"),
        ("apixgo", "task_[0-9a-zA-Z]{32}"),
        ("apimart", "task_01JN[0-9A-HJKMNP-TV-Z]{18}"),
    ],
)
def test_each_vendor_has_its_own_form_of_ids(sim: Simulator, vendor: str, form: str) -> None:
    assert re.fullmatch(form, created(sim, vendor))


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_simulator_never_gives_an_id_that_an_earlier_one_gave(vendor: str) -> None:
    """A file of an earlier start would be taken for the new job's."""
    given: list[str] = []
    for _ in range(2):
        with Simulator(render=False, options={"concurrent_jobs": {"apixo": None}}) as sim:
            given += [created(sim, vendor) for _ in range(20)]
            sim.reset()
            sim.options(concurrent_jobs={"apixo": None})
            given += [created(sim, vendor) for _ in range(20)]
    assert len(set(given)) == 80


def test_a_seed_brings_the_same_ids_again() -> None:
    given = []
    for _ in range(2):
        with Simulator(render=False, seed=7) as sim:
            given.append([created(sim, vendor) for vendor in VENDORS])
            sim.reset()
            given.append([created(sim, vendor) for vendor in VENDORS])
    assert given == [given[0]] * 4


def test_a_port_in_use_is_told() -> None:
    with Simulator(render=False) as one:
        port = int(one.url.rsplit(":", 1)[1])
        with pytest.raises(RuntimeError, match="did not start"):
            Simulator(render=False, port=port).start()


@pytest.mark.parametrize(
    ("vendor", "more", "size", "seconds"),
    [
        ("apixo", {}, (854, 480), 6),
        ("apixo", {"aspect_ratio": "3:2", "resolution": "720p", "duration": 10}, (1080, 720), 10),
        ("apixgo", {"seconds": 4, "aspect_ratio": "9:16"}, (720, 1280), 4),
        ("apimart", {"size": "1:1"}, (480, 480), 6),
        ("apimodels", {"size": "1080P"}, (1920, 1080), 5),
    ],
)
def test_a_rendered_video_plays_as_it_was_ordered(
    vendor: str, more: dict[str, object], size: tuple[int, int], seconds: int
) -> None:
    with Simulator(render=True, speed=0) as sim:
        url = finished_link(sim, vendor, order(vendor, "A dog running on the beach, slow motion", **more))
        content = requests.get(url, timeout=TIMEOUT).content
        again = requests.get(url, timeout=TIMEOUT).content
    assert content == again
    with av.open(io.BytesIO(content), "r") as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.width, stream.codec_context.height) == size
        assert container.duration is not None
        assert container.duration / av.time_base == pytest.approx(seconds, abs=0.2)
        frames = list(container.decode(stream))
    assert len(frames) == seconds * 8
    # It moves.
    assert bytes(frames[0].planes[0]) != bytes(frames[-1].planes[0])


def test_a_client_that_leaves_a_download_does_not_spoil_it_for_the_next() -> None:
    with Simulator(render=True, speed=0) as sim:
        url = finished_link(sim, "apimart", order("apimart", duration=30, quality="720p"))
        with pytest.raises(requests.ReadTimeout):
            requests.get(url, timeout=0.05)
        assert requests.get(url, timeout=TIMEOUT).content[4:8] == b"ftyp"


def test_a_long_prompt_without_spaces_is_drawn() -> None:
    with Simulator(render=True, speed=0) as sim:
        url = finished_link(sim, "apixgo", order("apixgo", "雨夜霓虹街道上的红色跑车" * 20, seconds=1))
        assert requests.get(url, timeout=TIMEOUT).content[4:8] == b"ftyp"
