# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A task state store in memory."""

from __future__ import annotations

import json
from typing import Any


class FakeStateStore(dict[str, Any]):
    """A task state store; values go through JSON as in Airflow's."""

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self[key]) if key in self else default

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        self[key] = json.dumps(value)

    def delete(self, key: str) -> None:
        self.pop(key, None)
