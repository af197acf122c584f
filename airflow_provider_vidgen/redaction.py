# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Take out what must not be written down: links' secrets, keys, prompts. No I/O.

For a log, :func:`redact` would rather take out a word too much. For a file that the user keeps,
:func:`without_secrets` leaves ordinary text whole: "a secret garden" holds none.
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
#: Where the part of a link begins that signs it, or carries a token.
_SIGNED_PART = re.compile(r"[?#]|%(?:25)*(?:3F|23)|;[\w-]+=", re.IGNORECASE | re.ASCII)
_USER = re.compile(
    r"(://|:\\/\\/|%(?:25)*3A%(?:25)*2F%(?:25)*2F)[^\s/?#\"'<>\\]{0,2000}@", re.IGNORECASE | re.ASCII
)
#: Not of s3:// and its like, where an Airflow connection stands before the @.
_USER_OF_A_LINK = re.compile(rf"(?<=http|ttps){_USER.pattern}", re.IGNORECASE | re.ASCII)
_USER_WITH_PASSWORD = re.compile(r"(?<=://)[^\s/?#\"'<>\\@:]*:[^\s/?#\"'<>\\]*@")
_AFTER_A_LINK = ".,;:!?)]}"

_DATA_URL = re.compile(r"(?<![a-z\d_])data:[\w.+/-]{0,200}[;,][^\s\"'<>]*", re.IGNORECASE | re.ASCII)
_PICTURE = re.compile(r"data:[^\s,]{0,200};base64,[\w+/=\s-]*", re.IGNORECASE | re.ASCII)
_BEARER = re.compile(r"(?<![a-z\d_])(bearer)\s+[^\s\"',]+", re.IGNORECASE | re.ASCII)
_SCHEME = re.compile(r"(?<![a-z\d_])((?:(?:bearer|basic|token)\s+)+)([\w.~+/=-]+)", re.I | re.A)
_HEADER = re.compile(
    r"(authorization[\\\"']*\s{0,3}[:=]\s{0,3}[\\\"']*(?:bearer|basic|token)\s+)[^\s\"',\\]+", re.I | re.A
)
#: The form of most vendors' keys, and of Amazon's, Google's, GitHub's, Slack's, JSON web tokens and PEM.
_KEY = re.compile(r"(?<![a-z\d_])sk-[\w-]{8,}", re.IGNORECASE | re.ASCII)
_OTHER_KEYS = re.compile(
    r"(?<![A-Za-z\d_])(?:(?:AKIA|ASIA)[A-Z\d]{16}|AIza[\w-]{35}|gh[pousr]_\w{30,}|github_pat_\w{20,}"
    r"|xox[abprs]-[\w-]{10,}|(?:hf|r8)_[A-Za-z\d]{20,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"
    r"|-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[^-]*(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?",
    re.ASCII,
)

#: ``name=``, ``name: "`` and ``\"name\": \"``; what follows is the value.
_ASSIGNED = re.compile(
    r"(?<![\w.-])([\w.-]{2,80})([\\\"']*\s{0,3}(?:=>|[=:]|%(?:25)*3D)\s{0,3})(\\*[\"'])?",
    re.IGNORECASE | re.ASCII,
)
_VALUE = re.compile(r"[^\s\"'&,;<>\\)\]}]+")
#: So much of a value tells whether it is a secret.
_JUDGED = 200
_QUOTED = {'"': re.compile(r'(?:[^"\\]|\\+[^"\\])*'), "'": re.compile(r"(?:[^'\\]|\\+[^'\\])*")}
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", re.ASCII)
_SECRET_NAME = re.compile(
    r"(?:^|_)(?:password|passwd|passphrase|pwd|secret|token|authorization|apikey"
    r"|(?:api|access|secret|private|account|auth|signing|subscription)_key)$"
)
#: Names of other things, too: a time signature, a cookie to eat. There the value has to look like a secret.
_PERHAPS_SECRET_NAME = re.compile(r"(?:^|_)(?:sig|signature|credential|cookie|auth|jwt)$")
_TOKEN = re.compile(r"[\w.~+/=%-]{8,}", re.ASCII)
_LETTER = re.compile("[A-Za-z]")
_CAMEL = re.compile("[a-z][A-Z]")
_LONGEST_WORD = 30

