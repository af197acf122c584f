# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Take out of a text what must not be written down: links' secrets, keys, prompts. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby, takewhile

#: Also right after a Chinese character (so no ``\b``), with JSON's escaped slashes, and percent-encoded.
_LINK = re.compile(
    r"(https?)(?:://|:\\/\\/|%3A%2F%2F)([^\s/?#%\"'<>\\]*)(?:[^\s\"'<>\\]|\\/)*", re.IGNORECASE | re.ASCII
)
_DATA_URL = re.compile(r"(?<![a-z\d_])data:[\w.+/-]{0,200}[;,][^\s\"'<>]*", re.IGNORECASE | re.ASCII)
_BEARER = re.compile(r"(?<![a-z\d_])(bearer)\s+[^\s\"',]+", re.IGNORECASE | re.ASCII)
#: The form of most vendors' keys, which an error about a key may quote.
_KEY = re.compile(r"(?<![a-z\d_])sk-[\w-]{8,}", re.IGNORECASE | re.ASCII)

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
    # Longest first: a secret that holds another one must go whole.
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    text = text[:_LONGEST_READ]
    text = _DATA_URL.sub("data:***", text)
    text = _LINK.sub(lambda match: f"{match[1]}://{match[2].rpartition('@')[2]}/***", text)
    text = _BEARER.sub(r"\1 ***", text)
    text = _KEY.sub("sk-***", text)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


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
