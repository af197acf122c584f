# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""What is to be said to a client, before anything can go wrong on the way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Json = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """A reply: a JSON object, or bytes with a content type of their own."""

    body: Json | bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"

    @property
    def payload(self) -> bytes:
        """The bytes of the body."""
        if isinstance(self.body, bytes):
            return self.body
        # A prompt may hold half a character, and then so does what a vendor repeats of it.
        return json.dumps(self.body, ensure_ascii=False).encode(errors="replace")

    def response(self) -> web.Response:
        """Give it as aiohttp sends it."""
        return web.Response(
            body=self.payload,
            status=self.status,
            headers={**self.headers, "Content-Type": self.content_type},
        )
