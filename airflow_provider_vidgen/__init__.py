# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Apache Airflow provider for AI video generation."""

from __future__ import annotations

__version__ = "0.1.0"
