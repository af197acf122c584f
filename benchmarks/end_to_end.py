# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
What a video costs Airflow and the vendor: ``make bench-end-to-end``.

A real Airflow (scheduler, API server, dag processor, triggerer; LocalExecutor on SQLite) makes the same
mapped videos at the same simulated vendor in three ways, in turn: the operator of this package, the operator
and the rescheduling sensor of Airflow's http provider with a download task, and one plain task that sleeps.
See ``benchmarks/dags``. ``--growth`` shows how the cost of a video goes with their number, ``--apixo`` has
fifty videos made at once by a vendor that takes ten, and ``--capacity`` sixty by an account that takes five,
with twenty trigger slots.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Sequence

from benchmarks.measured_airflow import Measured, Rig

_CONTENDERS = {
    "ours": "VideoGenerationOperator, deferrable",
    "chain": "HttpOperator, HttpSensor, download",
    "plain": "one task that sleeps",
}
#: Of the check of the accounting: how many tasks burn how many seconds each.
_CHECKS, _BURN = 8, 2.0
#: APIModels: "Poll every 5-10 seconds".
_ADVISED_INTERVAL = 5.0
_APIXO_SECONDS = 20.0
_APIXO_TIMEOUT = 3600.0
#: ``[triggerer] capacity`` of ``--capacity``: fewer than there are tasks, more than the account takes jobs.
_TRIGGER_SLOTS = 20


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=int, default=10, help="in one run (%(default)s)")
    parser.add_argument("--seconds", type=float, default=30, help="the vendor takes for each (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    parser.add_argument(
        "--poke", type=float, default=5, help="seconds between the others' checks (%(default)s)"
    )
    parser.add_argument(
        "--heartbeat",
        type=float,
        default=2,
        help="[workers] min_heartbeat_interval (%(default)s). With Airflow's 5 the chain needs --poke 10: "
        "the end of a task is noticed up to 5 s late, and a sensor that is back earlier is failed",
    )
    parser.add_argument("--contenders", nargs="+", choices=_CONTENDERS, default=list(_CONTENDERS))
    parser.add_argument("--idle", type=float, default=30, help="seconds to measure the idle Airflow for")
    parser.add_argument("--growth", type=int, nargs="*", help="run ours with so many videos (5 10 20)")
    parser.add_argument("--apixo", type=int, nargs="?", const=50, help="so many videos at Apixo (50)")
    parser.add_argument(
        "--capacity", type=int, nargs="?", const=60, help="so many videos at an account that takes five (60)"
    )
    args = parser.parse_args()
    if args.capacity is not None:
        capacity(args.capacity, args.heartbeat, args.idle)
    elif args.apixo is not None:
        apixo(args.apixo, args.heartbeat, args.idle)
    elif args.growth is not None:
        growth(args.growth or [5, 10, 20], args)
    else:
        compare(args)


def rig(
    counts: Sequence[int],
    args: argparse.Namespace,
    at_apixo: int = 1,
    at_small_account: int = 1,
    trigger_slots: int = 1000,
) -> Rig:
    """Return Airflow and simulator with Dags for so many videos, and for one to warm up with."""
    env = {
        "VIDGEN_BENCH_VIDEOS": ",".join(map(str, {1, *counts})),
        "VIDGEN_BENCH_POKE": str(args.poke),
        "VIDGEN_BENCH_CHECKS": str(_CHECKS),
        "VIDGEN_BENCH_BURN": str(_BURN),
        "VIDGEN_BENCH_APIXO": str(at_apixo),
        "VIDGEN_BENCH_CAPACITY": str(at_small_account),
        "AIRFLOW__TRIGGERER__CAPACITY": str(trigger_slots),
    }
    return Rig(args.seconds, args.heartbeat, env)


def compare(args: argparse.Namespace) -> None:
    """Run the contenders in turn, and print the tables."""
    videos = args.videos
    with rig([videos], args) as bench:
        warm = [f"{name}_1" for name in args.contenders] + ["check_nothing"]
        bench.prepare([*warm, "check_burn", *(f"{name}_{videos}" for name in args.contenders)])
        bench.run_unmeasured(warm)
        check(bench, args.idle)
        found: dict[str, list[Measured]] = {name: [] for name in args.contenders}
        for number in range(args.rounds):
            bench.rest(args.idle)
            for name in args.contenders:
                measured = bench.run(f"{name}_{videos}")
                found[name].append(measured)
                print(f"round {number + 1}, {name}: {trouble(measured, videos) or 'whole'}", flush=True)
    title = f"\n{videos} videos of {args.seconds:g} s at once, {args.rounds} rounds, medians for each video\n"
    print(title)
    header("")
    for name, runs in found.items():
        row(_CONTENDERS[name], runs, videos)
    ratios(found, args)


