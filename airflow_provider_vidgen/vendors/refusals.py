# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Classify a refusal by its cause: the request, its content, the model, the account, or a wrong endpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from airflow_provider_vidgen.errors import (
    BadCredentials,
    ContentRefused,
    InsufficientFunds,
    PermissionDenied,
    SubmitRefused,
    WrongEndpoint,
)
from airflow_provider_vidgen.models import FailureCategory
from airflow_provider_vidgen.vendors.http_messages import HttpReply, vendor_code, vendor_message
from airflow_provider_vidgen.vendors.parsing import get_first, get_path
from airflow_provider_vidgen.vendors.vocabulary import classify_failure, normalize

#: Effective status codes with which a vendor has certainly not accepted the job.
_REFUSALS: dict[int, type[SubmitRefused]] = {
    400: SubmitRefused,
    401: BadCredentials,
    402: InsufficientFunds,
    403: PermissionDenied,
    404: SubmitRefused,
    405: SubmitRefused,
    413: SubmitRefused,
    415: SubmitRefused,
    422: SubmitRefused,
}

#: "... not found"; up to four words, an id for instance, may precede it.
_NOT_FOUND = r"(?:\W+[\w.:-]+){0,4}?\W+(?:not\ (?:be\ )?found|(?:does\ not|doesn't|not)\ exist)"
_JOB = r"(?:task|job|generation|video|record)"
_JOB_NOT_FOUND = re.compile(
    rf"""
    \b{_JOB}s?\b{_NOT_FOUND}                                          # task abc was not found
    | (?:no\ such|unknown|(?:not|n't)\ find)(?:\ the|\ this|\ a)?\ {_JOB}\b   # could not find the task
    | 任务.{{0,80}}(?:不存在|未找到)                                    # the same in Chinese
    | (?:找不到|未找到|不存在).{{0,4}}任务
    """,
    re.VERBOSE,
)
_MODEL_NOT_FOUND = re.compile(
    rf"""
    \bmodel\b{_NOT_FOUND}                     # model abc does not exist
    | \b(?:no\ such|unknown|invalid)\ model\b
    | 模型.{{0,80}}(?:不存在|未找到)            # model ... does not exist
    """,
    re.VERBOSE,
)
#: A message about a path, and so from a host that does not have the vendor's API.
_PATH = re.compile(
    r"""
    (?:^|[\s(])/\w                            # /v1/videos
    | \b(?:ur[il]|routes?|path|endpoint|page|method\ not\ allowed|cannot\ (?:get|post))\b
    | 接口|路径                                # interface, path
    """,
    re.VERBOSE,
)
#: Words for anything other than a job that a 404 may be about.
_OTHER_RESOURCE = re.compile(
    r"""
    /
    | \b(?:ur[il]|rout|path|endpoint|page|method|model|host|server|service|type|queue|handler)
    | 模型|接口|路径                           # model, interface, path
    """,
    re.VERBOSE,
)
#: Characters of a message that are searched.
_MAX_MESSAGE = 1000


def classify_refusal(
    status_code: int, reply: HttpReply, body: Any, fail_codes: Mapping[str, FailureCategory]
) -> type[SubmitRefused] | None:
    """
    Return the error class of a refused submission, or ``None`` if the reply is no refusal.

    :param status_code: the reply's effective status code.
    :param fail_codes: the vendor's documented codes, see :func:`.vocabulary.classify_failure`.
    """
    error_class = _REFUSALS.get(status_code)
    if error_class is None:
        return None
    message = vendor_message(body)
    category = classify_failure(f"{vendor_code(body)} {message}", fail_codes)
    if category is FailureCategory.INSUFFICIENT_FUNDS:
        return InsufficientFunds
    if category is FailureCategory.CONTENT_POLICY and status_code not in (401, 402):
        return ContentRefused
    wrong_endpoint = is_wrong_endpoint(reply, body) or (status_code == 404 and _is_bare_not_found(message))
    # With 413 an HTML page is about the size of the body, and may come from the vendor's own proxy.
    html_page = status_code != 413 and body is None and reply.content.lstrip().startswith(b"<")
    return WrongEndpoint if error_class is SubmitRefused and (wrong_endpoint or html_page) else error_class


def is_wrong_endpoint(reply: HttpReply, body: Any) -> bool:
    """Whether a 404 or 405 is about the path, or does not have the form of any vendor's error."""
    if reply.status not in (404, 405):
        return False
    error = body if get_path(body, "error") is None else get_path(body, "error")
    message = vendor_message(body)
    has_error_form = get_first(error, ("code",), ("type",)) is not None and bool(message)
    return not has_error_form or _PATH.search(_normalize_message(message)) is not None


def is_job_not_found_message(message: str) -> bool:
    """Whether an error with code 404 is about the job, and not about a path, a model or a host."""
    text = _normalize_message(message)
    if _OTHER_RESOURCE.search(text):
        return False
    return _is_bare_not_found(message) or _JOB_NOT_FOUND.search(text) is not None


def is_model_not_found_error(code: str, message: str) -> bool:
    """Whether an error's code or message means that there is no such model."""
    return (
        normalize(code) == "modelnotfound" or _MODEL_NOT_FOUND.search(_normalize_message(message)) is not None
    )


def _is_bare_not_found(message: str) -> bool:
    return _normalize_message(message).rstrip(".!") in ("not found", "404 not found")


def _normalize_message(message: str) -> str:
    return message[:_MAX_MESSAGE].strip().lower().replace("_", " ")
