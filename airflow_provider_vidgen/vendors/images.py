# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Validate reference images: https URLs, and data URLs where the vendor accepts them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_vidgen.errors import Problem
from airflow_provider_vidgen.vendors.parsing import is_http_url
from airflow_provider_vidgen.vendors.request_values import describe_type, find_template_leftover

if TYPE_CHECKING:
    from airflow_provider_vidgen.vendors.base import Vendor

_DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,[A-Za-z0-9+/=\s]+", re.ASCII)
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+):")
_HOST = re.compile(r"[\w.:-]{1,253}")
#: First characters of PNG, JPEG, GIF and WebP in base64.
_BASE64_IMAGE_PREFIXES = ("iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR")
_IMAGE_SUFFIX = re.compile(r"\.(?:png|jpe?g|webp|gif|bmp|avif|heic|tiff?)$", re.IGNORECASE)


def validate_images(vendor: Vendor, images: Any) -> list[Problem]:
    """Validate the list of reference images."""
    if images is None:
        return []
    if not isinstance(images, list | tuple):
        constraint, leftover = "must be a list of URLs", find_template_leftover(images)
        if leftover:
            return [
                Problem(
                    field="image_urls", value=leftover.preview, constraint=f"{constraint}; {leftover.hint}"
                )
            ]
        return [Problem(field="image_urls", value=describe_type(images), constraint=constraint)]
    problems = (_validate_image(vendor, f"image_urls[{index}]", image) for index, image in enumerate(images))
    return [problem for problem in problems if problem]


def _describe_image(value: Any) -> str:
    """Return scheme and host of an image's URL, without path, query and password, or the kind of value."""
    if not isinstance(value, str) or not value.strip():
        return describe_type(value)
    text = value.strip()
    if scheme := _SCHEME.match(text):
        host = _url_host(text)
        name = scheme[1].lower()[:20]
        return f"{name}://{host}/***" if host else f"a {name}: address without a host"
    if text.startswith(_BASE64_IMAGE_PREFIXES):
        return f"{len(value)} characters of bare base64"
    if "/" in value or "\\" in value or _IMAGE_SUFFIX.search(text):
        return "a path, or a URL without https://"
    return f"{len(value)} characters"


def _validate_image(vendor: Vendor, field: str, image: Any) -> Problem | None:
    if leftover := find_template_leftover(image):
        return Problem(
            field=field, value=leftover.preview, constraint=f"must be an https URL; {leftover.hint}"
        )
    if isinstance(image, str) and image.startswith("data:"):
        return _validate_data_url(vendor, field, image)
    if not is_http_url(image):
        return Problem(field=field, value=_describe_image(image), constraint=_url_constraint(vendor, image))
    parts = urlsplit(image)
    if parts.username is not None or parts.password is not None:
        constraint = "must not carry a user name or a password"
        return Problem(field=field, value=_describe_image(image), constraint=constraint)
    if parts.scheme != "https":
        constraint = "vendors ask for https"
        return Problem(field=field, value=_describe_image(image), constraint=constraint, is_error=False)
    return None


def _validate_data_url(vendor: Vendor, field: str, image: str) -> Problem | None:
    if not vendor.accepts_data_urls:
        constraint = f"{vendor.label} accepts https URLs only: upload the image and give its URL"
    elif not _DATA_URL.fullmatch(image):
        constraint = "must be data:image/<type>;base64,<data>"
    else:
        return None
    return Problem(field=field, value="data URL", constraint=constraint)


def _url_constraint(vendor: Vendor, image: Any) -> str:
    data_url = ", or give a full data URL (data:image/png;base64,...)" if vendor.accepts_data_urls else ""
    constraint = f"must be an https URL that {vendor.label} can fetch"
    if not isinstance(image, str) or not image.strip() or image.strip().lower().startswith("http"):
        return constraint + data_url
    return f"{constraint}: upload the image first and give its URL, presigned if it is private{data_url}"


def _url_host(url: str) -> str:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return ""
    return host if _HOST.fullmatch(host) else ""