def growth(counts: Sequence[int], args: argparse.Namespace) -> None:
    """Run ours with more and more videos."""
    with rig(counts, args) as bench:
        bench.prepare(["ours_1", *(f"ours_{videos}" for videos in counts)])
        bench.run_unmeasured(["ours_1"])
        found: dict[int, list[Measured]] = {videos: [] for videos in counts}
        for _ in range(args.rounds):
            bench.rest(args.idle)
            for videos in counts:
                measured = bench.run(f"ours_{videos}")
                found[videos].append(measured)
                print(f"{videos} videos: {trouble(measured, videos) or 'whole'}", flush=True)
    print(f"\nours, videos of {args.seconds:g} s at once, {args.rounds} rounds, medians for each video\n")
    header("videos")
    for videos, runs in found.items():
        row(str(videos), runs, videos)


def apixo(videos: int, heartbeat: float, idle: float) -> None:
    """Have more videos made at once than the vendor takes."""
    args = argparse.Namespace(seconds=_APIXO_SECONDS, heartbeat=heartbeat, poke=5)
    with rig([], args, videos) as bench:
        bench.prepare(["ours_1", "apixo"])
        bench.run_unmeasured(["ours_1"])
        bench.rest(idle)
        found = bench.run("apixo", timeout=_APIXO_TIMEOUT)
    print(
        f"\n{videos} videos of {_APIXO_SECONDS:g} s at a vendor that takes 10 jobs and 60 requests a minute\n"
    )
    table(videos, {"": found})


def capacity(videos: int, heartbeat: float, idle: float) -> None:
    """Have more videos made at once than the account takes and the triggerer has slots."""
    args = argparse.Namespace(seconds=_APIXO_SECONDS, heartbeat=heartbeat, poke=5)
    with rig([], args, at_small_account=videos, trigger_slots=_TRIGGER_SLOTS) as bench:
        dags = {"max_concurrent is set": "capacity_known", "it is not": "capacity_unknown"}
        bench.prepare(["ours_1", *dags.values()])
        bench.run_unmeasured(["ours_1"])
        bench.rest(idle)
        found = {name: bench.run(dag_id, timeout=_APIXO_TIMEOUT) for name, dag_id in dags.items()}
    print(
        f"\n{videos} videos of {_APIXO_SECONDS:g} s at an account that takes 5 jobs, and "
        f"{_TRIGGER_SLOTS} trigger slots\n"
    )
    table(videos, found)


def table(videos: int, runs: dict[str, Measured]) -> None:
    """Print runs side by side."""
    columns = [figures(videos, run) for run in runs.values()]
    print(f"| | {' | '.join(runs)} |\n|{'---|' * (1 + len(runs))}")
    for name in columns[0]:
        print(f"| {name} | {' | '.join(column[name] for column in columns)} |")


def figures(videos: int, found: Measured) -> dict[str, str]:
    """Return what one run cost."""
    vendor = found.vendor
    return {
        "succeeded": f"{found.states['success']} of {videos}",
        "failed tries": str(found.failed_tries),
        "billed": f"{vendor.jobs}, {vendor.twice} of them more than once",
        "requests: POST + GET + file": f"{vendor.submits} + {vendor.checks} + {vendor.downloads}",
        "of those answered with 429": f"{vendor.refused} ({vendor.refused / max(vendor.requests, 1):.1%})",
        "wall time": f"{found.wall:.0f} s",
        "cores busy": f"{found.busy:.0%}",
        "worker slot, each video": f"{found.slot_seconds / videos:.1f} s",
        "of it at work": f"{found.at_work / videos:.1f} s",
        "most slots at once": str(found.most_slots),
        "CPU workers, each video": f"{found.cpu['workers'] / videos:.2f} s",
        "CPU all of Airflow, each video": f"{found.cpu_of_all / videos:.2f} s",
        "noticed after, p50 / p90 / max": spread(vendor.noticed, 0.9),
    }


