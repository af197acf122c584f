# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Reference images: what a vendor can fetch, and what to do with what it cannot."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_vidgen.errors import Problem
from airflow_provider_vidgen.vendors.reading import is_link
from airflow_provider_vidgen.vendors.templates import left_over

if TYPE_CHECKING:
    from airflow_provider_vidgen.vendors.base import Vendor

_DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,[A-Za-z0-9+/=\s]+", re.ASCII)
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+):")
_HOST = re.compile(r"[\w.:-]{1,253}")
#: How PNG, JPEG, GIF and WebP begin in base64.
_BASE64 = ("iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR")
_NAMED_AS_IMAGE = re.compile(r"\.(?:png|jpe?g|webp|gif|bmp|avif|heic|tiff?)$", re.IGNORECASE)


def check_images(vendor: Vendor, images: Any) -> list[Problem]:
    """Judge the list of reference images."""
    if images is None:
        return []
    if not isinstance(images, list | tuple):
        told = left_over(images)
        value, why = told or (_kind(images), "")
        return [
            Problem(
                field="image_urls",
                value=value,
                constraint="must be a list of links" + (f"; {why}" if why else ""),
            )
        ]
    found = []
    for index, image in enumerate(images):
        if problem := _check_image(vendor, f"image_urls[{index}]", image):
            found.append(problem)
    return found


def _check_image(vendor: Vendor, field: str, image: Any) -> Problem | None:
    if told := left_over(image):
        return Problem(field=field, value=told[0], constraint=f"must be an https link; {told[1]}")
    if isinstance(image, str) and image.startswith("data:"):
        if not vendor.accepts_data_urls:
            constraint = (
                f"{vendor.label} takes https links only: put the image where it can be fetched by one"
            )
            return Problem(field=field, value="data URL", constraint=constraint)
        if not _DATA_URL.fullmatch(image):
            return Problem(
                field=field, value="data URL", constraint="must be data:image/<type>;base64,<data>"
            )
        return None
    if not is_link(image):
        return Problem(field=field, value=describe_image(image), constraint=_remedy(vendor, image))
    parts = urlsplit(image)
    if parts.username is not None or parts.password is not None:
        constraint = "must not carry a user name or a password"
        return Problem(field=field, value=describe_image(image), constraint=constraint)
    if parts.scheme != "https":
        constraint = "https is what vendors ask for"
        return Problem(field=field, value=describe_image(image), constraint=constraint, is_error=False)
    return None


def describe_image(value: Any) -> str:
    """Return what an image is given by: scheme and host, or the kind; no path, query or password."""
    if not isinstance(value, str) or not value.strip():
        return _kind(value)
    if scheme := _SCHEME.match(value.strip()):
        host = _host(value.strip())
        name = scheme[1].lower()[:20]
        return f"{name}://{host}/***" if host else f"a {name}: address without a host"
    if value.strip().startswith(_BASE64):
        return f"{len(value)} characters of bare base64"
    if "/" in value or "\\" in value or _NAMED_AS_IMAGE.search(value.strip()):
        return "a path, or a link without https://"
    return f"{len(value)} characters"


def _remedy(vendor: Vendor, image: Any) -> str:
    data = ", or give a full data URL (data:image/png;base64,...)" if vendor.accepts_data_urls else ""
    constraint = f"must be an https link that {vendor.label} can fetch"
    if not isinstance(image, str) or not image.strip() or image.strip().lower().startswith("http"):
        return constraint + data
    return (
        f"{constraint}: upload the image first and give its link, a presigned one where it is private{data}"
    )


def _host(url: str) -> str:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return ""
    return host if _HOST.fullmatch(host) else ""


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return f"{len(value)} characters" if value.strip() else "empty text"
    return "None" if value is None else type(value).__name__
