# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""A client for the control API of a simulator, in this process or in another."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from airflow_provider_vidgen.simulator.billing import Entry
from airflow_provider_vidgen.simulator.journal import Visit

# The simulator is on loopback, and a proxy of the environment is not meant for it.
_OPENER: Final = build_opener(ProxyHandler({}))
_TIMEOUT: Final = 10.0


@dataclass(frozen=True)
class Ledger:
    """The vendors' books.

    :param accepted_by_hash: how often each request was accepted, by
        :func:`~airflow_provider_vidgen.simulator.billing.request_hash`.
    """

    entries: list[Entry]
    accepted_by_hash: dict[str, int]


@dataclass(frozen=True)
class JobView:
    """A job as the control API shows it."""

    vendor: str
    task_id: str
    model: str
    state: str
    fraction: float
    created: float
    finishes: float | None
    polls: int


@dataclass(frozen=True)
class Delivery:
    """An attempt to deliver a callback.

    :param outcome: the status answered, or the name of what went wrong.
    """

    task_id: str
    url: str
    at: float
    outcome: str


class SimulatorClient:
    """Looks behind the counter of a running simulator.

    :param url: where it listens, as it says on its first line.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def base_url(self, vendor: str) -> str:
        """Give the base URL that stands for a vendor's own.

        :param vendor: ``apimodels``, ``apixo``, ``apixgo`` or ``apimart``.
        """
        return f"{self.url}/{vendor}"

    def ledger(self) -> Ledger:
        """Read the vendors' books."""
        told = self._call("GET", "/ledger")
        return Ledger([Entry(**entry) for entry in told["entries"]], told["accepted_by_hash"])

    def requests(self) -> list[Visit]:
        """Read the request log, oldest first."""
        return [Visit(**visit) for visit in self._call("GET", "/requests")]

    def jobs(self) -> list[JobView]:
        """Read all jobs, oldest first."""
        return [JobView(**job) for job in self._call("GET", "/jobs")]

    def job(self, task_id: str, **script: Any) -> JobView:
        """Change the course of a job.

        :param task_id: the vendor's id.
        :param script: lines of :class:`~airflow_provider_vidgen.simulator.scripts.Script`.
        """
        return JobView(**self._call("POST", f"/jobs/{task_id}", script))

    def end(self, task_id: str, outcome: str = "succeeded", **script: Any) -> JobView:
        """End a job now.

        :param task_id: the vendor's id.
        :param outcome: ``succeeded``, ``failed`` or ``cancelled``.
        :param script: more lines of its script.
        """
        lived = self.now() - self.job(task_id).created
        return self.job(task_id, outcome=outcome, stuck=False, seconds=lived, **script)

    def webhooks(self) -> list[Delivery]:
        """Read the attempts to deliver callbacks, oldest first."""
        return [Delivery(**delivery) for delivery in self._call("GET", "/webhooks")]

    def fault(
        self,
        kind: str,
        *,
        vendor: str | None = None,
        route: str | None = None,
        task_id: str | None = None,
        nth: int = 1,
        times: int | None = 1,
        **details: Any,
    ) -> None:
        """Make requests go wrong.

        :param kind: one of :data:`~airflow_provider_vidgen.simulator.faults.KINDS`.
        :param vendor: of this vendor only.
        :param route: on this route only.
        :param task_id: about this job only.
        :param nth: the first of those requests that goes wrong, counted from 1.
        :param times: how many do from there; None for all.
        :param details: more of :class:`~airflow_provider_vidgen.simulator.faults.Fault`.
        """
        self._call(
            "POST",
            "/faults",
            {
                "vendor": vendor,
                "route": route,
                "task_id": task_id,
                "nth": nth,
                "times": times,
                "fault": {"kind": kind, **details},
            },
        )

    def clear_faults(self) -> None:
        """Forget all fault rules."""
        self._call("DELETE", "/faults")

    def options(self, **changes: Any) -> dict[str, Any]:
        """Change options, and read them all.

        :param changes: fields of :class:`~airflow_provider_vidgen.simulator.options.Options`.
        """
        told: dict[str, Any] = self._call("POST", "/options", changes)
        return told

    def now(self) -> float:
        """Read the virtual clock, in seconds since 1970."""
        return float(self._call("GET", "/clock")["now"])

    def advance(self, seconds: float) -> None:
        """Push the virtual clock forward.

        :param seconds: how far.
        """
        self._call("POST", "/clock", {"advance": seconds})

    def set_speed(self, speed: float) -> None:
        """Let the virtual clock run faster or slower.

        :param speed: virtual seconds for each real second; 0 stands still.
        """
        self._call("POST", "/clock", {"speed": speed})

    def reset(self) -> None:
        """Forget all jobs, bills, visits, faults and changed options."""
        self._call("POST", "/reset")

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {} if data is None else {"Content-Type": "application/json"}
        request = Request(f"{self.url}/__sim{path}", data=data, headers=headers, method=method)
        try:
            with _OPENER.open(request, timeout=_TIMEOUT) as response:
                return json.load(response)
        except HTTPError as error:
            with error:
                raise ValueError(error.read().decode("utf-8", "replace")) from None
