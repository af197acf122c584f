# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Names of mapped task instances, made of the arguments that tell the instances apart. No I/O.

``espresso-machine 16:9`` instead of ``11``: Airflow's grid then shows which video each instance makes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

MAX_LENGTH = 60

#: Longest single value that is not cut, and the space below which words of a prompt say nothing.
_MAX_VALUE = 40
_MIN_WORDS = 12
_PUNCTUATION = " ,.;:!?-–—\"'"


def instance_name(
    arguments: Mapping[str, Any], known_values: Mapping[str, Sequence[Any]] | None = None
) -> str:
    """
    Return the name of one instance, at most :data:`MAX_LENGTH` characters, or an empty string.

    The last part of a path or URL names it best. Short values follow, and then the first words of a prompt,
    without those that all prompts begin or end with.

    :param arguments: the mapped arguments of this instance by name, rendered.
    :param known_values: of arguments whose values are written in the Dag, the values of all instances.
    """
    known = known_values or {}
    files, values, texts = [], [], []
    for name, value in arguments.items():
        same = known.get(name, ())
        if len(same) > 1 and all(other == value for other in same):
            continue
        if text := _words_of(value):
            texts.append(_without_common_words(text, list(filter(None, map(_words_of, same)))))
        elif file := _file_stem(value):
            files.append(file)
        elif short := _short_value(name, value):
            values.append(short)
    parts = list(dict.fromkeys(_cut(part, _MAX_VALUE) for part in (*files, *values)))
    space = MAX_LENGTH - len(" ".join(parts)) - (1 if parts else 0)
    if texts and not files and space >= _MIN_WORDS:
        # Words come first: "red espresso machine 16:9".
        parts.insert(0, _cut(texts[0], space))
    result = _cut(" ".join(parts), MAX_LENGTH)
    # A Dag with native rendering would make 12 of "12", which is no name.
    return _cut(f"{next(iter(arguments))} {result}", MAX_LENGTH) if _is_python_literal(result) else result


def _clean(text: str) -> str:
    """Return text as one line of printable characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _words_of(value: Any) -> str:
    """Return a text of several words, such as a prompt, without its URLs, or ``""``."""
    text = _clean(value) if isinstance(value, str) else ""
    words = text.split()
    if len(words) < 2 or "://" in words[0]:
        return ""
    return " ".join(word for word in words if "://" not in word)


def _file_stem(value: Any) -> str:
    """Return the name of the file that a path or URL leads to, without its ending and query, or ``""``."""
    if isinstance(value, list | tuple) and value:
        value = value[0]
    if not isinstance(value, str) or "/" not in value or value.startswith("data:"):
        return ""
    try:
        path = urlsplit(value).path if "://" in value else value.partition("?")[0]
    except ValueError:
        return ""
    # Fields such as {task_id} are filled in later.
    stems = (PurePosixPath(part).stem for part in reversed(path.split("/")) if "{" not in part)
    return next((name for stem in stems if (name := _clean(unquote(stem)).strip("."))), "")


def _short_value(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        # The result of a generation, or the job to continue from.
        value = value.get("task_id")
    if isinstance(value, list | tuple):
        value = value[0] if value else None
    if isinstance(value, str):
        return _host(value) if "://" in value else "" if value.startswith("data:") else _clean(value)
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    return f"{value} s" if name == "duration" else str(value)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _without_common_words(text: str, others: Iterable[str]) -> str:
    """Return the words of a text that are not at the beginning or the end of all texts."""
    texts = [words.split() for words in dict.fromkeys((text, *others))]
    own = texts[0]
    if len(texts) == 1:
        return text
    longest = min(map(len, texts)) - 1
    start = _common_length(texts, longest)
    end = _common_length([words[::-1] for words in texts], longest - start)
    return " ".join(own[start : len(own) - end]).strip(_PUNCTUATION) or text


def _common_length(texts: Sequence[Sequence[str]], longest: int) -> int:
    """Return how many words all texts begin with."""
    for length in range(longest):
        if len({words[length] for words in texts}) > 1:
            return length
    return max(longest, 0)


def _cut(text: str, length: int) -> str:
    """Return a text that is not longer, if possible cut between two words."""
    if len(text) <= length:
        return text
    kept = text[: length - 1]
    whole = kept.rpartition(" ")[0] if text[length - 1] != " " else kept
    return (whole if len(whole) > length // 2 else kept).rstrip(_PUNCTUATION) + "…"


def _is_python_literal(text: str) -> bool:
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False
    return True
