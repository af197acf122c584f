# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
How fast a large file lands, and in how much memory.

Local disk against curl, and S3 (moto's server) against boto3's ``upload_fileobj`` of the same stream; each
contender in a process of its own, in turn, the one that begins changing each round.

Before a contender begins, as much is written to the disk and removed as it, or moto, will write. On a virtual
machine memory that nobody has used for some seconds is slow to get, and who had imported for longer would pay
for it. So would who finds a moto that has got its memory already: each contender has one of its own.
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

from dev.servers.video_server import VideoServer, write_random_mp4
from dev.servers.storage import BUCKET, LocalS3, local_s3

_MIB = 1024**2
_ROOT = Path(__file__).parents[1]
#: A small film that everybody fetches beforehand, to have all imported and connected.
_FIRST = "first.mp4"

#: Moto's server keeps a large object so many times while its parts are put together.
_COPIES = 4

#: Brings a link to a target.
Run = Callable[[str, str], Any]
#: Gives somewhere to land.
Place = Callable[[], AbstractContextManager[str]]


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--mib", type=int, default=1024, help="size of the file for the local disk; 0 leaves it out"
    )
    parser.add_argument("--s3-mib", type=int, default=256, help="size of the file for S3; 0 leaves S3 out")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--contender", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(Path(args.serve))
    elif args.contender:
        name, link, target, size = args.contender
        print(json.dumps(contend(name, link, target, int(size))))
    else:
        compare(args.mib, args.s3_mib, args.rounds)


def serve(folder: Path) -> None:
    """Be the store of results, in a process of its own."""
    server = VideoServer(folder)
    with server.running():
        print(server.url, flush=True)
        sys.stdin.read()


def compare(mib: int, s3_mib: int, rounds: int) -> None:
    """Print a table of all contenders."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vidgen-bench-")))
        (folder / "films").mkdir()
        write_random_mp4(folder / "films" / _FIRST, _MIB)
        for size in {mib, s3_mib} - {0}:
            write_random_mp4(folder / "films" / f"{size}.mp4", size * _MIB)
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
        if mib:
            table("local disk", ("curl", "landing"), f"{url}/{mib}.mp4", new_folder, mib, rounds)
        if s3_mib:
            table("S3", ("boto3", "landing"), f"{url}/{s3_mib}.mp4", new_s3, s3_mib, rounds)


@contextmanager
def new_folder() -> Iterator[str]:
    """Give an empty place on the disk."""
    with tempfile.TemporaryDirectory(prefix="vidgen-bench-") as folder:
        yield f"file://{folder}"


@contextmanager
def new_s3() -> Iterator[str]:
    """Give an empty place in an S3 that nobody has used."""
    with local_s3() as store:
        os.environ["AIRFLOW_CONN_AWS_DEFAULT"] = store.connection
        yield f"s3://aws_default@{BUCKET}"


def table(where: str, names: tuple[str, str], link: str, place: Place, mib: int, rounds: int) -> None:
    """Run two contenders in turn, and print what they needed."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names[:: -1 if number % 2 else 1]:
            with place() as folder:
                told = subprocess.run(
                    [sys.executable, __file__, "--contender", name, link, f"{folder}/landed.mp4", f"{mib}"],
                    check=True,
                    stdout=subprocess.PIPE,
                    env={**os.environ, "PYTHONPATH": str(_ROOT)},
                )
            found[name].append(json.loads(told.stdout.splitlines()[-1]))
    print(f"\n{where}, {mib} MiB, {rounds} rounds")
    print("| | median | best | memory it grew by |\n|---|---|---|---|")
    medians = {}
    for name, runs in found.items():
        seconds = [run["seconds"] for run in runs]
        medians[name] = statistics.median(seconds)
        grown = "" if name == "curl" else f"{max(run['grown_mib'] for run in runs):.1f} MiB"
        print(f"| {name} | {mib / medians[name]:.0f} MiB/s | {mib / min(seconds):.0f} MiB/s | {grown} |")
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(*found.values(), strict=True)]
    print(
        f"landing is {statistics.median(ratios):.2f} times as fast as {names[0]} "
        f"(each round: {', '.join(f'{ratio:.2f}' for ratio in ratios)})"
    )


def contend(name: str, link: str, target: str, mib: int) -> dict[str, float]:
    """Return the seconds a contender took, and by how many MiB the process has grown at its largest."""
    run = CONTENDERS[name]()
    run(f"{link.rpartition('/')[0]}/{_FIRST}", f"{target}-first")
    use_memory(mib * (_COPIES if target.startswith("s3:") else 1))
    before = resident()
    started = time.perf_counter()
    run(link, target)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "grown_mib": max(0.0, peak - before)}


def use_memory(mib: int) -> None:
    """Write so much to the disk and remove it, and wait until the disk has nothing more to do."""
    with tempfile.TemporaryFile() as file:
        block = bytes(_MIB)
        for _ in range(mib):
            file.write(block)
    os.sync()


def resident() -> float:
    """Return the memory in use now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / _MIB


def curl() -> Run:
    """Download with curl."""

    def run(link: str, target: str) -> None:
        path = Path(target.removeprefix("file://"))
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["curl", "-sS", "--fail", "-o", str(path), link], check=True)

    return run


def boto3() -> Run:
    """Upload the same stream with boto3."""
    import requests

    client = LocalS3.from_connection(os.environ["AIRFLOW_CONN_AWS_DEFAULT"]).client()

    def run(link: str, target: str) -> None:
        with requests.get(link, stream=True, timeout=60) as reply:
            client.upload_fileobj(reply.raw, BUCKET, target.partition(f"{BUCKET}/")[2])

    return run


def landing() -> Run:
    """Land it."""
    from airflow_provider_vidgen.landing import Landing
    from airflow_provider_vidgen.transport.settings import ConnectionSettings

    extra = {"vendor": "apixo", "allow_private_urls": True}
    settings = ConnectionSettings.read(
        "bench", host="http://127.0.0.1:9", password="sk-0123456789abcdef", extra=extra
    )
    room = Landing(settings, verify=False)
    return lambda link, target: room.land([link], target)


CONTENDERS: dict[str, Callable[[], Run]] = {"curl": curl, "boto3": boto3, "landing": landing}


if __name__ == "__main__":
    main()
