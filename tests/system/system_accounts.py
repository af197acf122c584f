# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The accounts of the system tests: vendors, good and bad, and a store."""

from __future__ import annotations

import json
from typing import Any

from dev.local_simulator import LocalSimulator
from dev.loopback import free_port
from dev.servers.storage import LocalS3

#: Found nowhere but in the connections, so that a key that leaks is found.
GOOD_KEY = "sim-marmalade-7Qx2"
BAD_KEY = "no-marmalade-7Qx2"
#: Of accounts that take three jobs at a time.
SMALL_KEYS = ("sim-marmalade-crowded", "sim-marmalade-orderly")
S3_SECRET = "s3-marmalade-7Qx2"


def connections(simulator: LocalSimulator, s3: LocalS3) -> dict[str, str]:
    """Return all connections of the system tests as environment variables."""

    def apixo(key: str, host: str = f"{simulator.url}/apixo", **more: Any) -> str:
        extra = {"vendor": "apixo", "allow_private_urls": True, **more}
        return json.dumps({"conn_type": "vidgen", "host": host, "password": key, "extra": extra})

    return {
        **simulator.connections(GOOD_KEY),
        "AIRFLOW_CONN_VIDGEN_NO_FUNDS": apixo("sim-nofunds"),
        "AIRFLOW_CONN_VIDGEN_BAD_KEY": apixo(BAD_KEY),
        "AIRFLOW_CONN_VIDGEN_UNREACHABLE": apixo(GOOD_KEY, f"http://127.0.0.1:{free_port()}"),
        "AIRFLOW_CONN_VIDGEN_CAPACITY_UNKNOWN": apixo(SMALL_KEYS[0]),
        "AIRFLOW_CONN_VIDGEN_CAPACITY_KNOWN": apixo(SMALL_KEYS[1], max_concurrent=3),
        "AIRFLOW_CONN_VIDGEN_CAPACITY_ONE": json.dumps(
            {
                "conn_type": "vidgen",
                "host": f"{simulator.url}/apixgo",
                "password": GOOD_KEY,
                "extra": {"vendor": "apixgo", "allow_private_urls": True, "max_concurrent": 1},
            }
        ),
        "AIRFLOW_CONN_SYSTEM_S3": s3.connection,
    }
