# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The session of a worker's single request."""

from __future__ import annotations

import requests


class SingleRequestSession(requests.Session):
    """
    A session that knows nothing of redirects.

    Also where it is told not to follow them, requests reads the whole body of a redirecting reply, however
    long that is, and stumbles over a location that is no link.
    """

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return nothing: the caller decides."""
        return None
