# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The documented limits of a request, as data, and the one place that compares a request with them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_vidgen.addresses import may_be_public_host
from airflow_provider_vidgen.errors import Problem
from airflow_provider_vidgen.models import VideoRequest
from airflow_provider_vidgen.redaction import redact
from airflow_provider_vidgen.vendors.images import check_images
from airflow_provider_vidgen.vendors.reading import is_link
from airflow_provider_vidgen.vendors.templates import HINT, NOT_RENDERED, left_over, unrendered_within

if TYPE_CHECKING:
    from airflow_provider_vidgen.vendors.base import Vendor

RESOLUTIONS = ("480p", "720p", "1080p")
_UNSET: tuple[Any, ...] = (None, [], ())
_RATIO = re.compile(r"[1-9]\d{0,3}:[1-9]\d{0,3}")


@dataclass(frozen=True, kw_only=True)
class ModelRules:
    """
    What a vendor's document says of one model. ``None`` or empty means the document sets no limit.

    :param as_of: the day the document was read (the documents carry no date of their own).
    :param durations: seconds that are taken.
    :param advised_durations: seconds that the document suggests; others get a warning.
    :param advised_ratios: ratios the document is sure of; others of ``ratios`` get a warning.
    :param max_prompt: characters that are taken.
    :param advised_prompt: characters beyond which a family of the vendor is known to refuse.
    :param images: least and most reference images.
    :param longest_with_images: with at least so many images, at most so many seconds.
    :param unconfirmed: fields that are sent under a name no document confirms.
    """

    as_of: date
    durations: Collection[int] | None = None
    advised_durations: Collection[int] | None = None
    ratios: Collection[str] | None = None
    advised_ratios: Collection[str] | None = None
    resolutions: Collection[str] | None = None
    max_prompt: int | None = None
    advised_prompt: int | None = None
    images: tuple[int, int] | None = None
    longest_with_images: tuple[int, int] | None = None
    unconfirmed: Collection[str] = ()


def check_request(vendor: Vendor, request: VideoRequest, *, allow_private: bool) -> list[Problem]:
    """Judge what holds for all models of a vendor."""
    found: list[Problem] = []
    said = left_over(request.prompt)
    if not isinstance(request.prompt, str) or not request.prompt.strip():
        constraint = f"must be text, not empty; {HINT}"
        found.append(Problem(field="prompt", value=_kind(request.prompt), constraint=constraint))
    elif said:
        found.append(
            Problem(field="prompt", value=said[0], constraint=f"must be the finished text; {said[1]}")
        )
    elif not is_json_serializable(request.prompt):
        found.append(
            Problem(
                field="prompt", value=_kind(request.prompt), constraint="holds characters that UTF-8 cannot"
            )
        )

    def say(field: str, constraint: str) -> None:
        value = getattr(request, field)
        told = left_over(value)
        found.append(
            Problem(
                field=field,
                value=shown(value),
                constraint=f"must be {constraint}" + (f"; {told[1]}" if told else ""),
            )
        )

    model = request.model
    if not isinstance(model, str) or not model.strip() or left_over(model):
        say("model", f"a model id, such as {', '.join(vendor.models)}")
    elif not re.fullmatch(r"[\w.:@+/-]*[\w:@+-]", model) or ".." in model:
        say("model", "a model id without spaces")
    seconds = request.duration
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int) or seconds < 1):
        typed = "" if isinstance(seconds, int) or left_over(seconds) else ": int(...) makes one of a value"
        say("duration", f"a whole number of seconds, at least 1, as a number or as text like '6'{typed}")
    if request.aspect_ratio is not None and not _matches(_RATIO, request.aspect_ratio):
        say("aspect_ratio", "width:height, such as 16:9")
    if request.resolution is not None and request.resolution not in RESOLUTIONS:
        say("resolution", "480p, 720p or 1080p")
    found += check_images(vendor, request.image_urls)
    found += _check_unsupported(vendor, request)
    found += _check_callback(vendor, request.callback_url, allow_private)
    found += _check_extra(vendor, request.extra)
    return found


