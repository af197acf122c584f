# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A storage target of the landing tests: its path, and its content."""

from __future__ import annotations

from collections.abc import Callable


class LandingTarget:
    """A target in storage, read through its own client."""

    def __init__(self, output: str, names: Callable[[], dict[str, bytes]]) -> None:
        self.output = output
        self.names = names
