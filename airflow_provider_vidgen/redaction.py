# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Remove what must not be logged or stored: signatures of links, keys, prompts. No I/O.

:func:`redact`, for logs, rather removes too much. :func:`without_secrets`, for files that the user keeps,
leaves ordinary text intact: "a secret garden" contains no secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from itertools import groupby, takewhile
from typing import Any, Final

HIDDEN: Final = "***"

#: Also right after a Chinese character (so no ``\b``), with JSON's escapes, and percent-encoded.
_LINK = re.compile(
    r"(https?)(?:://|:\\/\\/|%(?:25)*3A%(?:25)*2F%(?:25)*2F)([^\s/?#%\"'<>\\]*)"
    r"(?:[^\s\"'<>\\]|\\/|\\u[\da-f]{4})*",
    re.IGNORECASE | re.ASCII,
)
#: The beginning of the part of a link that contains its signature or token.
_SIGNATURE_START = re.compile(r"[?#]|%(?:25)*(?:3F|23)|;[\w-]+=", re.IGNORECASE | re.ASCII)
_USERINFO = re.compile(
    r"(://|:\\/\\/|%(?:25)*3A%(?:25)*2F%(?:25)*2F)[^\s/?#\"'<>\\]{0,2000}@", re.IGNORECASE | re.ASCII
)
#: Not of s3:// and the like, where the part before the @ is an Airflow connection.
_HTTP_USERINFO = re.compile(rf"(?<=http|ttps){_USERINFO.pattern}", re.IGNORECASE | re.ASCII)
_USERINFO_WITH_PASSWORD = re.compile(r"(?<=://)[^\s/?#\"'<>\\@:]*:[^\s/?#\"'<>\\]*@")
_TRAILING_PUNCTUATION = ".,;:!?)]}"

_DATA_URL = re.compile(r"(?<![a-z\d_])data:[\w.+/-]{0,200}[;,][^\s\"'<>]*", re.IGNORECASE | re.ASCII)
_BASE64_DATA_URL = re.compile(r"data:[^\s,]{0,200};base64,[\w+/=\s-]*", re.IGNORECASE | re.ASCII)
_BEARER = re.compile(r"(?<![a-z\d_])(bearer)\s+[^\s\"',]+", re.IGNORECASE | re.ASCII)
_AUTH_SCHEME = re.compile(r"(?<![a-z\d_])((?:(?:bearer|basic|token)\s+)+)([\w.~+/=-]+)", re.I | re.A)
_AUTHORIZATION_HEADER = re.compile(
    r"(authorization[\\\"']*\s{0,3}[:=]\s{0,3}[\\\"']*(?:bearer|basic|token)\s+)[^\s\"',\\]+", re.I | re.A
)
#: Keys of most vendors; then those of Amazon, Google, GitHub and Slack, JSON Web Tokens and PEM.
_VENDOR_KEY = re.compile(r"(?<![a-z\d_])sk-[\w-]{8,}", re.IGNORECASE | re.ASCII)
_OTHER_KEYS = re.compile(
    r"(?<![A-Za-z\d_])(?:(?:AKIA|ASIA)[A-Z\d]{16}|AIza[\w-]{35}|gh[pousr]_\w{30,}|github_pat_\w{20,}"
    r"|xox[abprs]-[\w-]{10,}|(?:hf|r8)_[A-Za-z\d]{20,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"
    r"|-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[^-]*(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?",
    re.ASCII,
)

#: ``name=``, ``name: "`` and ``\"name\": \"``, followed by a value.
_ASSIGNMENT = re.compile(
    r"(?<![\w.-])([\w.-]{2,80})([\\\"']*\s{0,3}(?:=>|[=:]|%(?:25)*3D)\s{0,3})(\\*[\"'])?",
    re.IGNORECASE | re.ASCII,
)
_VALUE = re.compile(r"[^\s\"'&,;<>\\)\]}]+")
#: Characters of a value that are examined to decide whether it is a secret.
_MAX_EXAMINED = 200
_QUOTED_VALUE = {'"': re.compile(r'(?:[^"\\]|\\+[^"\\])*'), "'": re.compile(r"(?:[^'\\]|\\+[^'\\])*")}
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", re.ASCII)
_SECRET_NAME = re.compile(
    r"(?:^|_)(?:password|passwd|passphrase|pwd|secret|token|authorization|apikey"
    r"|(?:api|access|secret|private|account|auth|signing|subscription)_key)$"
)
#: These names have other meanings, too (a time signature), so the value must look like a secret as well.
_AMBIGUOUS_NAME = re.compile(r"(?:^|_)(?:sig|signature|credential|cookie|auth|jwt)$")
_TOKEN = re.compile(r"[\w.~+/=%-]{8,}", re.ASCII)
_LETTER = re.compile("[A-Za-z]")
_CAMEL_CASE = re.compile("[a-z][A-Z]")
_MAX_WORD_LENGTH = 30

