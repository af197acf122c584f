# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What a vendor refuses, or does not find: the job, the model, the path, or somebody else altogether."""

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
from airflow_provider_vidgen.vendors.exchange import HttpReply, vendor_code, vendor_message
from airflow_provider_vidgen.vendors.reading import dig, first
from airflow_provider_vidgen.vendors.words import classify_failure, normal

#: Effective codes by which a vendor certainly did not take the job.
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

#: An id may stand between what is not there and the words for that.
_ABSENT = r"(?:\W+[\w.:-]+){0,4}?\W+(?:not (?:be )?found|(?:does not|doesn't|not) exist)"
_JOB = r"(?:task|job|generation|video|record)"
_NO_JOB = re.compile(
    rf"\b{_JOB}s?\b{_ABSENT}|(?:no such|unknown|(?:not|n't) find)(?: the| this| a)? {_JOB}\b"
    r"|任务.{0,80}(?:不存在|未找到)|(?:找不到|未找到|不存在).{0,4}任务"
)
_NO_MODEL = re.compile(
    rf"\bmodel\b{_ABSENT}|\b(?:no such|unknown|invalid) model\b|模型.{{0,80}}(?:不存在|未找到)"
)
_A_PATH = re.compile(
    r"(?:^|[\s(])/\w|\b(?:ur[il]|routes?|path|endpoint|page|method not allowed|cannot (?:get|post))\b"
    r"|接口|路径"
)
#: What a 404 may be about when it is not about the job.
_NOT_A_JOB = re.compile(
    r"/|\b(?:ur[il]|rout|path|endpoint|page|method|model|host|server|service|type|queue|handler)|模型|接口|路径"
)
#: What a vendor has to say is said within so many characters.
_LONGEST = 1000


def kind_of_refusal(
    code: int, reply: HttpReply, body: Any, codes: Mapping[str, FailureCategory]
) -> type[SubmitRefused] | None:
    """
    Return what a refused submission is called, or ``None`` if this is no refusal.

    :param code: the reply's effective code.
    :param codes: the vendor's documented codes, see :func:`.words.classify_failure`.
    """
    kind = _REFUSALS.get(code)
    if kind is None:
        return None
    category = classify_failure(f"{vendor_code(body)} {vendor_message(body)}", codes)
    if category is FailureCategory.INSUFFICIENT_FUNDS:
        return InsufficientFunds
    if category is FailureCategory.CONTENT_POLICY and code not in (401, 402):
        return ContentRefused
    elsewhere = is_elsewhere(reply, body) or (code == 404 and _only_not_found(vendor_message(body)))
    # A page about a body that is too large is about the body.
    page = code != 413 and body is None and reply.content.lstrip().startswith(b"<")
    return WrongEndpoint if kind is SubmitRefused and (elsewhere or page) else kind


def is_elsewhere(reply: HttpReply, body: Any) -> bool:
    """Whether a 404 or 405 is about the path, or not in any form that vendors' errors have."""
    if reply.status not in (404, 405):
        return False
    error = body if dig(body, "error") is None else dig(body, "error")
    has_form = first(error, ("code",), ("type",)) is not None and bool(vendor_message(body))
    return not has_form or _A_PATH.search(_said(vendor_message(body))) is not None


def job_unknown(words: str) -> bool:
    """Whether an error of code 404 is about the job, and not about a path, a model or a host."""
    if _NOT_A_JOB.search(_said(words)):
        return False
    return _only_not_found(words) or _NO_JOB.search(_said(words)) is not None


def model_unknown(code: str, words: str) -> bool:
    """Whether a refusal says that there is no such model."""
    return normal(code) == "modelnotfound" or _NO_MODEL.search(_said(words)) is not None


def _only_not_found(words: str) -> bool:
    return _said(words).rstrip(".!") in ("not found", "404 not found")


def _said(words: str) -> str:
    return words[:_LONGEST].strip().lower().replace("_", " ")
