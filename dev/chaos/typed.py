# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The connections that somebody mistypes: in Airflow's database, where a change holds at once."""

from __future__ import annotations

import json
from typing import Any

from dev.chaos.plan import ORDERS
from dev.local_airflow import LocalAirflow
from dev.local_simulator import API_KEY


class TypedConnections:
    """
    One connection for each vendor.

    :param url: where the vendors are.
    :param elsewhere: where another server is, that knows nothing of any job.
    """

    def __init__(self, airflow: LocalAirflow, url: str, elsewhere: str) -> None:
        self._airflow = airflow
        self._url = url
        self._elsewhere = elsewhere
        for vendor in ORDERS:
            airflow.api("POST", "/connections", json=_body(vendor, url))

    def mistype(self, vendor: str) -> None:
        """Give the connection another server's host."""
        self._change(vendor, self._elsewhere)

    def mend(self, vendor: str) -> None:
        """Give it the vendor's again."""
        self._change(vendor, self._url)

    def _change(self, vendor: str, url: str) -> None:
        body = _body(vendor, url)
        self._airflow.api("PATCH", f"/connections/{body['connection_id']}", json=body)


def connection(vendor: str, url: str) -> dict[str, Any]:
    """Return a connection as Airflow reads it from the environment."""
    return {
        "conn_type": "vidgen",
        "host": f"{url}/{vendor}",
        "password": API_KEY,
        "extra": {"vendor": vendor, "allow_private_urls": True},
    }


def _body(vendor: str, url: str) -> dict[str, Any]:
    fields = connection(vendor, url)
    return {**fields, "connection_id": f"vidgen_typed_{vendor}", "extra": json.dumps(fields["extra"])}
