# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
What a video costs Airflow and the vendor: ``make bench-end-to-end``.

A real Airflow (scheduler, API server, dag processor, triggerer; LocalExecutor on SQLite) generates the same
mapped videos at the same simulated vendor in three ways, in turn: with this provider's operator, with the
operator and the rescheduling sensor of Airflow's http provider and a download task, and with one Python task
that sleeps between polls. The Dags are in ``benchmarks/dags``. ``--scaling`` measures the cost of a video for
several numbers of videos, ``--apixo-limits`` generates fifty videos at a vendor that accepts ten at once, and
``--account-limit`` sixty with an account that accepts five, with twenty trigger slots.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Sequence

from benchmarks.measured_airflow import MeasuredAirflow, Measurement

_CONTENDERS = {
    "vidgen": "VideoGenerationOperator, deferrable",
    "http_provider": "HttpOperator, HttpSensor, download",
    "python_task": "one Python task that sleeps",
}
#: Number of tasks in the check of the measurement, and the CPU seconds that each of them uses.
_CHECK_TASKS, _CHECK_CPU_SECONDS = 8, 2.0
#: APIModels: "Poll every 5-10 seconds".
_ADVISED_INTERVAL = 5.0
_LIMITS_JOB_SECONDS = 20.0
_LIMITS_TIMEOUT = 3600.0
#: ``[triggerer] capacity`` of ``--account-limit``: less than the tasks, more than the account's job limit.
_TRIGGER_SLOTS = 20


