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
            "contentpolicies",
            "contentfilter",
            "contentchecker",
            "contentmoderat",
            "contentsafety",
            "moderation",
            "moderated",
            "safetyguideline",
            "safetysystem",
            "safetyfilter",
            "safetysetting",
            "safetycheck",
            "sensitivecontent",
            "sensitiveinfo",
            "sensitiveword",
            "newsensitive",
            "prohibitedcontent",
            "inappropriate",
            "guardrail",
            "responsibleai",
            "usageguideline",
            "usagepolic",
            "communityguideline",
            "termsofservice",
            "datainspection",
            "greennetcheck",
            "unsafecontent",
            "unsafegeneration",
            "explicitcontent",
            "nsfw",
            "nudity",
            "sexual",
            "copyright",
            "celebrit",
            "likeness",
            "publicfigure",
            "prominentpeople",
            "violates",
            "violating",
            "violation",
            "敏感",
            "违规",
            "违禁",
            "违反",
            "不合规",
            "不当内容",
            "内容安全",
            "内容审核",
            "审核未通过",
            "审核不通过",
            "审核失败",
            "色情",
            "裸露",
            "版权",
            "侵权",
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
            "ipaddressesnotallowed",
        ),
    ),
    (
        FailureCategory.VENDOR_TIMEOUT,
        ("processingtimeout", "timedout", "timeout", "超时"),
    ),
    (
        FailureCategory.CAPACITY,
        (
            "ratelimit",
            "toomanyrequests",
            "overloaded",
            "capacity",
            "noavailablechannel",
            "unavailable",
            "busy",
            "queuefull",
            "queueisfull",
            "繁忙",
            "饱和",
        ),
    ),
)

#: What programs and networks say of themselves in words that content is judged by, too. Looked for in words
#: that are set apart by single spaces.
_OF_MACHINES = re.compile(
    r"\b(?:method(?: is)?|405) not allowed|\boperation (?:is )?not (?:permitted|allowed)"
    r"|\binappropriate ioctl|\badministratively prohibited"
    r"|\b(?:access|constraint|integrity|protocol|segmentation|assertion|sharing|lock|pep\d*) violations?"
    r"|\bviolates (?:the )?(?:unique|foreign|not null|check|row level|primary|exclusion|constraint)"
    r"|\b(?:retry|retention|cach(?:e|ing)|cors|same origin|referrer|(?:auto ?)?scaling"
    r"|scheduling|eviction|restart|backoff|routing|load balancing|network|bucket|iam|access|lifecycle"
    r"|quota|billing|queue|priority|update) polic(?:y|ies)"
    r"|\b(?:thread|type|memory) (?:un)?safe(?:ty)?|\bunsafe (?:operation|pointer|legacy|memory|attempt)"
    r"|\b(?:connection|socket|handshake|packet|certificate|promise|transaction|message|thread|process|query)s?"
    r"(?: (?:was|were|is|has|been|got))* (?:rejected|refused|blocked|denied|filtered)(?: by| for| due)?"
    r"|\b(?:rejected|blocked|refused|denied) by (?:the |a |an |another )?(?:peer|remote|proxy|firewall|waf"
    r"|cors|kernel|broker|scheduler|queue|gateway|load balancer|cloudflare|lock|client|transaction|process)"
    r"|连接被?拒绝|拒绝连接|拒绝访问"
)
#: Of a job that failed, these are about an input, and what they do not reach is taken for content.
_OF_INPUTS = re.compile(
    r"\b(?:extra inputs|parameters?|fields?|arguments?|propert(?:y|ies)|durations?|seconds|sizes?"
    r"|resolutions?|ratios?|formats?|types?|dimensions?)(?: \w+){0,2}"
    r" (?:not|t) (?:be )?(?:allowed|permitted|supported)\b"
)
_OF_CONTENT = re.compile(
    r"\b(?:not|t) (?:be )?(?:allowed|permitted|acceptable|appropriate|suitable|comply|compliant)\b"
    r"|\b(?:disallowed|polic(?:y|ies)|guidelines?|prohibited|unsafe|safety)\b"
    r"|\b(?:forbidden (?:content|words?|topics?))\b"
    r"|\b(?:request|prompt|input|content|image|video|photo|text|media|material|generation|output|result|job|task)s?"
    r"(?: (?:was|were|is|are|has|have|had|been|be|being|got|automatically))*"
    r" (?:rejected|refused|blocked|flagged|filtered|censored|denied|banned|restricted)\b"
    r"|\b(?:rejected|blocked|flagged|filtered|declined) (?:by|for|due|as|because)\b"
    r"|\brephras(?:e|ing)\b"
    r"|\b(?:modify|change|revise|adjust|edit|different) (?:your |the )?(?:prompts?|images?|idea)\b"
    r"|审核|禁止|拒绝|不允许|拦截|不当|未通过|不通过|政策|暴力|政治|风控"
)


def normal(words: str) -> str:
    """Return words in lower case without spaces and punctuation, so that all spellings are one."""
    return re.sub(r"[\W_]+", "", words.lower())


def known_state(word: str) -> JobState | None:
    """Return what a vendor's state means, or ``None`` for a word nobody has documented."""
    return _STATES.get(word.lower().replace(" ", "_").replace("-", "_"))


def classify_failure(words: str, codes: Mapping[str, FailureCategory]) -> FailureCategory | None:
    """
    Return the reason that a vendor's code and words tell, or ``None``.

    :param codes: the vendor's documented codes, in :func:`normal` form; they win over general words.
    """
    coded = normal(words)
    for code, category in codes.items():
        if coded.startswith(code):
            return category
    said = _of_the_job(words).replace(" ", "")
    for category, needles in _REASONS:
        if any(needle in said for needle in needles):
            return category
    return None


def classify_job_failure(words: str, codes: Mapping[str, FailureCategory]) -> FailureCategory:
    """
    Return the reason why a job failed, leaning to its content where words like *not allowed* leave it open.

    A failure of the vendor's that is taken for content ends the retries and costs nothing. Content that is
    taken for a failure of the vendor's is submitted, and perhaps paid, again with each of them.
    """
    if told := classify_failure(words, codes):
        return told
    said = _of_the_job(words)
    if _OF_INPUTS.search(said):
        return FailureCategory.INVALID_INPUT
    return FailureCategory.CONTENT_POLICY if _OF_CONTENT.search(said) else FailureCategory.INTERNAL


def _of_the_job(words: str) -> str:
    """Return words in lower case, set apart by single spaces, without what machines say of themselves."""
    apart = re.sub(r"[\W_]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", words)).lower()
    return _OF_MACHINES.sub(" ", apart)