def check(bench: Rig, idle: float) -> None:
    """Print how well the accounting finds a known use of CPU."""
    rest = bench.rest(idle)
    nothing, burn = bench.run("check_nothing"), bench.run("check_burn")
    seen = burn.cpu["workers"] - nothing.cpu["workers"]
    print(f"idle Airflow: {sum(rest.values()):.3f} CPU s a second (taken off below)")
    print(f"check: {_CHECKS} tasks burnt {_CHECKS * _BURN:.1f} CPU s, {seen:.1f} s were found")
    print(
        f"an empty task: {nothing.cpu['workers'] / _CHECKS:.2f} CPU s of workers, "
        f"{nothing.cpu_of_all / _CHECKS:.2f} of all; slot {nothing.slot_seconds / _CHECKS:.1f} s, "
        f"{nothing.at_work / _CHECKS:.1f} s of it at work",
        flush=True,
    )


def trouble(run: Measured, videos: int) -> str:
    """Say what is missing."""
    states = {state: count for state, count in run.states.items() if state != "success"}
    short = f"{len(run.files)} of {videos} files" if len(run.files) != videos else ""
    return ", ".join(filter(None, [short, str(states) if states else ""]))


def header(first: str) -> None:
    """Print the head of the table."""
    columns = [
        first,
        "CPU workers",
        "CPU triggerer",
        "CPU all of Airflow",
        "worker slot",
        "of it at work",
        "POST + GET + file",
        "noticed after, p50 / max",
        "fetched after, p50 / max",
        "wall time",
        "cores busy",
    ]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")


def row(name: str, runs: Sequence[Measured], videos: int) -> None:
    """Print the medians of one contender, for each video."""

    def each(figure: Callable[[Measured], float]) -> float:
        # What is nothing may have come out a little below it.
        return max(0.0, statistics.median(figure(run) for run in runs) / videos)

    noticed = [seconds for run in runs for seconds in run.vendor.noticed]
    fetched = [seconds for run in runs for seconds in run.vendor.fetched]
    columns = [
        name,
        f"{each(lambda run: run.cpu['workers']):.2f} s",
        f"{each(lambda run: run.cpu['triggerer']):.2f} s",
        f"{each(lambda run: run.cpu_of_all):.2f} s",
        f"{each(lambda run: run.slot_seconds):.1f} s",
        f"{each(lambda run: run.at_work):.1f} s",
        f"{each(lambda run: run.vendor.submits):.1f} + {each(lambda run: run.vendor.checks):.1f} "
        f"+ {each(lambda run: run.vendor.downloads):.1f}",
        spread(noticed),
        spread(fetched),
        f"{statistics.median(run.wall for run in runs):.0f} s",
        f"{statistics.median(run.busy for run in runs):.0%}",
    ]
    print(f"| {' | '.join(columns)} |")


def spread(seconds: Sequence[float], *quantiles: float) -> str:
    """Return the middle, what is asked for in between, and the longest."""
    if not seconds:
        return ""
    ordered = sorted(seconds)
    between = [ordered[math.ceil(part * len(ordered)) - 1] for part in quantiles]
    return " / ".join(f"{value:.1f}" for value in (statistics.median(ordered), *between, ordered[-1])) + " s"


def ratios(found: dict[str, list[Measured]], args: argparse.Namespace) -> None:
    """Print how ours compares, round by round."""

    def ratio(what: str, other: str, figure: Callable[[Measured], float]) -> None:
        if {"ours", other} <= set(found):
            each = [figure(a) / figure(b) for a, b in zip(found["ours"], found[other], strict=True)]
            print(f"| {what} | {statistics.median(each):.2f} | {min(each):.2f} to {max(each):.2f} |")

    print("\n| ours divided by | median | rounds |\n|---|---|---|")
    ratio("CPU of all of Airflow, of the chain", "chain", lambda run: run.cpu_of_all)
    ratio("CPU of workers, of the chain", "chain", lambda run: run.cpu["workers"])
    ratio("worker slots, of the chain", "chain", lambda run: run.slot_seconds)
    ratio("CPU of all of Airflow, of the plain task", "plain", lambda run: run.cpu_of_all)
    ratio("worker slots, of the plain task", "plain", lambda run: run.slot_seconds)
    ratio("worker slots at work, of the plain task", "plain", lambda run: run.at_work)
    advised = 1 + math.ceil(args.seconds / _ADVISED_INTERVAL) + 1 + 1
    for run in found.get("ours", []):
        asked = run.vendor.requests / args.videos
        print(f"\nrequests of ours: {asked:.1f} for each video; the vendor's advice allows {advised}", end="")
    print()
    for run in found.get("plain", []):
        print(f"cross-check: plain's slots are {run.slot_seconds / run.task_seconds:.3f} of its durations")


if __name__ == "__main__":
    main()
