# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
How fast a large file lands, and in how much memory.

Local disk against curl, and S3 (moto's server) against boto3's ``upload_fileobj`` of the same stream; each
contender in a process of its own, in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from dev.airflow_settings import free_port
from dev.film_server import FilmServer, make_film

_MIB = 1024**2
_ROOT = Path(__file__).parents[1]


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024, help="size of the file for the local disk")
    parser.add_argument("--s3-mib", type=int, default=256, help="size of the file for S3; 0 leaves S3 out")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--contender", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(Path(args.serve))
    elif args.contender:
        name, link, target = args.contender
        print(json.dumps(CONTENDERS[name](link, target)))
    else:
        compare(args.mib, args.s3_mib, args.rounds)


def serve(folder: Path) -> None:
    """Be the store of results, in a process of its own."""
    server = FilmServer(folder)
    with server.running():
        print(server.url, flush=True)
        sys.stdin.read()


def compare(mib: int, s3_mib: int, rounds: int) -> None:
    """Print a table of all contenders."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vidgen-bench-")))
        (folder / "films").mkdir()
        digests = {mib: make_film(folder / "films" / f"{mib}.mp4", mib * _MIB)}
        digests[s3_mib] = make_film(folder / "films" / f"{s3_mib}.mp4", s3_mib * _MIB)
        store = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.landing", "--serve", str(folder / "films")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=_ROOT,
            )
        )
        stack.callback(store.terminate)
        assert store.stdout is not None
        url = store.stdout.readline().strip()
        table("local disk", ("curl", "landing"), f"{url}/{mib}.mp4", f"file://{folder}/landed", mib, rounds)
        if s3_mib:
            os.environ["AIRFLOW_CONN_AWS_DEFAULT"] = s3_connection(stack)
            table(
                "S3", ("boto3", "landing"), f"{url}/{s3_mib}.mp4", "s3://aws_default@videos", s3_mib, rounds
            )


def table(where: str, names: tuple[str, str], link: str, folder: str, mib: int, rounds: int) -> None:
    """Run two contenders in turn, and print what they needed."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names:
            told = subprocess.run(
                [sys.executable, __file__, "--contender", name, link, f"{folder}/{name}-{number}.mp4"],
                check=True,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": str(_ROOT)},
            )
            found[name].append(json.loads(told.stdout.splitlines()[-1]))
            shutil.rmtree(folder.removeprefix("file://"), ignore_errors=True)
    print(f"\n{where}, {mib} MiB, {rounds} rounds")
    print("| | median | best | memory it grew by |\n|---|---|---|---|")
    medians = {}
    for name, runs in found.items():
        seconds = [run["seconds"] for run in runs]
        medians[name] = statistics.median(seconds)
        grown = max(run["grown_mib"] for run in runs)
        print(
            f"| {name} | {mib / medians[name]:.0f} MiB/s | {mib / min(seconds):.0f} MiB/s "
            f"| {f'{grown:.1f} MiB' if grown >= 0 else ''} |"
        )
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(*found.values(), strict=True)]
    print(
        f"landing is {statistics.median(ratios):.2f} times as fast as {names[0]} "
        f"(each round: {', '.join(f'{ratio:.2f}' for ratio in ratios)})"
    )


def s3_connection(stack: ExitStack) -> str:
    """Start an S3 with a bucket, and return Airflow's connection to it."""
    import boto3  # type: ignore[import-untyped]

    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    stack.callback(server.terminate)
    url = f"http://127.0.0.1:{port}"
    for _ in range(100):
        try:
            urlopen(f"{url}/moto-api/").close()
            break
        except OSError:
            time.sleep(0.1)
    boto3.client("s3", **s3_account(url)).create_bucket(Bucket="videos")
    extra = {"endpoint_url": url, "region_name": "us-east-1"}
    return json.dumps({"conn_type": "aws", "login": "testing", "password": "testing", "extra": extra})


def s3_account(url: str) -> dict[str, str]:
    """Return the arguments of a client."""
    return {
        "endpoint_url": url,
        "region_name": "us-east-1",
        "aws_access_key_id": "testing",
        "aws_secret_access_key": "testing",
    }


def timed(run: Callable[[], Any]) -> dict[str, float]:
    """Return the seconds something took, and by how much the process has grown at its largest."""
    before = resident()
    started = time.perf_counter()
    run()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "grown_mib": max(0.0, peak - before)}


def resident() -> float:
    """Return the memory in use now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / _MIB


def by_curl(link: str, target: str) -> dict[str, float]:
    """Download with curl."""
    path = Path(target.removeprefix("file://"))
    path.parent.mkdir(parents=True, exist_ok=True)
    told = timed(lambda: subprocess.run(["curl", "-sS", "--fail", "-o", str(path), link], check=True))
    return {**told, "grown_mib": -1.0}


def by_boto3(link: str, target: str) -> dict[str, float]:
    """Upload the same stream with boto3."""
    import boto3
    import requests

    url = json.loads(os.environ["AIRFLOW_CONN_AWS_DEFAULT"])["extra"]["endpoint_url"]
    client = boto3.client("s3", **s3_account(url))
    client.list_buckets()

    def run() -> None:
        with requests.get(link, stream=True, timeout=60) as reply:
            client.upload_fileobj(reply.raw, "videos", target.partition("videos/")[2])

    return timed(run)


def by_landing(link: str, target: str) -> dict[str, float]:
    """Land it."""
    import requests  # noqa: F401

    from airflow_provider_vidgen.landing import Landing
    from airflow_provider_vidgen.transport import download  # noqa: F401
    from airflow_provider_vidgen.transport.settings import ConnectionSettings

    extra = {"vendor": "apixo", "allow_private_urls": True}
    settings = ConnectionSettings.read(
        "bench", host="http://127.0.0.1:9", password="sk-0123456789abcdef", extra=extra
    )
    landing = Landing(settings, verify=False)
    landing.target(target).exists()  # connected, as the others are
    return timed(lambda: landing.land([link], target))


CONTENDERS = {"curl": by_curl, "boto3": by_boto3, "landing": by_landing}


if __name__ == "__main__":
    main()
