# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Validate a request against the limits of the vendor's document, which are data (:class:`ModelRules`)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_vidgen.addresses import may_be_public_host
from airflow_provider_vidgen.errors import Problem
from airflow_provider_vidgen.models import VideoRequest
from airflow_provider_vidgen.vendors.images import validate_images
from airflow_provider_vidgen.vendors.parsing import is_http_url
from airflow_provider_vidgen.vendors.request_values import (
    NO_VALUE_HINT,
    NOT_RENDERED_HINT,
    describe_type,
    find_nested_delimiter,
    find_template_leftover,
    is_json_serializable,
    preview,
)

if TYPE_CHECKING:
    from airflow_provider_vidgen.vendors.base import Vendor

RESOLUTIONS = ("480p", "720p", "1080p")
#: Parameters that only some vendors have.
_OPTIONAL_FIELDS = (
    "duration",
    "aspect_ratio",
    "resolution",
    "image_urls",
    "continue_from",
    "style",
    "routing",
    "callback_url",
)
_UNSET: tuple[Any, ...] = (None, [], ())
_MODEL_ID = re.compile(r"[\w.:@+/-]*[\w:@+-]")
_ASPECT_RATIO = re.compile(r"[1-9]\d{0,3}:[1-9]\d{0,3}")


@dataclass(frozen=True, kw_only=True)
class Price:
    """
    What the vendor's document asks for one video of a model, whatever its length and resolution.

    :param amount: in ``currency``.
    :param currency: an ISO code, or ``"credits"``.
    :param as_of: the day the document was read.
    """

    amount: float
    currency: str
    as_of: date


@dataclass(frozen=True, kw_only=True)
class ModelRules:
    """
    The limits of one model in its vendor's document. ``None`` or empty: the document sets no limit.

    :param as_of: the day the document was read (the documents carry no date of their own).
    :param durations: accepted seconds.
    :param recommended_durations: seconds the document suggests; other accepted ones get a warning.
    :param aspect_ratios: accepted ratios.
    :param recommended_aspect_ratios: ratios all parts of the document agree on; others get a warning.
    :param resolutions: accepted resolutions, in the spelling of :data:`RESOLUTIONS`.
    :param max_prompt_length: accepted characters.
    :param recommended_prompt_length: characters above which relays of the same family refuse a prompt.
    :param image_count: least and most reference images.
    :param max_duration_with_images: number of images from which a limit of seconds applies, and that limit.
    :param unconfirmed_fields: fields that are sent under a name no document confirms.
    :param price: the documented price, if there is one.
    :param usual_seconds: the documented usual time to render a video, if there is one.
    """

    as_of: date
    durations: Collection[int] | None = None
    recommended_durations: Collection[int] | None = None
    aspect_ratios: Collection[str] | None = None
    recommended_aspect_ratios: Collection[str] | None = None
    resolutions: Collection[str] | None = None
    max_prompt_length: int | None = None
    recommended_prompt_length: int | None = None
    image_count: tuple[int, int] | None = None
    max_duration_with_images: tuple[int, int] | None = None
    unconfirmed_fields: Collection[str] = ()
    price: Price | None = None
    usual_seconds: int | None = None


def validate_for_vendor(vendor: Vendor, request: VideoRequest, *, allow_private: bool) -> list[Problem]:
    """Validate the types, formats and limits that apply to all models of a vendor."""
    problems = _validate_prompt(request.prompt)

    def add_problem(field: str, constraint: str) -> None:
        value = getattr(request, field)
        leftover = find_template_leftover(value)
        hint = f"; {leftover.hint}" if leftover else ""
        problems.append(Problem(field=field, value=preview(value), constraint=f"must be {constraint}{hint}"))

    model = request.model
    if not isinstance(model, str) or not model.strip() or find_template_leftover(model):
        examples = f", such as {', '.join(vendor.models)}" if vendor.models else ""
        add_problem("model", f"a model id{examples}")
    elif not _MODEL_ID.fullmatch(model) or ".." in model:
        add_problem("model", "a model id without spaces")
    seconds = request.duration
    if seconds is not None and not _is_positive_integer(seconds):
        is_convertible = not isinstance(seconds, int) and not find_template_leftover(seconds)
        advice = ": convert it with int(...)" if is_convertible else ""
        add_problem(
            "duration", f"a whole number of seconds, at least 1, as a number or as text like '6'{advice}"
        )
    if request.aspect_ratio is not None and not _is_aspect_ratio(request.aspect_ratio):
        add_problem("aspect_ratio", "width:height, such as 16:9")
    if request.resolution is not None and request.resolution not in RESOLUTIONS:
        add_problem("resolution", "480p, 720p or 1080p")
    problems += validate_images(vendor, request.image_urls)
    problems += _validate_optional_fields(vendor, request)
    problems += _validate_callback(request.callback_url, allow_private)
    problems += _validate_extra(vendor, request.extra)
    return problems