#: Longer text is cut off.
_MAX_LENGTH = 500
#: Replacing shorter secrets would replace parts of ordinary words.
_MIN_SECRET_LENGTH = 6
#: Letters and digits in a row that count as a quotation of the prompt: from its beginning, or from anywhere.
_MIN_PREFIX = 10
_MIN_PASSAGE = 20
#: Text beyond this never appears in the result, so the patterns need not process it.
_MAX_PROCESSED = 20_000


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """
    Return a text without secrets, for a log or an error message.

    Links keep scheme and host, data URLs nothing, and each secret becomes ``***``.

    :param text: such as a vendor's message.
    :param secrets: API key, prompt, and any other text that must not appear.
    """
    text = _without_known_secrets(text, secrets)[:_MAX_PROCESSED]
    text = _DATA_URL.sub("data:***", text)
    text = _HTTP_USERINFO.sub(r"\1", text)
    text = _LINK.sub(lambda match: f"{match[1]}://{match[2].rpartition('@')[2]}/***", text)
    text = _BEARER.sub(r"\1 ***", text)
    text = _without_keys(text)
    return text if len(text) <= _MAX_LENGTH else text[:_MAX_LENGTH] + "…"


def without_secrets(value: Any, secrets: Collection[str] = ()) -> Any:
    """
    Return JSON values without keys, tokens, passwords and signatures, for a file; also inside of text.

    Links keep host and path, data URLs their type and length. A mapping's value whose name is that of a
    secret, such as ``api_key``, becomes ``***``. Ordinary text remains unchanged.

    :param value: mappings, lists and text, nested; JSON inside of text is processed as well.
    :param secrets: known secrets, such as the API key.
    :raises RecursionError: it is nested too deeply.
    """
    if isinstance(value, Mapping):
        pair = any(_names_secret(str(value.get(name))) for name in ("name", "key", "header"))
        return {
            _text_without_secrets(str(name), secrets): HIDDEN
            if _is_secret(name, inner) or (pair and name == "value")
            else without_secrets(inner, secrets)
            for name, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [without_secrets(inner, secrets) for inner in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return _text_without_secrets(str(value), secrets)


def _without_known_secrets(text: str, secrets: Iterable[str]) -> str:
    # Longest first: a secret that contains another one must be replaced as a whole.
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _MIN_SECRET_LENGTH:
            text = text.replace(secret, HIDDEN)
    return text


def _text_without_secrets(text: str, secrets: Collection[str]) -> str:
    text = _without_known_secrets(text, secrets)
    if data_url := _BASE64_DATA_URL.fullmatch(text):  # also one with line breaks
        return _shortened(data_url)
    if text.lstrip()[:1] in ("{", "["):
        try:
            parsed = json.loads(text)
            clean = without_secrets(parsed, secrets)
        except (ValueError, RecursionError):
            clean = parsed = None
        if clean != parsed:
            return json.dumps(clean, ensure_ascii=False)
    text = _DATA_URL.sub(_shortened, text)
    text = _LINK.sub(lambda match: _without_signature(match[0]), text)
    return _without_keys(text)


def _shortened(match: re.Match[str]) -> str:
    """Return the type and the length of a data URL."""
    media_type, comma, data = match[0].partition(",")
    return f"{media_type},... ({len(data)} characters)" if comma else "data:..."


def _without_signature(link: str) -> str:
    """Return a link without user information and without what follows its path."""
    rest = ""
    if start := _SIGNATURE_START.search(link):
        link, rest = link[: start.start()], link[start.start() :]
        # Chinese text may follow a link without a space; the value of a query is ASCII.
        last = max(rest.rfind("&"), rest.rfind("="), 0) + 1
        while last < len(rest) and rest[last].isascii():
            last += 1
        query = rest[:last]
        rest = query[len(query.rstrip(_TRAILING_PUNCTUATION)) :] + rest[last:]
    return _USERINFO.sub(r"\1", link) + rest


def _without_keys(text: str) -> str:
    """Replace values assigned to the name of a secret, and keys recognised by their format."""
    text = _OTHER_KEYS.sub(HIDDEN, _VENDOR_KEY.sub(f"sk-{HIDDEN}", text))
    text = _USERINFO_WITH_PASSWORD.sub("", text)
    text = _AUTHORIZATION_HEADER.sub(rf"\1{HIDDEN}", text)
    text = _AUTH_SCHEME.sub(lambda match: match[1] + HIDDEN if _looks_secret(match[2]) else match[0], text)
    parts, done = [], 0
    for match in _ASSIGNMENT.finditer(text):
        if match.start() < done:
            continue
        name, separator, quote = match[1], match[2], match[3]
        is_secret_name = _names_secret(name)
        if not is_secret_name and not _AMBIGUOUS_NAME.search(_snake_case(name)):
            continue
        value = _QUOTED_VALUE[quote[-1]] if quote else _VALUE
        found = value.match(text, match.end(), match.end() + _MAX_EXAMINED)
        if found is None or not found[0]:
            continue
        # "The secret: a garden" is prose; secret=..., "secret": "...", my_secret: ..., ?secret=... are not.
        is_assignment = separator.strip() != ":" or "_" in _snake_case(name)
        if (
            is_assignment if is_secret_name else text[match.start() - 1 : match.start()] in ("?", "&")
        ) or _looks_secret(found[0]):
            full_value = value.match(text, match.end())
            parts += [text[done : match.end()], HIDDEN]
            done = full_value.end() if full_value else found.end()
    return "".join(parts) + text[done:]


def _is_secret(name: Any, value: Any) -> bool:
    """Whether an entry of a mapping is a secret, by its name or by name and value."""
    if not isinstance(name, str) or isinstance(value, bool) or not (value or isinstance(value, int | float)):
        return False
    if _names_secret(name):
        return True
    snake_case_name = _snake_case(name)
    if _names_secret(snake_case_name.removesuffix("s")) or _AMBIGUOUS_NAME.search(
        snake_case_name.removesuffix("s")
    ):
        return not isinstance(value, int | float | str) or (isinstance(value, str) and _looks_secret(value))
    return False


def _names_secret(name: str) -> bool:
    return _SECRET_NAME.search(_snake_case(name)) is not None


def _snake_case(name: str) -> str:
    """Return ``X-Api-Key`` and ``clientSecret`` as ``x_api_key`` and ``client_secret``."""
    return "_".join(_WORDS.findall(name)).lower()


def _looks_secret(text: str) -> bool:
    """Whether a text is one long word with letters and digits mixed, as in no prose."""
    word = text.rstrip(_TRAILING_PUNCTUATION)
    if not _TOKEN.fullmatch(word):
        return False
    mixed = _LETTER.search(word) and any(map(str.isdigit, word))
    return bool(mixed or (len(word) >= 12 and _CAMEL_CASE.search(word)) or len(word) >= _MAX_WORD_LENGTH)


def without_prompt(text: str, prompt: str) -> str:
    """
    Return a text with quotations of the prompt replaced by ``***``: its beginning, and every long passage.

    Vendors truncate prompts, and change case, spaces and punctuation. A few words from the middle remain:
    they show what the vendor objects to.
    """
    prompt_letters = [letter for _, letter in _letters(prompt)]
    prefix = prompt_letters[:_MIN_PREFIX]
    if len(prefix) < _MIN_SECRET_LENGTH:
        return text
    passages = {
        tuple(prompt_letters[start : start + _MIN_PASSAGE])
        for start in range(len(prompt_letters) - _MIN_PASSAGE + 1)
    }
    letters = list(_letters(text))
    positions, text_letters = [position for position, _ in letters], tuple(letter for _, letter in letters)
    hidden: set[int] = set()
    for start in range(len(text_letters)):
        length = _MIN_PASSAGE if text_letters[start : start + _MIN_PASSAGE] in passages else 0
        if list(text_letters[start : start + len(prefix)]) == prefix:
            pairs = zip(text_letters[start:], prompt_letters, strict=False)
            length = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
        if length:
            hidden.update(range(positions[start], positions[start + length - 1] + 1))
    parts = groupby(enumerate(text), key=lambda item: item[0] in hidden)
    return "".join("***" if hide else "".join(letter for _, letter in run) for hide, run in parts)


def _letters(text: str) -> Iterable[tuple[int, str]]:
    """Return the letters and digits of a text, case-folded, each with its position."""
    return ((position, letter.casefold()) for position, letter in enumerate(text) if letter.isalnum())
