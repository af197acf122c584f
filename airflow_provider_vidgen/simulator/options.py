# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Options of the simulated vendors, for behaviour on which the documents are silent or disagree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, Field

from airflow_provider_vidgen.simulator.validation import STRICT, Count, Seconds, VendorName, validate

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR
NEEDS_EXTRA: Final = "needs the extra: airflow-provider-vidgen[simulator]"


def can_render() -> bool:
    """Return whether PyAV and Pillow are installed, without importing them."""
    return find_spec("av") is not None and find_spec("PIL") is not None


def _require_extra(container: str) -> str:
    if container != "mp4" and not can_render():
        raise ValueError(NEEDS_EXTRA)
    return container


#: File format of a video. ``fragmented`` is a fragmented MP4, which plays before it is complete.
Container = Annotated[Literal["mp4", "fragmented", "webm", "mov"], AfterValidator(_require_extra)]
VideoCount = Annotated[int, Field(ge=1, le=10)]


@dataclass(frozen=True)
class Options:
    """Settings of all four vendors. Immutable: a change makes a new instance.

    :param job_seconds: time from acceptance to the end of a job, in virtual seconds.
    :param api_keys: the valid API keys; None accepts every key that begins with ``sim-``.
    :param apimart_create_format: ``object`` as in the APIMart document, or ``list`` or ``task`` as other
        sources show it.
    :param apimart_error_format: ``error.code`` is a number or a string, or ``error`` is a bare string.
    :param apimart_cost: completed APIMart jobs report ``cost`` and ``credits_cost``.
    :param apixgo_create_format: ``flat`` as in the Apixgo document, or ``enveloped`` as other vendors do it.
    :param apimodels_result_field: status responses have a list ``resultUrls``, or a string ``resultJson``.
    :param apimodels_failed_result: the result in callbacks of failed jobs: ``null``, or an ``empty`` list.
    :param apixo_errors_with_http_200: Apixo rejects with HTTP 200 and the error code in the body only.
    :param requests_per_minute: rate limit of an API key, by vendor; None for no limit.
    :param concurrent_jobs: limit of unfinished jobs of an API key, by vendor, or by key for one with its own
        limit; None for no limit.
    :param retry_after: format of the ``Retry-After`` header of a 429.
    :param link_seconds: lifetime of a result link in virtual seconds, by vendor.
    :param expired_link_response: HTTP status of an expired link; ``html200`` is a 200 with an HTML page.
    :param renew_expired_links: a status check after the expiry returns a new link.
    :param callbacks: how callbacks are delivered, or what is wrong with them.
    :param callback_delay: virtual seconds by which a ``late`` callback is delayed.
    :param videos_per_job: number of videos of each job; Apixgo's response has a field for one link only.
    :param thumbnails: results include a JPEG, as in the APIModels document. The other documents show none:
        Apixo's and APIMart's fields are those of similar vendors, Apixgo's response has no field for it.
    :param container: file format of the videos.
    """

    __pydantic_config__: ClassVar = STRICT

    job_seconds: Seconds = 20.0
    api_keys: tuple[str, ...] | None = None
    apimart_create_format: Literal["list", "object", "task"] = "object"
    apimart_error_format: Literal["int", "string", "bare"] = "int"
    apimart_cost: bool = True
    apixgo_create_format: Literal["flat", "enveloped"] = "flat"
    apimodels_result_field: Literal["resultUrls", "resultJson"] = "resultUrls"
    apimodels_failed_result: Literal["null", "empty"] = "null"
    apixo_errors_with_http_200: bool = False
    requests_per_minute: Mapping[VendorName, Count | None] = field(default_factory=lambda: {"apixo": 60})
    concurrent_jobs: Mapping[str, Count | None] = field(default_factory=lambda: {"apixo": 10})
    retry_after: Literal["none", "seconds", "date"] = "none"
    link_seconds: Mapping[VendorName, Seconds] = field(
        default_factory=lambda: {"apimodels": 7 * DAY, "apixo": 15 * DAY, "apixgo": HOUR, "apimart": DAY}
    )
    expired_link_response: Literal[403, 404, 410, "html200"] = 403
    renew_expired_links: bool = True
    callbacks: Literal["normal", "duplicate", "late", "lost", "forged", "malformed", "null_result"] = "normal"
    callback_delay: Seconds = 600.0
    videos_per_job: VideoCount = 1
    thumbnails: bool = False
    container: Container = "mp4"

    def changed(self, changes: Mapping[str, Any]) -> Options:
        """Return a copy with some options changed; mappings are merged.

        :param changes: new values by option name.
        :raises ValueError: an option does not exist, or does not allow its value.
        """
        current = self.as_json()
        merged = {
            name: {**current[name], **value}
            if isinstance(current.get(name), Mapping) and isinstance(value, Mapping)
            else value
            for name, value in changes.items()
        }
        return validate(Options, {**current, **merged})

    def as_json(self) -> dict[str, Any]:
        """Return the options as the control API serves them."""
        return asdict(self)
