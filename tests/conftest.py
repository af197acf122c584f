# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The order of the tests, their marks, and their distribution over processes (``pytest -n``)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# The time of one example says nothing while an Airflow runs on the same cores.
hypothesis.settings.register_profile("no-deadline", deadline=None)
hypothesis.settings.load_profile("no-deadline")

# Before any test imports Airflow. Each process has a home of its own: Airflow writes its configuration there.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="vidgen-tests-")

_TESTS = Path(__file__).resolve().parent

#: The cheap suites first, so that a failure is seen early.
SUITES = ("unit", "integration", "system")
#: Modules and folders of a suite that do not have their place by name: negative comes before all others.
POSITIONS = {
    "own_airflow": -9,
    # Counts on Airflow's timeouts, so it runs when the start of the other chain is over.
    "test_chaos.py": 1,
    # Kills a worker at once: Airflow notices that only after half a minute without a heartbeat.
    "test_reattach.py": -1,
    # Their results are produced in the background while the other tests run.
    "test_vendor_capacity.py": 1,
    "test_example_dags.py": 2,
    # Searches everything that the other tests made Airflow write.
    "test_leaks.py": 3,
}
#: Marks by folder or file.
MARKS = {
    "system": ("system", "slow"),
    "system/own_airflow/test_chaos.py": ("chaos",),
    "integration/landing/test_killed_landing.py": ("chaos", "slow"),
    "integration/landing/test_playback_in_a_browser.py": ("slow",),
    "integration/videos_tab": ("slow",),
}
#: Beginnings of node ids. The system tests run in two chains, each in one process and in order: those that
#: start an Airflow of their own, and all others, which share one.
CHAINS = ("tests/system/own_airflow/", "tests/system/")


def pytest_configure() -> None:
    """Reject marks and positions of files that have been renamed."""
    names = {path.name for path in _TESTS.rglob("*")}
    gone = [path for path in MARKS if not (_TESTS / path).exists()] + sorted(POSITIONS.keys() - names)
    if gone:
        raise pytest.UsageError(f"tests/conftest.py names files that do not exist: {gone}")


#: Variables of the developer's environment that change how the package connects to a host.
NETWORK_VARIABLES = (
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("requests_ca_bundle", "curl_ca_bundle", "ssl_cert_file", "ssl_cert_dir"),
)


@pytest.fixture(scope="session", autouse=True)
def _no_network_variables() -> Iterator[None]:
    """Remove proxies, certificates and ``.netrc`` of the developer from the environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name in NETWORK_VARIABLES:
            patch.delenv(name, raising=False)
            patch.delenv(name.upper(), raising=False)
        patch.setenv("NETRC", os.devnull)
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests, and mark them before ``-m`` selects by marks."""
    items.sort(key=_position)
    for item in items:
        path = item.path.relative_to(_TESTS)
        for parent in (path, *path.parents):
            for mark in MARKS.get(parent.as_posix(), ()):
                item.add_marker(mark)


def _position(item: pytest.Item) -> tuple[int, int]:
    suite, *path = item.path.relative_to(_TESTS).parts
    return SUITES.index(suite), sum(POSITIONS.get(part, 0) for part in path)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """
    Start the two chains of system tests at once, each in one process; hand out the other tests one by one.

    A chain takes minutes, most of which it waits for Airflow, so it would bound the run time if it started
    late. A third process (``-n 3``) begins with the unit tests, so a failing unit test is seen within the
    first minute, and the integration tests follow. Three processes keep two cores busy.

    The marks of ``--dist loadgroup`` cannot do this: pytest-xdist 3.8.0 appends them to node ids where
    pytest 9.2 does not look.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        # The base class queues units by size, the largest first and otherwise as collected.
        def _split_scope(self, nodeid: str) -> str:
            return next((chain for chain in CHAINS if nodeid.startswith(chain)), nodeid)

        def _assign_work_unit(self, node: Any) -> None:
            # The base class counts the pending tests of all units it has ever assigned, after each test.
            units = self.assigned_work[node]
            self.assigned_work[node] = {
                scope: tests for scope, tests in units.items() if not all(tests.values())
            }
            super()._assign_work_unit(node)

    return Scheduling(config, log)
