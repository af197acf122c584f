# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What the landing tests say about a place: where it is, and what is there."""

from __future__ import annotations

from collections.abc import Callable


class Place:
    """Somewhere to land, as anybody else sees it."""

    def __init__(self, output: str, names: Callable[[], dict[str, bytes]]) -> None:
        self.output = output
        self.names = names
