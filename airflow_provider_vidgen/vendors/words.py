# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What vendors' words mean: states and reasons for failure, by what they have in common."""

from __future__ import annotations

import re
from collections.abc import Mapping

from airflow_provider_vidgen.models import FailureCategory, JobState

#: Every spelling seen in any of the documents or in their families; compared in lower case.
_STATES: dict[str, JobState] = {
    **dict.fromkeys(
        ("queued", "pending", "submitted", "not_start", "waiting", "created", "queuing"), JobState.QUEUED
    ),
    **dict.fromkeys(
        ("processing", "processing_r2", "in_progress", "running", "generating"), JobState.RUNNING
    ),
    **dict.fromkeys(("completed", "complete", "succeeded", "success", "done"), JobState.SUCCEEDED),
    **dict.fromkeys(("failed", "failure", "error", "expired"), JobState.FAILED),
    **dict.fromkeys(("cancelled", "canceled"), JobState.CANCELLED),
}

#: Looked for in the vendor's code and words, in this order, spaces and punctuation removed.
_REASONS: tuple[tuple[FailureCategory, tuple[str, ...]], ...] = (
    (
        FailureCategory.INSUFFICIENT_FUNDS,
        (
            "insufficientcredit",
            "insufficientbalance",
            "insufficientfund",
            "insufficientquota",
            "insufficientuserquota",
            "notenoughcredit",
            "quotaexceeded",
            "quotaisnotenough",
            "exceededquota",
            "paymentrequired",
            "preconsumetokenquotafailed",
            "余额不足",
            "额度不足",
            "额度已用尽",
            "预扣费额度失败",
        ),
    ),
    (
        FailureCategory.CONTENT_POLICY,
        (
            "contentviolation",
            "contentpolicy",
            "contentmoderation",
            "moderation",
            "safetyguideline",
            "safetysystem",
            "sensitivecontent",
            "prohibitedcontent",
            "nsfw",
            "violates",
            "violation",
            "敏感",
            "违规",
        ),
    ),
    (
        FailureCategory.INVALID_INPUT,
        (
            "imageurl",
            "fetchingimage",
            "imagedownload",
            "imagetoolarge",
            "invalidtaskid",
            "invalidimage",
            "invalidinput",
            "invalidparam",
            "invalidduration",
            "prompttoolong",
            "unsupportedformat",
        ),
    ),
    (
        FailureCategory.VENDOR_TIMEOUT,
        ("processingtimeout", "timedout", "timeout", "超时"),
    ),
    (
        FailureCategory.CAPACITY,
        ("ratelimit", "toomanyrequests", "overloaded", "capacity", "noavailablechannel", "unavailable"),
    ),
)

#: What a vendor has to say is said within so many characters.
_LONGEST = 1000


def normal(words: str) -> str:
    """Return words in lower case without spaces and punctuation, so that all spellings are one."""
    return re.sub(r"[\W_]+", "", words.lower())


def known_state(word: str) -> JobState | None:
    """Return what a vendor's state means, or ``None`` for a word nobody has documented."""
    return _STATES.get(word.lower().replace(" ", "_").replace("-", "_"))


#: An id may stand between what is not there and the words for that.
_ABSENT = r"(?:\W+[\w.:-]+){0,4}?\W+(?:not (?:be )?found|(?:does not|doesn't|not) exist)"
_JOB = r"(?:task|job|generation|video|record)"
_NO_JOB = re.compile(
    rf"\b{_JOB}s?\b{_ABSENT}"
    rf"|(?:no such|unknown|(?:not|n't) find)(?: the| this| a)? {_JOB}\b"
    r"|任务.{0,80}(?:不存在|未找到)|(?:找不到|未找到|不存在).{0,4}任务"
)
#: What a 404 is about when it is not about the job.
_NOT_A_JOB = re.compile(
    r"/|\b(?:ur[il]|rout|path|endpoint|page|method|model|host|server|service|type|queue|handler)|模型|接口|路径"
)

_A_PATH = re.compile(
    r"(?:^|[\s(])/\w|\b(?:ur[il]|routes?|path|endpoint|page|method not allowed|cannot (?:get|post))\b"
    r"|接口|路径"
)
_NO_MODEL = re.compile(
    rf"\bmodel\b{_ABSENT}|\b(?:no such|unknown|invalid) model\b|模型.{{0,80}}(?:不存在|未找到)"
)


def job_unknown(words: str) -> bool:
    """Whether an error of code 404 is about the job, and not about a path, a model or a host."""
    if _NOT_A_JOB.search(_said(words)):
        return False
    return only_not_found(words) or _NO_JOB.search(_said(words)) is not None


def only_not_found(words: str) -> bool:
    """Whether the words of a 404 say nothing but that."""
    return _said(words).rstrip(".!") in ("not found", "404 not found")


def about_a_path(words: str) -> bool:
    """Whether an error is about the path or the method of the request, whatever that was to do."""
    return _A_PATH.search(_said(words)) is not None


def model_unknown(words: str) -> bool:
    """Whether an error says that there is no such model."""
    return _NO_MODEL.search(_said(words)) is not None


def _said(words: str) -> str:
    return words[:_LONGEST].strip().lower().replace("_", " ")


def words_tell(words: str, codes: Mapping[str, FailureCategory]) -> FailureCategory | None:
    """
    Return the reason that a vendor's code and words tell, or ``None``.

    :param codes: the vendor's documented codes, in :func:`normal` form; they win over general words.
    """
    said = normal(words)
    for code, category in codes.items():
        if said.startswith(code):
            return category
    for category, needles in _REASONS:
        if any(needle in said for needle in needles):
            return category
    return None