def check_model_rules(rules: ModelRules, request: VideoRequest, *, images: int) -> list[Problem]:
    """Judge what holds for one model; values of a wrong type were judged by :func:`check_request`."""
    found: list[Problem] = []

    def say(field: str, value: object, constraint: str, *, is_error: bool = True) -> None:
        found.append(
            Problem(
                field=field,
                value=value if isinstance(value, str) else shown(value),
                constraint=constraint,
                is_error=is_error,
            )
        )

    model, seconds = request.model, request.duration
    if isinstance(seconds, int) and not isinstance(seconds, bool) and seconds >= 1:
        if rules.durations is not None and seconds not in rules.durations:
            say("duration", seconds, f"{model} takes {_listed(rules.durations)} seconds")
        elif rules.advised_durations is not None and seconds not in rules.advised_durations:
            advised = _listed(rules.advised_durations)
            say("duration", seconds, f"the document suggests {advised} seconds", is_error=False)
        if rules.longest_with_images is not None:
            count, longest = rules.longest_with_images
            if images >= count and longest < seconds and (not rules.durations or seconds in rules.durations):
                say(
                    "duration",
                    seconds,
                    f"with {count} or more images {model} takes at most {longest} seconds",
                )
    ratio = request.aspect_ratio
    if _matches(_RATIO, ratio):
        if rules.ratios is not None and ratio not in rules.ratios:
            say("aspect_ratio", ratio, f"{model} takes {_listed(rules.ratios)}")
        elif rules.advised_ratios is not None and ratio not in rules.advised_ratios:
            say(
                "aspect_ratio",
                ratio,
                f"the document is sure of {_listed(rules.advised_ratios)}",
                is_error=False,
            )
    resolution = request.resolution
    if resolution in RESOLUTIONS and rules.resolutions is not None and resolution not in rules.resolutions:
        say("resolution", resolution, f"{model} takes {_listed(rules.resolutions)}")
    if isinstance(request.prompt, str):
        length = len(request.prompt)
        if rules.max_prompt is not None and length > rules.max_prompt:
            say("prompt", _kind(request.prompt), f"{model} takes at most {rules.max_prompt} characters")
        elif rules.advised_prompt is not None and length > rules.advised_prompt:
            say(
                "prompt",
                _kind(request.prompt),
                f"may be refused above {rules.advised_prompt}",
                is_error=False,
            )
    if rules.images is not None and not rules.images[0] <= images <= rules.images[1]:
        least, most = rules.images
        constraint = f"{model} takes " + (
            "no images" if not most else f"exactly {most}" if least == most else f"{least} to {most} images"
        )
        say("image_urls", f"{images} images", constraint)
    for field in rules.unconfirmed:
        if getattr(request, field) not in _UNSET:
            say(field, "set", "sent under a name that the vendor's document does not confirm", is_error=False)
    return found


def _check_unsupported(vendor: Vendor, request: VideoRequest) -> list[Problem]:
    taken = set(vendor.mapped_fields.values())
    fields = ("image_urls", "continue_from", "style", "routing", "callback_url")
    return [
        Problem(field=field, value="set", constraint=f"{vendor.label} has no such parameter")
        for field in fields
        if getattr(request, field) not in _UNSET and field not in taken
    ]


def _check_callback(vendor: Vendor, url: Any, allow_private: bool) -> list[Problem]:
    if url is None:
        return []
    if not is_link(url):
        return [Problem(field="callback_url", value=_kind(url), constraint="must be an https link")]
    parts = urlsplit(url)
    public = parts.scheme == "https" and may_be_public_host(parts.hostname or "")
    if public or allow_private:
        return []
    return [Problem(field="callback_url", value=_host(url), constraint="must be https and public")]


def _check_extra(vendor: Vendor, extra: Any) -> list[Problem]:
    if extra is None:
        return []
    if not isinstance(extra, Mapping) or not all(isinstance(key, str) for key in extra):
        return [Problem(field="extra", value=_kind(extra), constraint="must be a mapping with text keys")]
    if not is_json_serializable(extra):
        return [Problem(field="extra", value="set", constraint="must hold nothing but JSON values")]
    return [
        Problem(
            field=f"extra.{path}",
            value="set",
            constraint=f"is filled by {vendor.mapped_fields[path]}; use that",
        )
        for path in _paths(extra)
        if path in vendor.mapped_fields
    ] + [
        # A vendor's own field may well be "none", but not this.
        Problem(
            field=f"extra.{key if key.isidentifier() else shown(key)}",
            value="text",
            constraint=f"{mark!r} is left in it; {NOT_RENDERED}",
        )
        for key, value in extra.items()
        if (mark := unrendered_within(value))
    ]


def _paths(extra: Mapping[str, Any]) -> Iterable[str]:
    for key, value in extra.items():
        yield key
        if isinstance(value, Mapping):
            yield from (f"{key}.{inner}" for inner in value)


def _matches(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _listed(values: Collection[Any]) -> str:
    if isinstance(values, range):
        return f"{values.start} to {values.stop - 1}"
    return ", ".join(map(str, values))


def _kind(value: Any) -> str:
    """Name a value that must not be shown."""
    if isinstance(value, str):
        return f"{len(value)} characters" if value.strip() else "empty text"
    return "None" if value is None else type(value).__name__


def shown(value: Any) -> str:
    """Return a value as the user wrote it, short, without links and data."""
    try:
        written = redact(repr(value))
    except Exception:  # a number with thousands of digits, say; a repr may raise anything
        return f"a value of type {type(value).__name__} that cannot be written out"
    return written if len(written) <= 60 else written[:60] + "…"


def is_json_serializable(value: Any) -> bool:
    """Whether a value can be sent as JSON, and so as UTF-8."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _host(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}/***"
