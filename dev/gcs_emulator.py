# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
gcp-storage-emulator, taught to take an upload back: ``python -m dev.gcs_emulator PORT BUCKET``.

By itself (seen on 2026.7.19) it answers 501 to that, and gcsfs tries again for half a minute.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

from gcp_storage_emulator import server  # type: ignore[import-untyped]
from gcp_storage_emulator.handlers import objects  # type: ignore[import-untyped]

from dev.airflow_settings import HOST

#: What Google documents as the answer to a cancelled resumable upload.
_CANCELLED = SimpleNamespace(value=499, phrase="Client Closed Request")


def cancel_upload(request: Any, response: Any, storage: Any, *_: Any, **__: Any) -> None:
    """Forget a resumable upload."""
    storage.delete_resumable_file_obj(request.query["upload_id"][0])
    response.status = _CANCELLED


if __name__ == "__main__":
    for _, methods in server.HANDLERS:
        if objects.upload_partial in methods.values():
            methods[server.DELETE] = cancel_upload
    server.create_server(HOST, int(sys.argv[1]), in_memory=True, default_bucket=sys.argv[2]).run()
