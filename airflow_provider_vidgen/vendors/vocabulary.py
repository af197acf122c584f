# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Words for job states and for reasons of failure, as far as they are common to all vendors."""

from __future__ import annotations

import re
from collections.abc import Mapping

from airflow_provider_vidgen.models import FailureCategory, JobState

#: Every spelling in the vendors' documents and their families' relay software; compared in lower case.
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

#: Searched for in the vendor's code and message, in this order, without spaces and punctuation.
_FAILURE_TERMS: tuple[tuple[FailureCategory, tuple[str, ...]], ...] = (
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

#: Technical phrases that contain words of content policies. Searched for in text with single spaces.
_TECHNICAL_PHRASES = re.compile(
    r"""
    # HTTP methods, operating system
    \b(?:method(?:\ is)?|405)\ not\ allowed
    | \boperation\ (?:is\ )?not\ (?:permitted|allowed)
    | \binappropriate\ ioctl
    | \badministratively\ prohibited
    # databases and memory: constraint violation, violates unique constraint
    | \b(?:access|constraint|integrity|protocol|segmentation|assertion|sharing|lock|pep\d*)\ violations?
    | \bviolates\ (?:the\ )?(?:unique|foreign|not\ null|check|row\ level|primary|exclusion|constraint)
    # policies of infrastructure
    | \b(?:retry|retention|cach(?:e|ing)|cors|same\ origin|referrer|(?:auto\ ?)?scaling
        |scheduling|eviction|restart|backoff|routing|load\ balancing|network|bucket|iam|access|lifecycle
        |quota|billing|queue|priority|update)\ polic(?:y|ies)
    # safety of threads, types and memory
    | \b(?:thread|type|memory)\ (?:un)?safe(?:ty)?
    | \bunsafe\ (?:operation|pointer|legacy|memory|attempt)
    # connections and queries: the connection was rejected by
    | \b(?:connection|socket|handshake|packet|certificate|promise|transaction|message|thread|process|query)s?
        (?:\ (?:was|were|is|has|been|got))*
        \ (?:rejected|refused|blocked|denied|filtered)(?:\ by|\ for|\ due)?
    # blocked by a proxy, a lock, another transaction
    | \b(?:rejected|blocked|refused|denied)\ by\ (?:the\ |a\ |an\ |another\ )?
        (?:peer|remote|proxy|firewall|waf|cors|kernel|broker|scheduler|queue|gateway|load\ balancer|cloudflare
        |lock|client|transaction|process)
    # connection refused, access denied
    | 连接被?拒绝|拒绝连接|拒绝访问
    """,
    re.VERBOSE,
)
#: In the message of a failed job: one of its parameters was not accepted.
_INPUT_PHRASES = re.compile(
    r"""
    \b(?:extra\ inputs|parameters?|fields?|arguments?|propert(?:y|ies)|durations?|seconds|sizes?
        |resolutions?|ratios?|formats?|types?|dimensions?)
    (?:\ \w+){0,2}
    \ (?:not|t)\ (?:be\ )?(?:allowed|permitted|supported)\b
    """,
    re.VERBOSE,
)
#: In the message of a failed job, where no other term is found: phrases for rejected content.
_CONTENT_PHRASES = re.compile(
    r"""
    # not allowed, isn't permitted, can't be acceptable
    \b(?:not|t)\ (?:be\ )?(?:allowed|permitted|acceptable|appropriate|suitable|comply|compliant)\b
    | \b(?:disallowed|polic(?:y|ies)|guidelines?|prohibited|unsafe|safety)\b
    | \b(?:forbidden\ (?:content|words?|topics?))\b
    # the prompt was rejected
    | \b(?:request|prompt|input|content|image|video|photo|text|media|material|generation|output|result|job
        |task)s?
        (?:\ (?:was|were|is|are|has|have|had|been|be|being|got|automatically))*
        \ (?:rejected|refused|blocked|flagged|filtered|censored|denied|banned|restricted)\b
    | \b(?:rejected|blocked|flagged|filtered|declined)\ (?:by|for|due|as|because)\b
    # advice: rephrase, modify your prompt, try a different image
    | \brephras(?:e|ing)\b
    | \b(?:modify|change|revise|adjust|edit|different)\ (?:your\ |the\ )?(?:prompts?|images?|idea)\b
    # review, prohibited, refused, not allowed, intercepted, improper, not passed (two spellings), policy,
    # violence, politics, risk control
    | 审核|禁止|拒绝|不允许|拦截|不当|未通过|不通过|政策|暴力|政治|风控
    """,
    re.VERBOSE,
)


def normalize(text: str) -> str:
    """Return text in lower case without spaces and punctuation, so that all spellings are equal."""
    return re.sub(r"[\W_]+", "", text.lower())


def parse_state(word: str, states: Mapping[str, JobState]) -> JobState | None:
    """
    Return the state that a vendor's word stands for, or ``None`` for an undocumented word.

    :param states: the vendor's own words, in lower case with underscores; they win over common ones.
    """
    key = word.lower().replace(" ", "_").replace("-", "_")
    return states.get(key) or _STATES.get(key)


def classify_failure(message: str, fail_codes: Mapping[str, FailureCategory]) -> FailureCategory | None:
    """
    Return the failure category of a vendor's error, or ``None`` if its words are not known.

    :param message: the vendor's error code and message.
    :param fail_codes: the vendor's documented codes, in :func:`normalize` form; they win over general terms.
    """
    normalized = normalize(message)
    for code, category in fail_codes.items():
        if normalized.startswith(code):
            return category
    text = _without_technical_phrases(message).replace(" ", "")
    for category, terms in _FAILURE_TERMS:
        if any(term in text for term in terms):
            return category
    return None


def classify_job_failure(message: str, fail_codes: Mapping[str, FailureCategory]) -> FailureCategory:
    """
    Return the failure category of a failed job; ambiguous words like *not allowed* count as its content.

    Mistaking a vendor's own failure for rejected content only ends the retries. Mistaking rejected content
    for the vendor's own failure would submit, and perhaps pay, again with each retry.
    """
    if category := classify_failure(message, fail_codes):
        return category
    text = _without_technical_phrases(message)
    if _INPUT_PHRASES.search(text):
        return FailureCategory.INVALID_INPUT
    return FailureCategory.CONTENT_POLICY if _CONTENT_PHRASES.search(text) else FailureCategory.INTERNAL


def _without_technical_phrases(message: str) -> str:
    """Return lower-case words with single spaces between them, technical phrases removed."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", message)
    return _TECHNICAL_PHRASES.sub(" ", re.sub(r"[\W_]+", " ", spaced).lower())
