# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Authenticated calls to the REST API of one Airflow."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import requests

#: One more than what a new login takes, for a database that is locked.
_ATTEMPTS = 4
_TIMEOUT = 30.0


class ApiError(Exception):
    """Airflow answered a REST call with an error.

    :param call: Method and path.
    :param status: HTTP status.
    :param body: The answer, as text.
    """

    def __init__(self, call: str, status: int, body: str) -> None:
        super().__init__(f"{call} answered {status}: {body[:2000]}")
        self.status = status
        self.body = body


class RestClient:
    """A client of one Airflow; logs in by itself.

    :param url: Base URL, without a trailing slash.
    :param username: User of the simple auth manager.
    :param password: His password.
    """

    def __init__(self, url: str, username: str, password: str) -> None:
        self.url = url
        self.username = username
        self.password = password
        self._session = requests.Session()
        # No proxy and no .netrc: the server is on this machine.
        self._session.trust_env = False

    def api(
        self,
        method: str,
        path: str,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Call Airflow's REST API, as the user, and return the decoded answer.

        :param method: HTTP method.
        :param path: Path below ``/api/v2``, such as ``/dags``; a path that begins with another of Airflow's
            prefixes (``/ui``, ``/auth`` or a plugin's) is marked with a leading ``//``.
        :param json: Body.
        :param params: Query.
        :param headers: Further headers.
        :returns: The decoded JSON, the text if it is none, or ``None`` if the answer has no body.
        :raises ApiError: if the answer is no 2xx.
        """
        url = self.url + (path[1:] if path.startswith("//") else "/api/v2" + path)
        for attempt in range(_ATTEMPTS):
            if "Authorization" not in self._session.headers:
                self._log_in()
            answer = self._session.request(
                method,
                url,
                json=json,
                params=params,
                headers=headers,
                timeout=_TIMEOUT,
                allow_redirects=False,
            )
            if answer.status_code == 401 and not attempt:
                self._session.headers.pop("Authorization")
            elif answer.status_code == 500 and "Database error" in answer.text:
                # SQLite has one writer at a time; whoever waited too long for the lock is turned away.
                time.sleep(1)
            else:
                break
        if not answer.ok:
            raise ApiError(f"{method} {path}", answer.status_code, answer.text)
        if not answer.content:
            return None
        return answer.json() if "json" in answer.headers.get("content-type", "") else answer.text

    def _log_in(self) -> None:
        credentials = {"username": self.username, "password": self.password}
        answer = self._session.post(f"{self.url}/auth/token", json=credentials, timeout=_TIMEOUT)
        if not answer.ok:
            raise ApiError("POST //auth/token", answer.status_code, answer.text)
        self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def health(self) -> dict[str, Any]:
        """Return what Airflow says of its components; needs no login."""
        answer = self._session.get(f"{self.url}/api/v2/monitor/health", timeout=5)
        answer.raise_for_status()
        health: dict[str, Any] = answer.json()
        return health
