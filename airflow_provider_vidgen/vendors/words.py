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


def normal(words: str) -> str:
    """Return words in lower case without spaces and punctuation, so that all spellings are one."""
    return re.sub(r"[\W_]+", "", words.lower())


def known_state(word: str) -> JobState | None:
    """Return what a vendor's state means, or ``None`` for a word nobody has documented."""
    return _STATES.get(word.lower().replace(" ", "_").replace("-", "_"))


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
