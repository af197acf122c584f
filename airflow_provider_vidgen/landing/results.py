# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A job's links, and how often one is tried before it is given up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from airflow_provider_vidgen.errors import DownloadFailed, JobNotFound, NotAVideo, ResultExpired
from airflow_provider_vidgen.landing.fetching import Fetching
from airflow_provider_vidgen.landing.sidecar import About
from airflow_provider_vidgen.models import VideoJob

_ATTEMPTS = 4

#: Gives the job's links anew, or an empty sequence if they cannot be had.
Refresh = Callable[[], Sequence[str]]


class Results:
    """
    What a job brought.

    Its links are renewed once for all files that find theirs dead at the same time.

    :param refresh: asks the vendor for the links again.
    """

    def __init__(
        self, links: Sequence[str], job: VideoJob | None, refresh: Refresh | None, about: About
    ) -> None:
        self.job = job
        self.about = about
        self._links = list(links)
        self._refresh = refresh
        self._used: dict[int, str] = {}
        self._lock = threading.Lock()

    def link(self, index: int) -> str:
        """Return a link as it is now."""
        with self._lock:
            self._used[index] = self._links[index]
            return self._links[index]

    def can_renew(self, error: BaseException | None) -> bool:
        """Whether fresh links may help."""
        return self._refresh is not None and isinstance(error, ResultExpired | NotAVideo)

    def renew(self, index: int) -> None:
        """Ask for fresh links, unless another file has done so since this one's was taken."""
        with self._lock:
            if self._refresh is None or self._links[index] != self._used[index]:
                return
            with suppress(JobNotFound):  # then the link that is dead is the last word
                fresh = list(self._refresh())
                if len(fresh) == len(self._links):
                    self._links = fresh


def pull_all(results: Results, index: int, fetching: Fetching, sleep: Callable[[float], None]) -> None:
    """
    Fetch one file whole, over as many connections as its budget allows.

    :raises LandingError: the budget is spent.
    """
    import tenacity

    def renew(state: tenacity.RetryCallState) -> None:
        if state.outcome is not None and results.can_renew(state.outcome.exception()):
            results.renew(index)

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(
            lambda error: isinstance(error, DownloadFailed) or results.can_renew(error)
        ),
        wait=tenacity.wait_exponential_jitter(initial=1, max=20, jitter=1),
        stop=_Budget(fetching),
        before_sleep=renew,
        sleep=sleep,
        reraise=True,
    )
    retrying(lambda: fetching.pull(results.link(index)))


class _Budget:
    """When to give one file up: a download may break off a few times, a dead link is refreshed once."""

    def __init__(self, fetching: Fetching) -> None:
        self._fetching = fetching
        self._broken = 0
        self._renewed = False

    def __call__(self, state: Any) -> bool:
        if isinstance(state.outcome.exception(), DownloadFailed):
            self._broken = 1 if self._fetching.was_worth_it() else self._broken + 1
            return self._broken >= _ATTEMPTS
        spent, self._renewed = self._renewed, True
        return spent
