# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Speed and memory of landing a large file: ``make bench-landing``.

Landing on local disk is compared with curl, and landing in S3 (moto) with boto3's ``upload_fileobj`` of the
same stream. Each contender runs in its own process, in turn; the order alternates between rounds.

Before a contender starts, as much data as it, or moto, will write is written to disk and removed. On a
virtual machine, memory that was unused for some seconds is slow to allocate, which would be a disadvantage
for the contender with the longer imports. For the same reason each contender gets a new moto server.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.process_usage import resident_memory
from dev.servers.storage import BUCKET, LocalS3, local_s3
from dev.servers.video_server import VideoServer, write_random_mp4

_MIB = 1024**2
_ROOT = Path(__file__).parents[1]
#: A small video that every contender downloads first, to perform all imports and connections.
_WARM_UP_VIDEO = "warm-up.mp4"

#: Number of copies of an object in moto's memory while it joins the parts of an upload.
_MOTO_COPIES = 4

#: Copies a link to a target.
Copy = Callable[[str, str], Any]
#: Provides an empty target folder.
Target = Callable[[], AbstractContextManager[str]]


def main() -> None:
    """Compare the contenders, or run one of them or the video server in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--disk-mib", type=int, default=1024, help="file size for local disk, 0 to skip it (%(default)s)"
    )
    parser.add_argument(
        "--s3-mib", type=int, default=256, help="file size for S3, 0 to skip it (%(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--run-contender", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(Path(args.serve))
    elif args.run_contender:
        name, link, target, size = args.run_contender
        print(json.dumps(run_contender(name, link, target, int(size))))
    else:
        compare(args.disk_mib, args.s3_mib, args.rounds)


def serve(folder: Path) -> None:
    """Serve the videos of a folder until standard input is closed; the first line of output is the URL."""
    server = VideoServer(folder)
    with server.running():
        print(server.url, flush=True)
        sys.stdin.read()


def compare(disk_mib: int, s3_mib: int, rounds: int) -> None:
    """Run all contenders, and print the tables."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vidgen-bench-")))
        (folder / "videos").mkdir()
        write_random_mp4(folder / "videos" / _WARM_UP_VIDEO, _MIB)
        for size in {disk_mib, s3_mib} - {0}:
            write_random_mp4(folder / "videos" / f"{size}.mp4", size * _MIB)
        server = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.landing", "--serve", str(folder / "videos")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=_ROOT,
            )
        )
        stack.callback(server.terminate)
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        if disk_mib:
            print_comparison(
                "local disk", ("curl", "landing"), f"{url}/{disk_mib}.mp4", new_folder, disk_mib, rounds
            )
        if s3_mib:
            print_comparison("S3", ("boto3", "landing"), f"{url}/{s3_mib}.mp4", new_s3, s3_mib, rounds)


@contextmanager
def new_folder() -> Iterator[str]:
    """Provide an empty folder on local disk."""
    with tempfile.TemporaryDirectory(prefix="vidgen-bench-") as folder:
        yield f"file://{folder}"


@contextmanager
def new_s3() -> Iterator[str]:
    """Provide an empty bucket of a new S3 server."""
    with local_s3() as store:
        os.environ["AIRFLOW_CONN_AWS_DEFAULT"] = store.connection
        yield f"s3://aws_default@{BUCKET}"


def print_comparison(
    title: str, names: tuple[str, str], link: str, new_target: Target, mib: int, rounds: int
) -> None:
    """Run two contenders in turn, and print their speed and memory."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names[:: -1 if number % 2 else 1]:
            with new_target() as folder:
                process = subprocess.run(
                    [
                        *(sys.executable, "-m", "benchmarks.landing", "--run-contender"),
                        *(name, link, f"{folder}/landed.mp4", str(mib)),
                    ],
                    check=True,
                    stdout=subprocess.PIPE,
                    env={**os.environ, "PYTHONPATH": str(_ROOT)},
                )
            runs[name].append(json.loads(process.stdout.splitlines()[-1]))
    print(f"\n{title}, {mib} MiB, {rounds} rounds")
    print("| | median | best | memory growth |\n|---|---|---|---|")
    medians = {}
    for name, contender_runs in runs.items():
        seconds = [run["seconds"] for run in contender_runs]
        medians[name] = statistics.median(seconds)
        growth = "" if name == "curl" else f"{max(run['growth_mib'] for run in contender_runs):.1f} MiB"
        print(f"| {name} | {mib / medians[name]:.0f} MiB/s | {mib / min(seconds):.0f} MiB/s | {growth} |")
    ratios = [
        baseline["seconds"] / landed["seconds"]
        for baseline, landed in zip(runs[names[0]], runs[names[1]], strict=True)
    ]
    print(
        f"landing is {statistics.median(ratios):.2f} times as fast as {names[0]} "
        f"(rounds: {', '.join(f'{ratio:.2f}' for ratio in ratios)})"
    )


def run_contender(name: str, link: str, target: str, mib: int) -> dict[str, float]:
    """Run a contender; return its duration in seconds and the peak growth of its memory in MiB."""
    copy = CONTENDERS[name]()
    copy(f"{link.rpartition('/')[0]}/{_WARM_UP_VIDEO}", f"{target}-warm-up")
    write_to_disk(mib * (_MOTO_COPIES if target.startswith("s3:") else 1))
    before = resident_memory()
    started = time.perf_counter()
    copy(link, target)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "growth_mib": max(0.0, peak - before)}


def write_to_disk(mib: int) -> None:
    """Write data to disk, remove it, and wait until the disk is idle."""
    with tempfile.TemporaryFile() as file:
        block = bytes(_MIB)
        for _ in range(mib):
            file.write(block)
    os.sync()


def curl() -> Copy:
    """Download with curl."""

    def copy(link: str, target: str) -> None:
        path = Path(target.removeprefix("file://"))
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["curl", "-sS", "--fail", "-o", str(path), link], check=True)

    return copy


def boto3() -> Copy:
    """Upload the same stream with boto3."""
    import requests

    client = LocalS3.from_connection(os.environ["AIRFLOW_CONN_AWS_DEFAULT"]).client()

    def copy(link: str, target: str) -> None:
        with requests.get(link, stream=True, timeout=60) as response:
            client.upload_fileobj(response.raw, BUCKET, target.partition(f"{BUCKET}/")[2])

    return copy


def landing() -> Copy:
    """Land with this provider."""
    from airflow_provider_vidgen.connection import ConnectionSettings
    from airflow_provider_vidgen.landing import Landing

    extra = {"vendor": "apixo", "allow_private_urls": True}
    settings = ConnectionSettings.read(
        "bench", host="http://127.0.0.1:9", password="sk-0123456789abcdef", extra=extra
    )
    service = Landing(settings, verify=False)
    return lambda link, target: service.land([link], target)


CONTENDERS: dict[str, Callable[[], Copy]] = {"curl": curl, "boto3": boto3, "landing": landing}


if __name__ == "__main__":
    main()
