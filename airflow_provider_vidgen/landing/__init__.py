# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Land a result link as a validated object in storage.

An object under its final name is complete: the bytes are written to a hidden place, and get that name only
after length and container have been checked. Landing has retries of its own and never makes a new video.
"""

from __future__ import annotations

from airflow_provider_vidgen.landing.links import Refresh
from airflow_provider_vidgen.landing.options import Verify
from airflow_provider_vidgen.landing.paths import target_for
from airflow_provider_vidgen.landing.service import Landing
from airflow_provider_vidgen.landing.sidecar import VideoMetadata

__all__ = ["Landing", "Refresh", "Verify", "VideoMetadata", "target_for"]
