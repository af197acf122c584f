# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""What can be chosen about the simulated vendors where the documents are silent or disagree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from airflow_provider_vidgen.simulator.checking import STRICT, Count, Seconds, VendorName, checked
from airflow_provider_vidgen.simulator.extras import Container

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR

Webhooks = Literal["normal", "duplicate", "late", "lost", "forged", "malformed", "null_result"]
Results = Annotated[int, Field(ge=1, le=10)]


@dataclass(frozen=True)
class Options:
    """The settings of all four vendors; changed as a whole, never in place.

    :param job_seconds: life of a job from acceptance to its end, in virtual seconds.
    :param keys: the good API keys; None takes every key that begins with ``sim-``.
    :param apimart_create: ``object`` as in the APIMart document, or ``list`` or ``task`` as seen elsewhere.
    :param apimart_error: whether ``error.code`` is a number or a string, or ``error`` is a bare string.
    :param apimart_cost: completed APIMart jobs report ``cost`` and ``credits_cost``.
    :param apixgo_create: ``flat`` as in the Apixgo document, or ``enveloped`` as seen at its siblings.
    :param apimodels_result: status replies give a list ``resultUrls``, or a JSON string ``resultJson``.
    :param apimodels_failed_result: callbacks about a failure have ``null`` or no links for a result.
    :param apixo_errors_at_200: Apixo refuses with HTTP 200 and says the code in the body only.
    :param requests_per_minute: by vendor and key; None for no limit.
    :param concurrent_jobs: unfinished jobs of a key: by vendor, or by key for one with another limit; None
        for no limit.
    :param retry_after: how a 429 says when to come back.
    :param link_seconds: life of a result link by vendor.
    :param dead_link: how an expired link answers.
    :param fresh_links: asking for the status again gives a new link once the old one has expired.
    :param webhooks: how callbacks go wrong.
    :param late_seconds: how long a ``late`` callback is held back.
    :param results: how many videos a job makes; Apixgo's reply has a place for one link only.
    :param thumbnails: a result has a picture besides, as APIModels' document shows it. The other documents
        show none: Apixo's and APIMart's stand where their siblings have them, Apixgo's reply has no place.
    :param container: what the videos come in.
    """

    __pydantic_config__: ClassVar = STRICT

    job_seconds: Seconds = 20.0
    keys: tuple[str, ...] | None = None
    apimart_create: Literal["list", "object", "task"] = "object"
    apimart_error: Literal["int", "string", "bare"] = "int"
    apimart_cost: bool = False
    apixgo_create: Literal["flat", "enveloped"] = "flat"
    apimodels_result: Literal["resultUrls", "resultJson"] = "resultUrls"
    apimodels_failed_result: Literal["null", "empty"] = "null"
    apixo_errors_at_200: bool = False
    requests_per_minute: Mapping[VendorName, Count | None] = field(default_factory=lambda: {"apixo": 60})
    concurrent_jobs: Mapping[str, Count | None] = field(default_factory=lambda: {"apixo": 10})
    retry_after: Literal["none", "seconds", "date"] = "none"
    link_seconds: Mapping[VendorName, Seconds] = field(
        default_factory=lambda: {"apimodels": 7 * DAY, "apixo": 15 * DAY, "apixgo": HOUR, "apimart": DAY}
    )
    dead_link: Literal[403, 404, 410, "html200"] = 403
    fresh_links: bool = True
    webhooks: Webhooks = "normal"
    late_seconds: Seconds = 600.0
    results: Results = 1
    thumbnails: bool = False
    container: Container = "mp4"

    def changed(self, changes: Mapping[str, Any]) -> Options:
        """Give these options with some of them changed; settings by vendor are merged.

        :param changes: new values by option name.
        :raises ValueError: an option does not exist, or does not take its value.
        """
        now = self.as_json()
        merged = {
            name: {**now[name], **value}
            if isinstance(now.get(name), Mapping) and isinstance(value, Mapping)
            else value
            for name, value in changes.items()
        }
        return checked(Options, {**now, **merged})

    def as_json(self) -> dict[str, Any]:
        """Give them as the control API shows them."""
        return asdict(self)