def main() -> None:
    """Run the selected benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=int, default=10, help="videos in a run (%(default)s)")
    parser.add_argument(
        "--job-seconds", type=float, default=30, help="rendering time of a video (%(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    parser.add_argument(
        "--poll-interval", type=float, default=5, help="of the other contenders, in seconds (%(default)s)"
    )
    parser.add_argument(
        "--heartbeat-interval",
        type=float,
        default=2,
        help="[workers] min_heartbeat_interval (%(default)s). Airflow's default of 5 requires "
        "--poll-interval 10: the end of a task is noticed up to 5 s late, and a sensor that is rescheduled "
        "earlier fails",
    )
    parser.add_argument("--contenders", nargs="+", choices=_CONTENDERS, default=list(_CONTENDERS))
    parser.add_argument(
        "--idle-seconds", type=float, default=30, help="duration of the idle measurement (%(default)s)"
    )
    parser.add_argument(
        "--scaling", type=int, nargs="*", help="numbers of videos, this provider only (5 10 20)"
    )
    parser.add_argument("--apixo-limits", type=int, nargs="?", const=50, help="number of videos (50)")
    parser.add_argument("--account-limit", type=int, nargs="?", const=60, help="number of videos (60)")
    args = parser.parse_args()
    if args.account_limit is not None:
        measure_account_limit(args.account_limit, args.heartbeat_interval, args.idle_seconds)
    elif args.apixo_limits is not None:
        measure_apixo_limits(args.apixo_limits, args.heartbeat_interval, args.idle_seconds)
    elif args.scaling is not None:
        measure_scaling(args.scaling or [5, 10, 20], args)
    else:
        compare_contenders(args)


def measured_airflow(
    video_counts: Sequence[int],
    *,
    job_seconds: float,
    heartbeat_interval: float,
    poll_interval: float = 5,
    apixo_videos: int = 1,
    account_videos: int = 1,
    trigger_slots: int = 1000,
) -> MeasuredAirflow:
    """Return Airflow and the simulator with Dags for these numbers of videos, and for one to warm up."""
    env = {
        "VIDGEN_BENCH_VIDEOS": ",".join(map(str, {1, *video_counts})),
        "VIDGEN_BENCH_POLL_INTERVAL": str(poll_interval),
        "VIDGEN_BENCH_CHECK_TASKS": str(_CHECK_TASKS),
        "VIDGEN_BENCH_CHECK_CPU_SECONDS": str(_CHECK_CPU_SECONDS),
        "VIDGEN_BENCH_APIXO_VIDEOS": str(apixo_videos),
        "VIDGEN_BENCH_ACCOUNT_VIDEOS": str(account_videos),
        "AIRFLOW__TRIGGERER__CAPACITY": str(trigger_slots),
    }
    return MeasuredAirflow(job_seconds, heartbeat_interval, env)


def compare_contenders(args: argparse.Namespace) -> None:
    """Run the contenders in turn, and print the tables."""
    videos = args.videos
    with measured_airflow(
        [videos],
        job_seconds=args.job_seconds,
        heartbeat_interval=args.heartbeat_interval,
        poll_interval=args.poll_interval,
    ) as airflow:
        warm_up = [f"{name}_1" for name in args.contenders] + ["cpu_check_empty"]
        airflow.wait_for_dags([*warm_up, "cpu_check_used", *(f"{name}_{videos}" for name in args.contenders)])
        airflow.warm_up(warm_up)
        check_cpu_measurement(airflow, args.idle_seconds)
        runs: dict[str, list[Measurement]] = {name: [] for name in args.contenders}
        for number in range(args.rounds):
            airflow.measure_idle(args.idle_seconds)
            for name in args.contenders:
                run = airflow.measure_run(f"{name}_{videos}")
                runs[name].append(run)
                print(f"round {number + 1}, {name}: {problems(run, videos) or 'complete'}", flush=True)
    print(
        f"\n{videos} videos of {args.job_seconds:g} s at once, {args.rounds} rounds, medians for each video\n"
    )
    print_header("")
    for name, contender_runs in runs.items():
        print_row(_CONTENDERS[name], contender_runs, videos)
    print_ratios(runs, args)


def measure_scaling(video_counts: Sequence[int], args: argparse.Namespace) -> None:
    """Run this provider's operator with several numbers of videos."""
    with measured_airflow(
        video_counts, job_seconds=args.job_seconds, heartbeat_interval=args.heartbeat_interval
    ) as airflow:
        airflow.wait_for_dags(["vidgen_1", *(f"vidgen_{videos}" for videos in video_counts)])
        airflow.warm_up(["vidgen_1"])
        runs: dict[int, list[Measurement]] = {videos: [] for videos in video_counts}
        for _ in range(args.rounds):
            airflow.measure_idle(args.idle_seconds)
            for videos in video_counts:
                run = airflow.measure_run(f"vidgen_{videos}")
                runs[videos].append(run)
                print(f"{videos} videos: {problems(run, videos) or 'complete'}", flush=True)
    print(f"\nvideos of {args.job_seconds:g} s at once, {args.rounds} rounds, medians for each video\n")
    print_header("videos")
    for videos, count_runs in runs.items():
        print_row(str(videos), count_runs, videos)


def measure_apixo_limits(videos: int, heartbeat_interval: float, idle_seconds: float) -> None:
    """Generate more videos at once than the vendor's limits permit."""
    with measured_airflow(
        [], job_seconds=_LIMITS_JOB_SECONDS, heartbeat_interval=heartbeat_interval, apixo_videos=videos
    ) as airflow:
        airflow.wait_for_dags(["vidgen_1", "apixo_limits"])
        airflow.warm_up(["vidgen_1"])
        airflow.measure_idle(idle_seconds)
        run = airflow.measure_run("apixo_limits", timeout=_LIMITS_TIMEOUT)
    print(
        f"\n{videos} videos of {_LIMITS_JOB_SECONDS:g} s at a vendor that accepts 10 jobs at once and "
        "60 requests a minute\n"
    )
    print_columns(videos, {"": run})


