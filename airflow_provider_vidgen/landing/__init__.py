# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
A result link in, a verified object in storage out.

An object under its final name is whole: the bytes go to a place nobody looks at, and only when length and
container have been checked are they moved there. Landing has retries of its own and never makes a new video.
"""

from __future__ import annotations

from airflow_provider_vidgen.landing.names import target_for
from airflow_provider_vidgen.landing.results import Refresh
from airflow_provider_vidgen.landing.room import Landing, Verify
from airflow_provider_vidgen.landing.sidecar import About

__all__ = ["About", "Landing", "Refresh", "Verify", "target_for"]
