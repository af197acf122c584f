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

from airflow_provider_vidgen.simulator.control_access import exposure_warning
from airflow_provider_vidgen.simulator.options import NEEDS_EXTRA, Options, can_render
from airflow_provider_vidgen.simulator.server import serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM.

    :param arguments: the command line; that of the process when None.
    """
    parser = _parser()
    args = parser.parse_args(arguments)
    if args.render and not can_render():
        print(f"--render {NEEDS_EXTRA}", file=sys.stderr)
        return 2
    if warning := exposure_warning(args.host):
        print(f"warning: {warning}", file=sys.stderr, flush=True)
    options = _options(args)
    try:
        Options().changed(options)
    except ValueError as error:
        parser.error(str(error))
    asyncio.run(_serve(args, options))
    return 0


def _options(args: argparse.Namespace) -> dict[str, Any]:
    options: dict[str, Any] = dict(args.option)
    if args.job_seconds is not None:
        options["job_seconds"] = args.job_seconds
    if args.api_key:
        options["api_keys"] = args.api_key
    return options


async def _serve(args: argparse.Namespace, options: dict[str, Any]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await serve(
        stop=stop,
        on_ready=lambda url: print(f"simulator listening on {url}", flush=True),
        render_videos=args.render,
        speed=args.speed,
        start_time=args.start_time,
        seed=args.seed,
        host=args.host,
        port=args.port,
        options=options,
        public_url=args.public_url,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_vidgen.simulator", description="Four video vendors on loopback."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 selects a free one")
    parser.add_argument("--public-url", help="URL at which clients reach it, if not host and port")
    parser.add_argument(
        "--speed", type=float, default=1.0, help="virtual seconds per real second; 0 stops the clock"
    )
    parser.add_argument(
        "--start-time", type=float, help="initial virtual time, in seconds since 1970 (default: now)"
    )
    parser.add_argument("--seed", type=int, help="make the same job ids at each start")
    parser.add_argument("--job-seconds", type=float, help="time that a job takes, in virtual seconds")
    parser.add_argument(
        "--api-key", action="append", help="a valid API key, can be repeated (default: any sim-... key)"
    )
    parser.add_argument(
        "--render",
        action=argparse.BooleanOptionalAction,
        help="render real videos (default: if PyAV and Pillow are installed)",
    )
    parser.add_argument(
        "--option", action="append", default=[], type=_option, metavar="NAME=JSON", help="any other option"
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