def measure_account_limit(videos: int, heartbeat_interval: float, idle_seconds: float) -> None:
    """Generate more videos at once than the account's job limit and the trigger slots permit."""
    with measured_airflow(
        [],
        job_seconds=_LIMITS_JOB_SECONDS,
        heartbeat_interval=heartbeat_interval,
        account_videos=videos,
        trigger_slots=_TRIGGER_SLOTS,
    ) as airflow:
        dag_ids = {
            "max_concurrent is set": "account_known_limit",
            "it is not": "account_unknown_limit",
        }
        airflow.wait_for_dags(["vidgen_1", *dag_ids.values()])
        airflow.warm_up(["vidgen_1"])
        airflow.measure_idle(idle_seconds)
        runs = {
            name: airflow.measure_run(dag_id, timeout=_LIMITS_TIMEOUT) for name, dag_id in dag_ids.items()
        }
    print(
        f"\n{videos} videos of {_LIMITS_JOB_SECONDS:g} s with an account that accepts 5 jobs at once, and "
        f"{_TRIGGER_SLOTS} trigger slots\n"
    )
    print_columns(videos, runs)


def check_cpu_measurement(airflow: MeasuredAirflow, idle_seconds: float) -> None:
    """Print how accurately a known use of CPU is measured."""
    idle = airflow.measure_idle(idle_seconds)
    empty, used = airflow.measure_run("cpu_check_empty"), airflow.measure_run("cpu_check_used")
    measured = used.cpu["workers"] - empty.cpu["workers"]
    print(f"idle Airflow: {sum(idle.values()):.3f} CPU s per second (subtracted below)")
    expected = _CHECK_TASKS * _CHECK_CPU_SECONDS
    print(f"check: {_CHECK_TASKS} tasks used {expected:.1f} CPU s, {measured:.1f} s were measured")
    print(
        f"an empty task: {empty.cpu['workers'] / _CHECK_TASKS:.2f} CPU s of workers, "
        f"{empty.total_cpu / _CHECK_TASKS:.2f} of all; slot {empty.slot_seconds / _CHECK_TASKS:.1f} s, "
        f"{empty.task_process_seconds / _CHECK_TASKS:.1f} s of it with a task process",
        flush=True,
    )


def problems(run: Measurement, videos: int) -> str:
    """Return which videos are missing; empty if none is."""
    states = {state: count for state, count in run.states.items() if state != "success"}
    missing = f"{run.file_count} of {videos} files" if run.file_count != videos else ""
    return ", ".join(filter(None, [missing, str(states) if states else ""]))


def print_columns(videos: int, runs: dict[str, Measurement]) -> None:
    """Print a table with a column for each run."""
    columns = [figures(videos, run) for run in runs.values()]
    print(f"| | {' | '.join(runs)} |\n|{'---|' * (1 + len(runs))}")
    for name in columns[0]:
        print(f"| {name} | {' | '.join(column[name] for column in columns)} |")


def figures(videos: int, run: Measurement) -> dict[str, str]:
    """Return the figures of one run by name."""
    vendor = run.vendor
    rate_limited = vendor.rate_limited
    return {
        "succeeded": f"{run.states['success']} of {videos}",
        "failed tries": str(run.failed_tries),
        "billed": f"{vendor.jobs}, {vendor.billed_twice} of them more than once",
        "requests: POST + GET + file": (
            f"{vendor.submissions} + {vendor.status_requests} + {vendor.downloads}"
        ),
        "of those answered with 429": f"{rate_limited} ({rate_limited / max(vendor.requests, 1):.1%})",
        "wall time": f"{run.wall:.0f} s",
        "cores busy": f"{run.cores_busy:.0%}",
        "worker slot, each video": f"{run.slot_seconds / videos:.1f} s",
        "with a task process": f"{run.task_process_seconds / videos:.1f} s",
        "most slots at once": str(run.max_slots),
        "CPU workers, each video": f"{run.cpu['workers'] / videos:.2f} s",
        "CPU all of Airflow, each video": f"{run.total_cpu / videos:.2f} s",
        "noticed after, p50 / p90 / max": quantiles(vendor.notice_delays, 0.9),
    }


