# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
gcp-storage-emulator with missing features of Google Cloud Storage added.

``python -m dev.servers.gcs_emulator PORT BUCKET`` starts it. Without the additions it answers 501 when a
resumable upload is cancelled (seen with 2026.7.19), which gcsfs retries for half a minute, and it ignores
``ifGenerationMatch``. The buckets ``read-only`` and ``write-only`` permit only reads and only writes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

from gcp_storage_emulator.exceptions import NotFound  # type: ignore[import-untyped]
from gcp_storage_emulator.handlers import objects  # type: ignore[import-untyped]

from dev.loopback import HOST

#: Handles a request.
Handler = Callable[..., None]

#: Google's documented response to the cancellation of a resumable upload.
_CANCELLED = SimpleNamespace(value=499, phrase="Client Closed Request")

_original_upload_part = objects.upload_partial
#: HTTP methods that are forbidden on the objects of a bucket.
_FORBIDDEN = {"read-only": ("POST", "PUT", "DELETE"), "write-only": ("GET",)}


def cancel_upload(request: Any, response: Any, storage: Any, *_: Any, **__: Any) -> None:
    """Delete a resumable upload."""
    storage.delete_resumable_file_obj(request.query["upload_id"][0])
    response.status = _CANCELLED


def upload_part(request: Any, response: Any, storage: Any, *args: Any, **kwargs: Any) -> None:
    """Store a part; reject the last one if ``ifGenerationMatch`` is 0 and the object exists by now."""
    last = not request.get_header("Content-Range", "").endswith("/*")
    if last and request.query.get("ifGenerationMatch") == ["0"]:
        upload = storage.get_resumable_file_obj(request.query["upload_id"][0])
        with suppress(NotFound):
            storage.get_file_obj(upload["bucket"], upload["name"])
            response.status = HTTPStatus.PRECONDITION_FAILED
            return
    _original_upload_part(request, response, storage, *args, **kwargs)


def with_permission_check(method: str, handler: Handler) -> Handler:
    """Wrap a handler so that it answers 403 if the bucket forbids the method."""

    def handle(request: Any, response: Any, storage: Any, *args: Any, **kwargs: Any) -> None:
        bucket = (request.params or {}).get("bucket_name", "")
        if method in _FORBIDDEN.get(bucket, ()):
            response.status = HTTPStatus.FORBIDDEN
            response.json({"error": {"code": 403, "message": "the account has no such permission"}})
            return
        handler(request, response, storage, *args, **kwargs)

    return handle


if __name__ == "__main__":
    objects.upload_partial = upload_part  # before the server builds its table of handlers
    from gcp_storage_emulator import server  # type: ignore[import-untyped]

    for _, methods in server.HANDLERS:
        if upload_part in methods.values():
            methods[server.DELETE] = cancel_upload
    for path, methods in server.HANDLERS:
        if "bucket_name" in path and "/o" in path:
            methods.update(
                {method: with_permission_check(method, handler) for method, handler in methods.items()}
            )
    server.create_server(HOST, int(sys.argv[1]), in_memory=True, default_bucket=sys.argv[2]).run()