#: Vendor's words are kept up to this many characters.
_LONGEST = 500
#: Shorter secrets would blank out parts of ordinary words.
_SHORTEST_SECRET = 6
#: So many letters and digits, and it is the prompt's beginning that is quoted; or a stretch of it.
_BEGINNING = 10
_STRETCH = 20
#: Nothing beyond can show, and the patterns need not read it.
_LONGEST_READ = 20_000


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """
    Return the text fit for a log or an error message.

    Links keep scheme and host, data URLs nothing, and each secret becomes ``***``.

    :param text: a vendor's words, say.
    :param secrets: API key, prompt, whatever else must not show.
    """
    text = _without_known(text, secrets)[:_LONGEST_READ]
    text = _DATA_URL.sub("data:***", text)
    text = _USER_OF_A_LINK.sub(r"\1", text)
    text = _LINK.sub(lambda match: f"{match[1]}://{match[2].rpartition('@')[2]}/***", text)
    text = _BEARER.sub(r"\1 ***", text)
    text = _without_keys(text)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def without_secrets(value: Any, secrets: Collection[str] = ()) -> Any:
    """
    Return JSON values fit for a file: without keys, tokens, passwords and signatures, within texts as well.

    Links keep host and path, data URLs their kind and length. What a mapping calls a secret, such as
    ``api_key``, becomes ``***`` whole. Ordinary text stays as it is.

    :param value: mappings, lists and texts, however nested; JSON inside a text is read as well.
    :param secrets: what is known to be secret, such as the API key.
    :raises RecursionError: it is nested deeper than Python can follow.
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


def _without_known(text: str, secrets: Iterable[str]) -> str:
    # Longest first: a secret that holds another one must go whole.
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, HIDDEN)
    return text


def _text_without_secrets(text: str, secrets: Collection[str]) -> str:
    text = _without_known(text, secrets)
    if picture := _PICTURE.fullmatch(text):  # also one in lines
        return _shortened(picture)
    if text.lstrip()[:1] in ("{", "["):
        try:
            told = json.loads(text)
            clean = without_secrets(told, secrets)
        except (ValueError, RecursionError):
            clean = told = None
        if clean != told:
            return json.dumps(clean, ensure_ascii=False)
    text = _DATA_URL.sub(_shortened, text)
    text = _LINK.sub(lambda match: _without_signature(match[0]), text)
    return _without_keys(text)


def _shortened(match: re.Match[str]) -> str:
    """Name the kind and the length of a data URL."""
    kind, comma, data = match[0].partition(",")
    return f"{kind},... ({len(data)} characters)" if comma else "data:..."


def _without_signature(link: str) -> str:
    """Cut a link off after its path, and take out who it logs in as."""
    rest = ""
    if signed := _SIGNED_PART.search(link):
        link, rest = link[: signed.start()], link[signed.start() :]
        # Chinese goes on without a space; a value that is signed ends in ASCII.
        last = max(rest.rfind("&"), rest.rfind("="), 0) + 1
        while last < len(rest) and rest[last].isascii():
            last += 1
        said = rest[:last]
        rest = said[len(said.rstrip(_AFTER_A_LINK)) :] + rest[last:]
    return _USER.sub(r"\1", link) + rest


def _without_keys(text: str) -> str:
    """Take out what is assigned to the name of a secret, and keys that their form gives away."""
    text = _OTHER_KEYS.sub(HIDDEN, _KEY.sub(f"sk-{HIDDEN}", text))
    text = _USER_WITH_PASSWORD.sub("", text)
    text = _HEADER.sub(rf"\1{HIDDEN}", text)
    text = _SCHEME.sub(lambda match: match[1] + HIDDEN if _looks_secret(match[2]) else match[0], text)
    parts, done = [], 0
    for match in _ASSIGNED.finditer(text):
        if match.start() < done:
            continue
        name, sign, quote = match[1], match[2], match[3]
        named = _names_secret(name)
        if not named and not _PERHAPS_SECRET_NAME.search(_in_words(name)):
            continue
        value = _QUOTED[quote[-1]] if quote else _VALUE
        found = value.match(text, match.end(), match.end() + _JUDGED)
        if found is None or not found[0]:
            continue
        # "The secret: a garden" is prose; secret=..., "secret": "...", my_secret: ..., ?secret=... are not.
        written = sign.strip() != ":" or "_" in _in_words(name)
        if (written if named else text[match.start() - 1 : match.start()] in ("?", "&")) or _looks_secret(
            found[0]
        ):
            whole = value.match(text, match.end())
            parts += [text[done : match.end()], HIDDEN]
            done = whole.end() if whole else found.end()
    return "".join(parts) + text[done:]


def _is_secret(name: Any, value: Any) -> bool:
    """Whether a mapping says by a name, or by name and value, that it holds a secret there."""
    if not isinstance(name, str) or isinstance(value, bool) or not (value or isinstance(value, int | float)):
        return False
    if _names_secret(name):
        return True
    words = _in_words(name)
    if _names_secret(words.removesuffix("s")) or _PERHAPS_SECRET_NAME.search(words.removesuffix("s")):
        return not isinstance(value, int | float | str) or (isinstance(value, str) and _looks_secret(value))
    return False


def _names_secret(name: str) -> bool:
    return _SECRET_NAME.search(_in_words(name)) is not None


def _in_words(name: str) -> str:
    """Return ``X-Api-Key`` and ``clientSecret`` as ``x_api_key`` and ``client_secret``."""
    return "_".join(_WORDS.findall(name)).lower()


def _looks_secret(text: str) -> bool:
    """Whether it is one long word of letters and digits mixed, which no prose has."""
    word = text.rstrip(_AFTER_A_LINK)
    if not _TOKEN.fullmatch(word):
        return False
    mixed = _LETTER.search(word) and any(map(str.isdigit, word))
    return bool(mixed or (len(word) >= 12 and _CAMEL.search(word)) or len(word) >= _LONGEST_WORD)


def without_prompt(text: str, prompt: str) -> str:
    """
    Return the text with the prompt as ``***``: all of it, its beginning, and each long stretch of it.

    Vendors cut prompts off, and change case, spaces and punctuation. A few words out of the middle stay: they
    tell what the vendor objects to.
    """
    asked = [letter for _, letter in _letters(prompt)]
    beginning = asked[:_BEGINNING]
    if len(beginning) < _SHORTEST_SECRET:
        return text
    stretches = {tuple(asked[at : at + _STRETCH]) for at in range(len(asked) - _STRETCH + 1)}
    letters = list(_letters(text))
    places, said = [place for place, _ in letters], tuple(letter for _, letter in letters)
    hidden: set[int] = set()
    for at in range(len(said)):
        same = _STRETCH if said[at : at + _STRETCH] in stretches else 0
        if list(said[at : at + len(beginning)]) == beginning:
            same = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(said[at:], asked, strict=False))))
        if same:
            hidden.update(range(places[at], places[at + same - 1] + 1))
    parts = groupby(enumerate(text), key=lambda place: place[0] in hidden)
    return "".join("***" if hide else "".join(letter for _, letter in run) for hide, run in parts)


def _letters(text: str) -> Iterable[tuple[int, str]]:
    """Return letters and digits as they are compared, each with its place."""
    return ((at, letter.casefold()) for at, letter in enumerate(text) if letter.isalnum())
