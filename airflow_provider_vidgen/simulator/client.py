# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Client of a simulator's control API, in this process or another."""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from airflow_provider_vidgen.simulator.billing import BillingEntry, BillingReport
from airflow_provider_vidgen.simulator.callbacks import CallbackAttempt
from airflow_provider_vidgen.simulator.jobs import JobView
from airflow_provider_vidgen.simulator.request_log import LoggedRequest

# The simulator is on loopback: no proxy of the environment applies.
_OPENER: Final = build_opener(ProxyHandler({}))
_TIMEOUT: Final = 10.0


class SimulatorClient:
    """Inspects and controls a running simulator.

    :param url: its URL, as it prints at the start.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def base_url(self, vendor: str) -> str:
        """Return the base URL that replaces a vendor's own.

        :param vendor: ``apimodels``, ``apixo``, ``apixgo`` or ``apimart``.
        """
        return f"{self.url}/{vendor}"

    def ledger(self) -> BillingReport:
        """Return the billing ledger."""
        report = self._call("GET", "/ledger")
        entries = [BillingEntry(**entry) for entry in report["entries"]]
        return BillingReport(entries, report["accepted_by_hash"])

    def requests(self) -> list[LoggedRequest]:
        """Return the request log, oldest first."""
        return [LoggedRequest(**request) for request in self._call("GET", "/requests")]

    def jobs(self) -> list[JobView]:
        """Return all jobs, oldest first."""
        return [JobView(**job) for job in self._call("GET", "/jobs")]

    def script_job(self, task_id: str, **script: Any) -> JobView:
        """Change the script of a job.

        :param task_id: the vendor's id.
        :param script: fields of :class:`~airflow_provider_vidgen.simulator.job_script.JobScript`.
        :raises ValueError: the job does not exist or has ended, or a value is not allowed.
        """
        return JobView(**self._call("POST", f"/jobs/{task_id}", script))

    def end_job(self, task_id: str, outcome: str = "succeeded", **script: Any) -> JobView:
        """End a job now.

        :param task_id: the vendor's id.
        :param outcome: ``succeeded``, ``failed`` or ``cancelled``.
        :param script: further fields of its script.
        :raises ValueError: the job does not exist or has ended, or a value is not allowed.
        """
        elapsed = self.now() - self.script_job(task_id).created_at
        return self.script_job(task_id, outcome=outcome, stuck=False, job_seconds=elapsed, **script)

    def callback_attempts(self) -> list[CallbackAttempt]:
        """Return all attempts to deliver callbacks, oldest first."""
        return [CallbackAttempt(**attempt) for attempt in self._call("GET", "/callbacks")]

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
        """Add a fault rule: requests that match fail.

        :param kind: one of :data:`~airflow_provider_vidgen.simulator.faults.FAULT_KINDS`.
        :param vendor: matches this vendor only.
        :param route: matches this one of :data:`~airflow_provider_vidgen.simulator.faults.ROUTES` only.
        :param task_id: matches requests about this job only.
        :param nth: the first matching request that fails, counted from 1.
        :param times: number of requests that fail from there; None for all.
        :param details: further fields of :class:`~airflow_provider_vidgen.simulator.faults.Fault`.
        :raises ValueError: a value is not allowed.
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
        """Remove all fault rules."""
        self._call("DELETE", "/faults")

    def options(self, **changes: Any) -> dict[str, Any]:
        """Change options, and return all of them.

        :param changes: fields of :class:`~airflow_provider_vidgen.simulator.options.Options`.
        :raises ValueError: an option does not exist, or does not allow its value.
        """
        options: dict[str, Any] = self._call("POST", "/options", changes)
        return options

    def now(self) -> float:
        """Return the virtual time, in seconds since 1970."""
        return float(self._call("GET", "/clock")["now"])

    def advance(self, seconds: float) -> None:
        """Move the virtual clock forward.

        :param seconds: virtual seconds.
        """
        self._call("POST", "/clock", {"advance": seconds})

    def set_speed(self, speed: float) -> None:
        """Change the speed of the virtual clock.

        :param speed: virtual seconds per real second; 0 stops the clock.
        """
        self._call("POST", "/clock", {"speed": speed})

    def reset(self) -> None:
        """Delete all jobs, bills, logged requests, faults and changed options; the clock goes on."""
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