def validate_for_model(rules: ModelRules, request: VideoRequest, *, images: int) -> list[Problem]:
    """
    Validate a request against the limits of its model.

    Values of a wrong type are skipped: :func:`validate_for_vendor` reports them.

    :param images: number of reference images.
    """
    problems: list[Problem] = []

    def add(field: str, value: object, constraint: str, *, is_error: bool = True) -> None:
        text = value if isinstance(value, str) else preview(value)
        problems.append(Problem(field=field, value=text, constraint=constraint, is_error=is_error))

    def warn(field: str, value: object, constraint: str) -> None:
        add(field, value, constraint, is_error=False)

    model, seconds = request.model, request.duration
    if _is_positive_integer(seconds):
        if rules.durations is not None and seconds not in rules.durations:
            add("duration", seconds, f"{model} accepts {describe_values(rules.durations)} seconds")
        elif rules.recommended_durations is not None and seconds not in rules.recommended_durations:
            recommended = describe_values(rules.recommended_durations)
            warn("duration", seconds, f"the document suggests {recommended} seconds")
        if rules.max_duration_with_images is not None:
            count, longest = rules.max_duration_with_images
            if images >= count and longest < seconds and (not rules.durations or seconds in rules.durations):
                limit = f"with {count} or more images {model} accepts at most {longest} seconds"
                add("duration", seconds, limit)
    aspect_ratio = request.aspect_ratio
    if _is_aspect_ratio(aspect_ratio):
        recommended_ratios = rules.recommended_aspect_ratios
        if rules.aspect_ratios is not None and aspect_ratio not in rules.aspect_ratios:
            add("aspect_ratio", aspect_ratio, f"{model} accepts {describe_values(rules.aspect_ratios)}")
        elif recommended_ratios is not None and aspect_ratio not in recommended_ratios:
            confirmed = describe_values(recommended_ratios)
            warn("aspect_ratio", aspect_ratio, f"the document clearly confirms only {confirmed}")
    resolution = request.resolution
    if resolution in RESOLUTIONS and rules.resolutions is not None and resolution not in rules.resolutions:
        add("resolution", resolution, f"{model} accepts {describe_values(rules.resolutions)}")
    if isinstance(request.prompt, str):
        length, size = len(request.prompt), describe_type(request.prompt)
        if rules.max_prompt_length is not None and length > rules.max_prompt_length:
            add("prompt", size, f"{model} accepts at most {rules.max_prompt_length} characters")
        elif rules.recommended_prompt_length is not None and length > rules.recommended_prompt_length:
            warn("prompt", size, f"may be refused above {rules.recommended_prompt_length} characters")
    if rules.image_count is not None and not rules.image_count[0] <= images <= rules.image_count[1]:
        least, most = rules.image_count
        accepted = (
            "no images" if not most else f"exactly {most}" if least == most else f"{least} to {most} images"
        )
        add("image_urls", f"{images} images", f"{model} accepts {accepted}")
    for field in rules.unconfirmed_fields:
        if getattr(request, field) not in _UNSET:
            warn(field, "set", "sent under a name that the vendor's document does not confirm")
    return problems


def _validate_prompt(prompt: Any) -> list[Problem]:
    if not isinstance(prompt, str) or not prompt.strip():
        value, constraint = describe_type(prompt), f"must be text, not empty; {NO_VALUE_HINT}"
    elif leftover := find_template_leftover(prompt):
        value, constraint = leftover.preview, f"must be the finished text; {leftover.hint}"
    elif not is_json_serializable(prompt):
        value, constraint = describe_type(prompt), "holds characters that UTF-8 cannot encode"
    else:
        return []
    return [Problem(field="prompt", value=value, constraint=constraint)]


def _validate_optional_fields(vendor: Vendor, request: VideoRequest) -> list[Problem]:
    supported = set(vendor.mapped_fields.values())
    return [
        Problem(field=field, value="set", constraint=f"{vendor.label} has no such parameter")
        for field in _OPTIONAL_FIELDS
        if getattr(request, field) not in _UNSET and field not in supported
    ]


def _validate_callback(url: Any, allow_private: bool) -> list[Problem]:
    if url is None:
        return []
    if not is_http_url(url):
        return [Problem(field="callback_url", value=describe_type(url), constraint="must be an https URL")]
    parts = urlsplit(url)
    if allow_private or (parts.scheme == "https" and may_be_public_host(parts.hostname or "")):
        return []
    value = f"{parts.scheme}://{parts.hostname}/***"
    return [Problem(field="callback_url", value=value, constraint="must be https and public")]


def _validate_extra(vendor: Vendor, extra: Any) -> list[Problem]:
    if extra is None:
        return []
    if not isinstance(extra, Mapping) or not all(isinstance(key, str) for key in extra):
        constraint = "must be a mapping with text keys"
        return [Problem(field="extra", value=describe_type(extra), constraint=constraint)]
    if not is_json_serializable(extra):
        return [Problem(field="extra", value="set", constraint="must hold nothing but JSON values")]
    overrides = [
        Problem(
            field=f"extra.{path}",
            value="set",
            constraint=f"is filled by {vendor.mapped_fields[path]}; use that",
        )
        for path in _paths(extra)
        if path in vendor.mapped_fields
    ]
    # Only delimiters are searched for: "none" may be a valid value of a vendor's own field.
    unrendered = [
        Problem(
            field=f"extra.{key if key.isidentifier() else preview(key)}",
            value="text",
            constraint=f"{delimiter!r} is left in it; {NOT_RENDERED_HINT}",
        )
        for key, value in extra.items()
        if (delimiter := find_nested_delimiter(value))
    ]
    return overrides + unrendered


def _paths(extra: Mapping[str, Any]) -> Iterable[str]:
    for key, value in extra.items():
        yield key
        if isinstance(value, Mapping):
            yield from (f"{key}.{nested_key}" for nested_key in value)


def _is_positive_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_aspect_ratio(value: Any) -> bool:
    return isinstance(value, str) and _ASPECT_RATIO.fullmatch(value) is not None


def describe_values(values: Collection[Any]) -> str:
    """Return accepted values as text: ``6 to 30``, or ``480p, 720p``."""
    if isinstance(values, range):
        return f"{values.start} to {values.stop - 1}"
    return ", ".join(map(str, values))
