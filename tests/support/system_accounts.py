# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The connections of the system tests: working and broken vendor accounts, and an S3."""

from __future__ import annotations

import json
from typing import Any

from dev.local_simulator import LocalSimulator
from dev.loopback import free_port
from dev.servers.storage import LocalS3

# The word "marmalade" stands only in the keys, so any other place that contains it is a leak.
GOOD_KEY = "sim-marmalade-7Qx2"
BAD_KEY = "no-marmalade-7Qx2"
S3_SECRET = "s3-marmalade-7Qx2"
#: Users of Airflow besides the administrator: with the role viewer, and with none.
VIEWER, OUTSIDER = "viewer", "outsider"
NO_FUNDS_KEY = "sim-nofunds"
#: Keys of accounts whose vendor accepts :data:`SMALL_LIMIT` concurrent jobs.
UNKNOWN_LIMIT_KEY = "sim-marmalade-unknown-limit"
KNOWN_LIMIT_KEY = "sim-marmalade-known-limit"
SMALL_LIMIT = 3


def connections(simulator: LocalSimulator, s3: LocalS3) -> dict[str, str]:
    """Return the connections of the system tests as environment variables."""

    def apixo(key: str, host: str = f"{simulator.url}/apixo", **extra: Any) -> str:
        return connection("apixo", host, key, **extra)

    return {
        **simulator.connections(GOOD_KEY),
        "AIRFLOW_CONN_VIDGEN_NO_FUNDS": apixo(NO_FUNDS_KEY),
        "AIRFLOW_CONN_VIDGEN_BAD_KEY": apixo(BAD_KEY),
        "AIRFLOW_CONN_VIDGEN_UNREACHABLE": apixo(GOOD_KEY, f"http://127.0.0.1:{free_port()}"),
        "AIRFLOW_CONN_VIDGEN_CAPACITY_UNKNOWN": apixo(UNKNOWN_LIMIT_KEY),
        "AIRFLOW_CONN_VIDGEN_CAPACITY_KNOWN": apixo(KNOWN_LIMIT_KEY, max_concurrent=SMALL_LIMIT),
        "AIRFLOW_CONN_VIDGEN_CAPACITY_ONE": connection(
            "apixgo", f"{simulator.url}/apixgo", GOOD_KEY, max_concurrent=1
        ),
        "AIRFLOW_CONN_SYSTEM_S3": s3.connection,
    }


def connection(vendor: str, host: str, key: str, **extra: Any) -> str:
    """Return a connection as JSON; the simulator is on loopback, which has to be allowed."""
    fields = {"vendor": vendor, "allow_private_urls": True, **extra}
    return json.dumps({"conn_type": "vidgen", "host": host, "password": key, "extra": fields})
