# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
gcp-storage-emulator, with what Google's own store does besides: ``python -m dev.gcs_emulator PORT BUCKET``.

By itself (seen on 2026.7.19) it answers 501 when an upload is taken back, and gcsfs tries again for half a
minute. And it does not look at the condition that a name must be free. Of the buckets ``read-only`` and
``write-only`` everybody may do just that.
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

from dev.airflow_settings import HOST

#: Answers a request.
Handler = Callable[..., None]

#: What Google documents as the answer to a cancelled resumable upload.
_CANCELLED = SimpleNamespace(value=499, phrase="Client Closed Request")

_take_part = objects.upload_partial
#: What the account of each of these buckets may not do with objects.
_FORBIDDEN = {"read-only": ("POST", "PUT", "DELETE"), "write-only": ("GET",)}


def cancel_upload(request: Any, response: Any, storage: Any, *_: Any, **__: Any) -> None:
    """Forget a resumable upload."""
    storage.delete_resumable_file_obj(request.query["upload_id"][0])
    response.status = _CANCELLED


def upload_part(request: Any, response: Any, storage: Any, *how: Any, **more: Any) -> None:
    """Take a part; refuse the last one if the name was to be free and is not any more."""
    last = not request.get_header("Content-Range", "").endswith("/*")
    if last and request.query.get("ifGenerationMatch") == ["0"]:
        upload = storage.get_resumable_file_obj(request.query["upload_id"][0])
        with suppress(NotFound):
            storage.get_file_obj(upload["bucket"], upload["name"])
            response.status = HTTPStatus.PRECONDITION_FAILED
            return
    _take_part(request, response, storage, *how, **more)


def unless_forbidden(method: str, handler: Handler) -> Handler:
    """Have a handler answer 403 where the bucket forbids what is asked for."""

    def handle(request: Any, response: Any, storage: Any, *how: Any, **more: Any) -> None:
        bucket = (request.params or {}).get("bucket_name", "")
        if method in _FORBIDDEN.get(bucket, ()):
            response.status = HTTPStatus.FORBIDDEN
            response.json({"error": {"code": 403, "message": "the account has no such permission"}})
            return
        handler(request, response, storage, *how, **more)

    return handle


if __name__ == "__main__":
    objects.upload_partial = upload_part  # before the server puts it into its table
    from gcp_storage_emulator import server  # type: ignore[import-untyped]

    for _, methods in server.HANDLERS:
        if upload_part in methods.values():
            methods[server.DELETE] = cancel_upload
    for path, methods in server.HANDLERS:
        if "bucket_name" in path and "/o" in path:
            methods.update({each: unless_forbidden(each, handler) for each, handler in methods.items()})
    server.create_server(HOST, int(sys.argv[1]), in_memory=True, default_bucket=sys.argv[2]).run()
