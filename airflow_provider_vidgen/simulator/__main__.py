# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""``python -m airflow_provider_vidgen.simulator``: the simulator as a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from typing import Any

from airflow_provider_vidgen.simulator.extras import MISSING, can_render
from airflow_provider_vidgen.simulator.guard import exposure
from airflow_provider_vidgen.simulator.options import Options
from airflow_provider_vidgen.simulator.server import serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted.

    :param arguments: the command line; that of the process when left out.
    """
    parser = _parser()
    told = parser.parse_args(arguments)
    if told.render and not can_render():
        print(f"--render {MISSING}", file=sys.stderr)
        return 2
    if exposed := exposure(told.host):
        print(f"warning: {exposed}", file=sys.stderr, flush=True)
    try:
        Options().changed(_options(told))
    except ValueError as error:
        parser.error(str(error))
    asyncio.run(_serve(told))
    return 0


def _options(told: argparse.Namespace) -> dict[str, Any]:
    options: dict[str, Any] = dict(told.option)
    if told.job_seconds is not None:
        options["job_seconds"] = told.job_seconds
    if told.key:
        options["keys"] = told.key
    return options


async def _serve(told: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await serve(
        stop=stop,
        ready=lambda url: print(f"simulator listening on {url}", flush=True),
        host=told.host,
        port=told.port,
        speed=told.speed,
        start=told.start,
        seed=told.seed,
        rendering=told.render,
        options=_options(told),
        public_url=told.public_url,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_vidgen.simulator", description="Four video vendors on loopback."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one")
    parser.add_argument("--public-url", help="how clients reach it, if not at host and port")
    parser.add_argument(
        "--speed", type=float, default=1.0, help="virtual seconds for each real one; 0 stands still"
    )
    parser.add_argument("--start", type=float, help="virtual time at the beginning, in seconds since 1970")
    parser.add_argument("--seed", type=int, help="gives the same ids at each start")
    parser.add_argument("--job-seconds", type=float, help="life of a job in virtual seconds")
    parser.add_argument("--key", action="append", help="a good API key, may be repeated; else any sim-...")
    parser.add_argument(
        "--render", action=argparse.BooleanOptionalAction, help="make real videos (default: if PyAV is there)"
    )
    parser.add_argument(
        "--option", action="append", default=[], type=_option, metavar="NAME=JSON", help="any other setting"
    )
    return parser


def _option(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


if __name__ == "__main__":
    sys.exit(main())
