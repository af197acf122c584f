# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
A worker is killed at random points of a landing: no incomplete file ever appears, and a later try succeeds.

A few kills here; ``make kill-during-landing`` does hundreds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dev.servers.storage import LocalS3, LocalSftp
from dev.servers.video_server import VideoServer, write_random_mp4

KILLS = int(os.environ.get("VIDGEN_LANDING_KILLS", "12"))
MIB = 1024**2


@pytest.mark.parametrize("store", ["local", "s3", "sftp"])
def test_a_killed_worker_leaves_no_incomplete_file(
    store: str, s3: LocalS3, sftp: LocalSftp, tmp_path: Path
) -> None:
    films, landed = tmp_path / "films", tmp_path / "landed"
    films.mkdir()
    landed.mkdir()
    made = {
        f"{number}.mp4": write_random_mp4(films / f"{number}.mp4", size, number)
        for number, size in enumerate((3 * MIB, 9 * MIB + 1, 18 * MIB))
    }
    (sftp.folder / "killed").mkdir(exist_ok=True)
    output = {
        "local": f"file://{landed}/",
        "s3": "s3://aws_default@videos/killed/",
        "sftp": "sftp://sftp_default@/killed/",
    }[store]
    with VideoServer(films, bytes_per_second=80 * MIB).running() as server:
        process = subprocess.run(
            [
                *(sys.executable, "-m", "dev.kill_during_landing", "--server", server.url),
                *("--videos", json.dumps(made), "--output", output, "--kills", str(KILLS)),
            ],
            env={
                **os.environ,
                "AIRFLOW_CONN_AWS_DEFAULT": s3.connection,
                "AIRFLOW_CONN_SFTP_DEFAULT": sftp.connection,
                "SFTP_FOLDER": str(sftp.folder),
            },
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            timeout=60 + 5 * KILLS,
        )
        assert process.returncode == 0, process.stderr[-3000:]
        assert set(server.methods) == {"GET"}
    outcome = json.loads(process.stdout.splitlines()[-1])
    sys.stdout.write(f"{store}: {outcome}\n")
    assert outcome["kills"] >= KILLS
    for trouble in ("partial", "mismatched", "unfinished", "temporary", "failed_retries"):
        assert not outcome[trouble], (trouble, outcome, process.stderr[-3000:])
    assert outcome["landed"]
    if store == "s3":
        # Incomplete uploads are invisible, but stored: a bucket needs a lifecycle rule.
        keys = s3.client().list_objects_v2(Bucket="videos", Prefix="killed/")["Contents"]
        assert {key["Key"].rpartition(".")[2] for key in keys} == {"mp4", "json"}