def print_header(first_column: str) -> None:
    """Print the header of the table whose rows :func:`print_row` prints."""
    columns = [
        first_column,
        "CPU workers",
        "CPU triggerer",
        "CPU all of Airflow",
        "worker slot",
        "with a task process",
        "POST + GET + file",
        "noticed after, p50 / max",
        "fetched after, p50 / max",
        "wall time",
        "cores busy",
    ]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")


def print_row(name: str, runs: Sequence[Measurement], videos: int) -> None:
    """Print the medians of several runs, for each video."""

    def per_video(figure: Callable[[Measurement], float]) -> float:
        # A CPU time of nearly zero may be negative after the idle CPU time is subtracted.
        return max(0.0, statistics.median(figure(run) for run in runs) / videos)

    notice_delays = [delay for run in runs for delay in run.vendor.notice_delays]
    download_delays = [delay for run in runs for delay in run.vendor.download_delays]
    columns = [
        name,
        f"{per_video(lambda run: run.cpu['workers']):.2f} s",
        f"{per_video(lambda run: run.cpu['triggerer']):.2f} s",
        f"{per_video(lambda run: run.total_cpu):.2f} s",
        f"{per_video(lambda run: run.slot_seconds):.1f} s",
        f"{per_video(lambda run: run.task_process_seconds):.1f} s",
        f"{per_video(lambda run: run.vendor.submissions):.1f} "
        f"+ {per_video(lambda run: run.vendor.status_requests):.1f} "
        f"+ {per_video(lambda run: run.vendor.downloads):.1f}",
        quantiles(notice_delays),
        quantiles(download_delays),
        f"{statistics.median(run.wall for run in runs):.0f} s",
        f"{statistics.median(run.cores_busy for run in runs):.0%}",
    ]
    print(f"| {' | '.join(columns)} |")


def quantiles(seconds: Sequence[float], *fractions: float) -> str:
    """Return the median, the quantiles at these fractions, and the maximum."""
    if not seconds:
        return ""
    ordered = sorted(seconds)
    between = [ordered[math.ceil(fraction * len(ordered)) - 1] for fraction in fractions]
    return " / ".join(f"{value:.1f}" for value in (statistics.median(ordered), *between, ordered[-1])) + " s"


def print_ratios(runs: dict[str, list[Measurement]], args: argparse.Namespace) -> None:
    """Print this provider's figures relative to the other contenders', round by round."""

    def print_ratio(title: str, other: str, figure: Callable[[Measurement], float]) -> None:
        if {"vidgen", other} <= set(runs):
            ratios = [
                figure(vidgen_run) / figure(other_run)
                for vidgen_run, other_run in zip(runs["vidgen"], runs[other], strict=True)
            ]
            print(f"| {title} | {statistics.median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f} |")

    print("\n| this provider divided by | median | rounds |\n|---|---|---|")
    print_ratio("CPU of all of Airflow, http provider", "http_provider", lambda run: run.total_cpu)
    print_ratio("CPU of workers, http provider", "http_provider", lambda run: run.cpu["workers"])
    print_ratio("worker slots, http provider", "http_provider", lambda run: run.slot_seconds)
    print_ratio("CPU of all of Airflow, Python task", "python_task", lambda run: run.total_cpu)
    print_ratio("worker slots, Python task", "python_task", lambda run: run.slot_seconds)
    print_ratio(
        "worker slots with a task process, Python task",
        "python_task",
        lambda run: run.task_process_seconds,
    )
    advised = 1 + math.ceil(args.job_seconds / _ADVISED_INTERVAL) + 1 + 1
    for run in runs.get("vidgen", []):
        sent = run.vendor.requests / args.videos
        print(f"\nthis provider sent {sent:.1f} requests for each video; the vendor advises up to {advised}")
    for run in runs.get("python_task", []):
        ratio = run.slot_seconds / run.task_seconds
        print(f"cross-check: the Python task's slots are {ratio:.3f} of the durations that Airflow shows")


if __name__ == "__main__":
    main()
