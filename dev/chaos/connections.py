# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Airflow connections to the vendors, and connections in Airflow's database whose host can be changed."""

from __future__ import annotations

import json
from typing import Any

from dev.chaos.scenarios import VIDEO_PARAMS
from dev.local_airflow import LocalAirflow
from dev.local_simulator import API_KEY


class EditableConnections:
    """
    One connection for each vendor in Airflow's database, where a change takes effect at once.

    :param url: base URL of the vendors.
    :param wrong_url: base URL of another server, which knows none of the jobs.
    """

    def __init__(self, airflow: LocalAirflow, url: str, wrong_url: str) -> None:
        self._airflow = airflow
        self._url = url
        self._wrong_url = wrong_url
        for vendor in VIDEO_PARAMS:
            airflow.api("POST", "/connections", json=_request_body(vendor, url))

    def set_wrong_host(self, vendor: str) -> None:
        """Change the host to that of the other server."""
        self._update(vendor, self._wrong_url)

    def restore(self, vendor: str) -> None:
        """Change the host back to the vendor's."""
        self._update(vendor, self._url)

    def _update(self, vendor: str, url: str) -> None:
        body = _request_body(vendor, url)
        self._airflow.api("PATCH", f"/connections/{body['connection_id']}", json=body)


def connection_fields(vendor: str, url: str) -> dict[str, Any]:
    """Return the fields of a vendor's connection."""
    return {
        "conn_type": "vidgen",
        "host": f"{url}/{vendor}",
        "password": API_KEY,
        "extra": {"vendor": vendor, "allow_private_urls": True},
    }


def _request_body(vendor: str, url: str) -> dict[str, Any]:
    fields = connection_fields(vendor, url)
    return {**fields, "connection_id": f"vidgen_editable_{vendor}", "extra": json.dumps(fields["extra"])}
