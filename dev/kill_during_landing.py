# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Kill workers at random points of a landing, and check after each kill that no partial file is visible.

Each worker is a fork of this process, so that hundreds of kills take minutes. It is killed with SIGKILL after
a random fraction of the duration of a landing. At the end each file is landed once more, by workers whose
clock is so late that partial files of other workers count as abandoned.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dev.servers.storage import LocalS3

#: Longer than a landing leaves other workers' partial files in place.
_CLEANUP_DELAY = timedelta(hours=1, minutes=5)


@dataclass
class Outcome:
    """
    Result of the run.

    :param landed: number of files that were complete after the retry.
    :param partial: files, or sidecars, that were visible while incomplete.
    :param mismatched: files whose sidecar has another checksum, and sidecars without a file.
    :param unfinished: files that were missing after the retry.
    :param temporary_before: number of temporary files before the retries.
    :param temporary: temporary files after the retries.
    :param failed_retries: number of retries that raised an error.
    """

    kills: int = 0
    landed: int = 0
    partial: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    temporary_before: int = 0
    temporary: list[str] = field(default_factory=list)
    failed_retries: int = 0


def main() -> None:
    """Kill workers, and print the outcome as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True, help="base URL of the server of the videos")
    parser.add_argument("--videos", required=True, help="JSON object: SHA-256 by file name")
    parser.add_argument("--output", required=True, help="target folder: file://, s3:// or sftp://")
    parser.add_argument("--kills", type=int, default=200, help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="for the random delays (%(default)s)")
    args = parser.parse_args()
    outcome = run(args.server, json.loads(args.videos), args.output, args.kills, args.seed)
    print(json.dumps(asdict(outcome)))


def run(server: str, videos: dict[str, str], output: str, kills: int, seed: int) -> Outcome:
    """Land videos under new names, and kill the workers that do so."""
    # Imported before the forks, so that the workers are killed while they land a file.
    import airflow.sdk  # noqa: F401
    import requests  # noqa: F401
    from airflow.sdk.lineage import get_hook_lineage_collector

    import airflow_provider_vidgen.http.result_links  # noqa: F401

    get_hook_lineage_collector()

    outcome, rng, number = Outcome(), random.Random(seed), 0
    names = list(videos)
    durations: dict[str, float] = {}
    for name in names:
        started = time.monotonic()
        _reap(_fork(server, name, f"{output}warm-up-{name}"))
        durations[name] = time.monotonic() - started
    checksums: dict[str, str] = {}
    while outcome.kills < kills:
        name = names[number % len(names)]
        target = f"{output}{number:04}.mp4"
        checksums[target] = videos[name]
        worker = _fork(server, name, target)
        time.sleep(rng.uniform(0, durations[name] * 1.1))
        os.kill(worker, signal.SIGKILL)
        killed = os.WIFSIGNALED(_reap(worker))
        outcome.kills += killed
        is_visible = _check(target, videos[name], outcome)
        if not killed or (is_visible and rng.random() < 0.8):
            number += 1
    outcome.temporary_before = sum(map(_is_temporary, _file_names(output)))
    for index, (target, digest) in enumerate(checksums.items()):
        if _reap(_fork(server, names[index % len(names)], target, is_retry=True)):
            outcome.failed_retries += 1
        if _check(target, digest, outcome):
            outcome.landed += 1
        else:
            outcome.unfinished.append(target)
    outcome.temporary = [name for name in _file_names(output) if _is_temporary(name)]
    return outcome


def _is_temporary(name: str) -> bool:
    return not name.endswith((".mp4", ".json"))


def _fork(server: str, name: str, target: str, *, is_retry: bool = False) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        _land(f"{server}/{name}", target, is_retry)
    except BaseException:
        traceback.print_exc(file=sys.stderr)
        os._exit(1)
    os._exit(0)


def _reap(pid: int) -> int:
    return os.waitpid(pid, 0)[1]


def _land(link: str, target: str, is_retry: bool) -> None:
    from airflow_provider_vidgen.connection import ConnectionSettings
    from airflow_provider_vidgen.landing import Landing
    from airflow_provider_vidgen.models import VideoJob

    settings = ConnectionSettings.read(
        "killed",
        host="http://127.0.0.1:9",
        password="sk-0123456789abcdef",
        extra={"vendor": "apixo", "allow_private_urls": True},
    )
    job = VideoJob(
        vendor="apixo", base_url="http://127.0.0.1:9", model="grok-video", task_id=Path(target).stem
    )
    clock_offset = _CLEANUP_DELAY if is_retry else timedelta()
    Landing(settings, verify=False, now=lambda: datetime.now(UTC) + clock_offset).land(
        [link], target, job=job
    )


def _check(target: str, digest: str, outcome: Outcome) -> bool:
    """Read a file and its sidecar, note what is wrong with them, and return whether the file is visible."""
    content, sidecar = _read(target), _read(f"{target}.json")
    if content is not None and hashlib.sha256(content).hexdigest() != digest:
        outcome.partial.append(target)
    if sidecar is not None:
        try:
            recorded = json.loads(sidecar)["file"]["sha256"]
        except (ValueError, KeyError):
            outcome.partial.append(f"{target}.json")
        else:
            if recorded != digest or content is None:
                outcome.mismatched.append(target)
    return content is not None


def _read(target: str) -> bytes | None:
    parts = urlsplit(target)
    if parts.scheme in ("file", "sftp"):
        path = _local_path(target)
        return path.read_bytes() if path.exists() else None
    client = _s3_client()
    try:
        body: bytes = client.get_object(Bucket=parts.hostname, Key=parts.path.lstrip("/"))["Body"].read()
    except client.exceptions.NoSuchKey:
        return None
    return body


def _file_names(output: str) -> Iterator[str]:
    parts = urlsplit(output)
    if parts.scheme in ("file", "sftp"):
        yield from (path.name for path in _local_path(output).iterdir())
        return
    for page in _s3_client().get_paginator("list_objects_v2").paginate(Bucket=parts.hostname):
        yield from (item["Key"] for item in page.get("Contents", ()))


def _local_path(target: str) -> Path:
    """Return the local path of a file, also of one on the SFTP server."""
    parts = urlsplit(target)
    root = os.environ["SFTP_FOLDER"] if parts.scheme == "sftp" else "/"
    return Path(root, parts.path.lstrip("/"))


def _s3_client() -> Any:
    return LocalS3.from_connection(os.environ["AIRFLOW_CONN_AWS_DEFAULT"]).client()


if __name__ == "__main__":
    main()
