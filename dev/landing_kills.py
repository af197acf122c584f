# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Kill a worker that lands files, again and again, and look at what can be seen after each kill.

Each worker is a fork of this process, so that hundreds of kills take minutes. It is killed with SIGKILL after
a random share of the time that a whole landing takes. At the end each file is landed once more, by workers
whose clock is past the time for which the parts of others are left alone.
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

from dev.object_stores import LocalS3

#: Longer than a landing leaves the parts of others alone.
_PATIENCE = timedelta(hours=1, minutes=5)


@dataclass
class Outcome:
    """What was seen."""

    kills: int = 0
    landed: int = 0
    partial: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    litter_before: int = 0
    litter: list[str] = field(default_factory=list)
    failed: int = 0


def main() -> None:
    """Run it, and print the outcome as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", required=True, help="URL of the store of results")
    parser.add_argument("--films", required=True, help="JSON: file name to SHA-256")
    parser.add_argument("--output", required=True, help="folder to land in: file://, s3:// or sftp://")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    print(json.dumps(asdict(run(args.store, json.loads(args.films), args.output, args.kills, args.seed))))


def run(store: str, films: dict[str, str], output: str, kills: int, seed: int) -> Outcome:
    """Land films under ever new names, and kill whoever does it."""
    import airflow.sdk  # noqa: F401  # so that the forks need not import it
    import requests  # noqa: F401

    outcome, chance, number = Outcome(), random.Random(seed), 0
    names = list(films)
    whole: dict[str, float] = {}
    for name in names:
        started = time.monotonic()
        _reap(_fork(store, name, f"{output}warm-up-{name}"))
        whole[name] = time.monotonic() - started
    wanted: dict[str, str] = {}
    while outcome.kills < kills:
        name = names[number % len(names)]
        target = f"{output}{number:04}.mp4"
        wanted[target] = films[name]
        worker = _fork(store, name, target)
        time.sleep(chance.uniform(0, whole[name] * 1.1))
        os.kill(worker, signal.SIGKILL)
        killed = os.WIFSIGNALED(_reap(worker))
        outcome.kills += killed
        seen = _look(target, films[name], outcome)
        if not killed or (seen and chance.random() < 0.8):
            number += 1
    outcome.litter_before = sum(map(_is_litter, _names(output)))
    for turn, (target, digest) in enumerate(wanted.items()):
        if _reap(_fork(store, names[turn % len(names)], target, later=True)):
            outcome.failed += 1
        if _look(target, digest, outcome):
            outcome.landed += 1
        else:
            outcome.unfinished.append(target)
    outcome.litter = [name for name in _names(output) if _is_litter(name)]
    return outcome


def _is_litter(name: str) -> bool:
    return not name.endswith((".mp4", ".json"))


def _fork(store: str, name: str, target: str, *, later: bool = False) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        _land(f"{store}/{name}", target, later)
    except BaseException:
        traceback.print_exc(file=sys.stderr)
        os._exit(1)
    os._exit(0)


def _reap(pid: int) -> int:
    return os.waitpid(pid, 0)[1]


def _land(link: str, target: str, later: bool) -> None:
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
    late = _PATIENCE if later else timedelta()
    Landing(settings, verify=False, now=lambda: datetime.now(UTC) + late).land([link], target, job=job)


def _look(target: str, digest: str, outcome: Outcome) -> bool:
    """Look at one file as anybody else would."""
    content, beside = _read(target), _read(f"{target}.json")
    if content is not None and hashlib.sha256(content).hexdigest() != digest:
        outcome.partial.append(target)
    if beside is not None:
        try:
            told = json.loads(beside)["file"]["sha256"]
        except (ValueError, KeyError):
            outcome.partial.append(f"{target}.json")
        else:
            if told != digest or content is None:
                outcome.wrong.append(target)
    return content is not None


def _read(target: str) -> bytes | None:
    parts = urlsplit(target)
    if parts.scheme in ("file", "sftp"):
        path = _on_disk(target)
        return path.read_bytes() if path.exists() else None
    client = _s3()
    try:
        body: bytes = client.get_object(Bucket=parts.hostname, Key=parts.path.lstrip("/"))["Body"].read()
    except client.exceptions.NoSuchKey:
        return None
    return body


def _names(output: str) -> Iterator[str]:
    parts = urlsplit(output)
    if parts.scheme in ("file", "sftp"):
        yield from (path.name for path in _on_disk(output).iterdir())
        return
    for page in _s3().get_paginator("list_objects_v2").paginate(Bucket=parts.hostname):
        yield from (found["Key"] for found in page.get("Contents", ()))


def _on_disk(target: str) -> Path:
    """Return where a file is on this machine; that of an SFTP server, too."""
    parts = urlsplit(target)
    root = os.environ["SFTP_FOLDER"] if parts.scheme == "sftp" else "/"
    return Path(root, parts.path.lstrip("/"))


def _s3() -> Any:
    return LocalS3.of_connection(os.environ["AIRFLOW_CONN_AWS_DEFAULT"]).client()


if __name__ == "__main__":
    main()
